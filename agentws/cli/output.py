"""Standard output and error, on terminals and files of any encoding."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Final

from .problem import Problem

_LENIENT: Final = frozenset(
    {"backslashreplace", "ignore", "namereplace", "replace", "xmlcharrefreplace"}
)
"""What streams do with a character that their encoding lacks, if they don't raise."""
_JSON_ESCAPES: Final = "agentws.json"


def escape_what_is_not_encodable() -> None:
    """Has standard output and error show ``\\u4f60`` for a character that their encoding lacks,
    where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors not in _LENIENT:
            stream.reconfigure(errors="backslashreplace")


def escape_as_json() -> None:
    """Has standard output write a character that its encoding lacks as JSON writes it."""
    codecs.register_error(_JSON_ESCAPES, _json_escapes)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_JSON_ESCAPES)


def _json_escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escapes = (f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return "".join(escapes), error.end


def check_output() -> None:
    """Raises Problem where nobody could see an answer."""
    if sys.stdout is None:
        raise Problem("standard output is closed: an answer can't be shown")


def write(text: str) -> None:
    """Writes to standard output at once: an answer is read while it is written.

    Raises Problem where that can't be written to, and BrokenPipeError where nobody reads it.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise Problem(f"standard output can't be written to: {error.strerror}") from error


def discard_output() -> None:
    """What is still to be written goes nowhere, so that ending does not try again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def remark(text: str) -> None:
    """Something about the chat rather than of it, on standard error where there is one."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)
