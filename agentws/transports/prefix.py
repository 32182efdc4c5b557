"""Validation of the path prefix of a gateway's routes; it may have parameters (tenants)."""

from __future__ import annotations

import re
from typing import Final

from starlette.convertors import CONVERTOR_TYPES

PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_]*))?\}")
"""A parameter in a Starlette path: its name, and its convertor."""
OWN: Final = frozenset({"id", "path"})
"""The parameters of the gateway's own routes, which a prefix can't use."""

_NEVER: Final = re.compile(r"[?#%\\{}\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that a decoded path without its parameters can't have."""


def check_prefix(prefix: str) -> None:
    """Raises ValueError for a prefix that no request's path could have, TypeError for no string."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix is {prefix!r}; expected a string")
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
        # A path parameter matches slashes: it would swallow the gateway's own paths.
        if convertor == "path" or convertor not in CONVERTOR_TYPES:
            others = ", ".join(sorted(CONVERTOR_TYPES.keys() - {"path"}))
            raise _wrong(prefix, f"no {{...:{convertor}}}, but one of {others}")


def _wrong(prefix: str, expected: str) -> ValueError:
    return ValueError(f"{prefix!r} is not a prefix; expected {expected}")
