"""The path before every route of a gateway; with parameters in it, one serves many tenants."""

from __future__ import annotations

import re
from typing import Final

from starlette.convertors import CONVERTOR_TYPES

PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_]*))?\}")
"""A parameter as Starlette's paths have it: its name, and its convertor."""
OWN: Final = frozenset({"id", "path"})
"""The parameters of the gateway's own routes."""

_NEVER: Final = re.compile(r"[?#%\\{}\x00-\x1f\x7f]")
"""What no path has once its parameters are taken out, and what was percent-encoded is decoded."""


def check_prefix(prefix: str) -> None:
    """Raises ValueError, which says what was expected, for a prefix that no path could begin with.

    Raises TypeError for what is no text.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix is {prefix!r}; expected text")
    if not prefix:
        return
    first, *segments = prefix.split("/")
    if first or {"", ".", ".."} & set(segments) or _NEVER.search(PARAMETER.sub("x", prefix)):
        raise _wrong(
            prefix, "'' or '/path', not encoded and without a slash at the end, as '/t/{tenant}'"
        )
    names = [name for name, _ in PARAMETER.findall(prefix)]
    if len(set(names)) < len(names) or OWN & set(names):
        taken = " and ".join(sorted(OWN))
        raise _wrong(prefix, f"parameters of different names, and other ones than {taken}")
    for convertor in {convertor or "str" for _, convertor in PARAMETER.findall(prefix)}:
        # A parameter that goes on over slashes would take the gateway's own paths for a part of it.
        if convertor == "path" or convertor not in CONVERTOR_TYPES:
            others = ", ".join(sorted(CONVERTOR_TYPES.keys() - {"path"}))
            raise _wrong(prefix, f"no {{...:{convertor}}}, but one of {others}")


def _wrong(prefix: str, expected: str) -> ValueError:
    return ValueError(f"{prefix!r} is not a prefix; expected {expected}")
