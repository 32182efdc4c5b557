"""Parsing and normalizing of host names and origins, from settings and from headers.

Both get one canonical form, so that a setting matches what browsers send: lower case, no trailing
dot, IP addresses in their shortest form, international names in punycode, no default port. A
setting that could never match raises ValueError.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_HOST: Final = (
    "a host name such as chat.example.com, with or without a port, an IP address, "
    "*.example.com for its subdomains, or *"
)
_ORIGIN: Final = (
    "https://host[:port], scheme://host as the pages of an app have it, file://, null, or *; "
    "no path and no wildcards"
)
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?", re.ASCII)
_SENT_NAME: Final = re.compile(r"([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?)?")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SCHEMED: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_OPAQUE: Final = re.compile(r"[!-~]+", re.ASCII)
_NOT_OPAQUE: Final = frozenset("/?#@\\*")
_LONGEST_ADDRESS: Final = 64
"""Characters of an address, with the name of an interface. Longer ones are not cached: a peer may
send any."""
_DOTS: Final = str.maketrans("。．｡", "...")


class HostPattern(NamedTuple):
    """An entry of ``allowed_hosts``: a name or all its subdomains; on one port, or on any."""

    name: str
    port: int | None = None
    below: bool = False
    """Matches the subdomains of ``name``, not ``name``; with an empty ``name`` every host."""

    def matches(self, name: str | None, port: int | None) -> bool:
        if self.below:
            fits = not self.name or (name is not None and name.endswith("." + self.name))
        else:
            fits = name == self.name
        return fits and (
            self.port is None
            or self.port == port
            # Browsers omit a default port, and only a proxy may know the scheme.
            or (port is None and self.port in DEFAULT_PORTS.values())
        )


def allowed_host(text: str) -> HostPattern:
    """Parses an entry of ``allowed_hosts``; raises ValueError with what was expected."""
    try:
        # An IPv6 address without a port needs no brackets.
        bare = text.count(":") > 1 and not text.startswith("[")
        given, port = _authority(f"[{text}]" if bare else text)
        if given == "*":
            return HostPattern("", port, below=True)
        if given.startswith("*."):
            return HostPattern(_name(given[2:], numeric=False), port, below=True)
        return HostPattern(_name(given), port)
    except ValueError:
        hint = f"; did you mean {urlsplit(text).hostname}?" if "://" in text else ""
        raise ValueError(f"{text!r} is not a host; expected {_HOST}{hint}") from None


def allowed_origin(text: str) -> str:
    """Parses an entry of ``allowed_origins``: in canonical form, or ``*``; raises ValueError."""
    if text in ("*", "null"):
        return text
    try:
        return _origin(text.removesuffix("/") if text != "file://" else text)
    except ValueError:
        raise ValueError(f"{text!r} is not an origin; expected {_ORIGIN}") from None


def sent_origin(text: str) -> str | None:
    """An ``Origin`` header in canonical form; ``None`` if it is not an origin."""
    if not text.isascii() or text == "*":
        return None
    try:
        return allowed_origin(text)
    except ValueError:
        return None


def split_origin(origin: str) -> tuple[str, str, int | None]:
    """Scheme, name and port of an origin in canonical form; ``null`` has none of them."""
    scheme, _, authority = origin.partition("://")
    if scheme not in DEFAULT_PORTS:
        return scheme, authority, None
    name, port = _authority(authority)
    return scheme, name.strip("[]"), port or DEFAULT_PORTS[scheme]


def sent_host(text: str) -> tuple[str, int | None]:
    """Name and port of a ``Host`` header; raises ValueError if it is malformed."""
    # Some servers do not strip the whitespace around a header's value.
    name, port = _authority(text.strip(" \t"))
    if name.startswith("["):
        return _shortest(ipaddress.IPv6Address(name[1:-1])), port
    if not _SENT_NAME.fullmatch(name) or (text and not name):
        raise ValueError(text)
    return name.lower().removesuffix("."), port


def is_loopback(name: str) -> bool:
    """Whether a host name or address, in any of its forms, can only be this machine.

    Subdomains of ``localhost`` are loopback names, too: browsers ask no DNS server for them.
    """
    name = name.strip("[]").lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return len(name) <= _LONGEST_ADDRESS and _is_loopback_address(name)


@lru_cache(maxsize=256)
def _is_loopback_address(name: str) -> bool:
    # Each handshake asks for its server's address, which is one of few, and for its Host.
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _origin(text: str) -> str:
    found = _SCHEMED.fullmatch(text)
    if found is None:
        raise ValueError(text)
    scheme, rest = found[1].lower(), found[2]
    if scheme in DEFAULT_PORTS:
        given, port = _authority(rest)
        name = _name(given)
        shown = f"[{name}]" if ":" in name else name
        is_default = port in (None, DEFAULT_PORTS[scheme])
        return f"{scheme}://{shown}" if is_default else f"{scheme}://{shown}:{port}"
    if scheme == "file" and not rest:
        return "file://"
    # Origins of browser extensions and apps: only their makers know the exact form.
    opaque = _OPAQUE.fullmatch(rest) and not _NOT_OPAQUE & set(rest)
    if scheme in ("file", "ws", "wss") or not opaque:
        raise ValueError(text)
    return f"{scheme}://{rest.lower()}"


def _authority(text: str) -> tuple[str, int | None]:
    """The part before the port, and the port, if any; raises ValueError."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError(text)
    port = int(found[2]) if found[2] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(text)
    return found[1], port


def _name(given: str, *, numeric: bool = True) -> str:
    """A name or an address in canonical form; raises ValueError for anything else."""
    if given.startswith("["):
        return _shortest(ipaddress.IPv6Address(given[1:-1]))
    name = given.lower()
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name.translate(_DOTS)).lower()
    labels = [_ascii(label) for label in name.removesuffix(".").split(".")]
    name = ".".join(labels)
    if _NUMERIC.fullmatch(labels[-1]):
        # A name that ends in a number is an IPv4 address to a browser, or an error.
        if not numeric:
            raise ValueError(given)
        return str(ipaddress.IPv4Address(name))
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(given)
    return name


def _ascii(label: str) -> str:
    """Punycode as browsers write it; Python's codec (IDNA 2003) maps some names differently."""
    if label.isascii():
        return label
    if not all(unicodedata.category(char)[0] in "LMN" or char == "-" for char in label):
        raise ValueError(label)
    return "xn--" + label.encode("punycode").decode("ascii")


def _shortest(address: ipaddress.IPv6Address) -> str:
    if address.scope_id is not None:
        # A scope id names an interface of this machine; no browser sends it.
        raise ValueError(str(address))
    return address.compressed
