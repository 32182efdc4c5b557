"""Keeps secrets and control characters out of the log lines of uvicorn.

uvicorn logs the path of a request with its query string, and clients put tokens there. Other parts
of a line come from clients as well: a line break in one could forge the next line.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

LOGGERS: Final = ("uvicorn.error", "uvicorn.access", "uvicorn.asgi")
HIDDEN: Final = "?..."
"""What stands in a log line instead of a query string."""
_QUERY: Final = re.compile(r"\?\S*")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class RedactingFilter(logging.Filter):
    """Rewrites the text arguments of a record, and lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args
        if isinstance(arguments, tuple) and any(isinstance(one, str) for one in arguments):
            record.args = tuple(map(_clean, arguments))
        return True


def install() -> None:
    """Filter the loggers of uvicorn in this process. A second call changes nothing."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, RedactingFilter) for one in logger.filters):
            logger.addFilter(RedactingFilter())


def _clean(argument: Any) -> Any:
    if not isinstance(argument, str):
        return argument
    if "/" in argument:
        argument = _QUERY.sub(HIDDEN, argument)
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", argument)
