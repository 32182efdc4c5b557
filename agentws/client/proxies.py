"""Which proxy a connection goes through, and how an error message names it.

The settings are the usual variables (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ...), in upper
or lower case, or the system's settings, as ``urllib`` finds them. Their order is that of the
``websockets`` library.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import Final, Literal, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from .address import has_scheme
from .errors import BadProxy

ProxySetting = str | Literal[True] | None
"""The address of a proxy; ``True``: the one that the environment names; ``None``: no proxy."""
_PLAIN: Final = ("ws", "socks", "https", "http", "all")
_SECURE: Final = ("wss", "socks", "https", "all")
_PORTS: Final = {"http": 80, "https": 443} | dict.fromkeys(
    ("socks4", "socks4a", "socks5", "socks5h"), 1080
)
"""The schemes and their default ports."""
_WEB_PORTS: Final = {"ws": 80, "wss": 443}
_LOOPBACK_NAMES: Final = frozenset(
    {"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"}
)
"""Names of loopback addresses in the hosts files of common systems."""


class Proxy(NamedTuple):
    """The proxy of a connection."""

    url: str
    name: str
    """How a message names it: where its setting comes from, and its host."""
    hint: str
    """The end of a message: how to go without it. Empty for one given as an argument."""

    def __repr__(self) -> str:
        return f"<Proxy {self.name}>"

    def failure(self, what: str) -> str:
        """A sentence about a failure: the proxy's name, ``what`` it does wrong, and the hint."""
        return f"{self.name[:1].upper()}{self.name[1:]} {what}{self.hint}."


def proxy_for(address: str, setting: ProxySetting) -> Proxy | None:
    """The proxy for a connection to ``address``; ``None`` for a direct connection.

    The environment's proxy is not used for servers on this machine: a proxy on another machine
    would look for the server there. Raises BadProxy when a setting is not the address of a proxy.
    """
    if setting is None:
        return None
    if setting is not True and not isinstance(setting, str):
        raise TypeError(f"proxy is {setting!r:.100}; expected the address of one, True or None")
    if setting is not True:
        return _proxy(setting, "the proxy given", "")
    parts = urlsplit(address)
    host = parts.hostname or ""
    if is_loopback(host) or _bypasses_proxy(host, parts.port or _WEB_PORTS[parts.scheme]):
        return None
    found = _configured(_SECURE if parts.scheme == "wss" else _PLAIN)
    if found is None:
        return None
    variable, value = found
    return _proxy(
        value, f"the proxy from {variable}", f"; add {host} to NO_PROXY to connect without it"
    )


def is_loopback(host: str) -> bool:
    """Whether ``host`` means this machine. Decides by the text alone, without a lookup."""
    name = host.rstrip(".").lower()
    if name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            # Short forms that the system accepts, such as 127.1.
            address = ipaddress.ip_address(socket.inet_aton(name))
        except (OSError, ValueError):
            return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def _bypasses_proxy(host: str, port: int) -> bool:
    """Whether ``NO_PROXY`` or the system's settings exclude that host from proxies."""
    host = host.rstrip(".")
    bracketed = f"[{host}]" if ":" in host else host
    if proxy_bypass(f"{bracketed}:{port}") or proxy_bypass(host):
        return True
    entries = re.split(r"[\s,]+", getproxies().get("no", ""))
    return any(_covers(entry.rstrip(".").lower(), host.lower(), port) for entry in entries)


def _covers(entry: str, host: str, port: int) -> bool:
    """Matches what ``urllib`` does not: networks (``10.0.0.0/8``), ``*.example.com``, and entries
    between spaces."""
    if entry == "*":
        return True
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    name = entry.removesuffix(f":{port}").strip("[]").lstrip(".")
    if name and (host == name or host.endswith(f".{name}")):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _configured(schemes: tuple[str, ...]) -> tuple[str, str] | None:
    """The first setting for one of ``schemes``: the name of its variable, and its value."""
    settings = getproxies()
    for scheme in schemes:
        value = settings.get(scheme, "").strip()
        if value:
            return _variable(f"{scheme}_proxy", value), _as_socks(value, scheme)
    return None


def _variable(name: str, value: str) -> str:
    named = (
        one for one, said in os.environ.items() if one.lower() == name and said.strip() == value
    )
    return next(named, "the system's settings")


def _as_socks(value: str, scheme: str) -> str:
    """The SOCKS setting may have another scheme, or none."""
    if scheme != "socks" or value.lower().startswith("socks"):
        return value
    return f"socks5h://{value.partition('://')[2] or value}"


def _proxy(value: str, source: str, hint: str) -> Proxy:
    try:
        parts = _parsed(value)
    except ValueError as error:
        # The message does not show the value: it may hold a password.
        what = "is not the address of a proxy, such as http://host:3128"
        raise BadProxy(Proxy("", source, hint).failure(what)) from error
    userinfo, _, host = parts.netloc.rpartition("@")
    if userinfo and parts.password is None:
        userinfo += ":"
    place = host if parts.port else f"{host.rstrip(':')}:{_PORTS[parts.scheme]}"
    netloc = f"{userinfo}@{place}" if userinfo else place
    return Proxy(urlunsplit((parts.scheme, netloc, "", "", "")), f"{source} ({place})", hint)


def _parsed(value: str) -> SplitResult:
    """Raises ValueError. A proxy without a scheme is an HTTP proxy, as in other programs."""
    text = value.strip()
    is_whole = "://" in text or has_scheme(text)
    parts = urlsplit(text if is_whole else f"http://{text.removeprefix('//')}")
    if parts.scheme == "socks":
        parts = parts._replace(scheme="socks5h")
    if parts.scheme not in _PORTS or not parts.hostname or parts.port == 0:
        raise ValueError
    parts.hostname.encode("idna")
    for name in (parts.username, parts.password):
        unquote(name or "", errors="strict").encode()
    return parts
