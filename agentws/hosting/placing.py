"""Where a gateway's routes stand among those of the host, so that a catch-all does not take them.

Starlette asks routes one after the other, and a route for every path, or files at ``/``, would take
the paths of a gateway that is mounted after it. So of two routes that take the same path, the one
that says more of it has it: the more characters its path has outside of parameters, the more it
says. Of two that say as much, the host's comes first, as it came first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from starlette.convertors import CONVERTOR_TYPES
from starlette.routing import BaseRoute, Host, Match, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from ..transports.prefix import PARAMETER

logger: Final = logging.getLogger("agentws")

WEBSOCKET: Final = "websocket"
COMMON: Final = frozenset({"/", "", "/health", "/livez", "/readyz"})
"""Paths below the prefix that a host may well have of its own, and then answers itself."""

EVERY_METHOD: Final = frozenset({"GET", "POST", "PATCH", "DELETE"})
_BELOW: Final = "/{path:path}"
_UNKNOWN_HOST: Final = "any.host.invalid"
_SAMPLES: Final = {
    "float": "1.5",
    "int": "1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""What may stand for a parameter, by its convertor; a session's id stands for any other."""
_DEPTHS: Final = ("file", "folder/file", "folder/folder/file")
"""What may stand for one that goes on over slashes: another route may take one depth alone."""
_SAMPLE: Final = "ses_0000000000000000"


class Ask(NamedTuple):
    """What is asked of routes: a method of a path, or a WebSocket there."""

    method: str
    path: str


class Claim(NamedTuple):
    """The paths that a route takes, and how much it says of them."""

    pattern: str
    methods: frozenset[str] | None
    """``None``: all of them, and WebSockets too; ``EVERY_METHOD``: no WebSockets."""
    regex: re.Pattern[str]
    said: int

    def takes(self, ask: Ask) -> bool:
        if self.methods is EVERY_METHOD:
            fits = ask.method != WEBSOCKET
        else:
            fits = self.methods is None or ask.method in self.methods
        return fits and self.regex.fullmatch(ask.path) is not None


def place(routes: list[BaseRoute], own: Sequence[BaseRoute], *, prefix: str) -> None:
    """Puts ``own``, a gateway's routes below ``prefix``, into the host's ``routes``.

    Each stands before the first route that would take its path and says less of it; else behind
    all. Raises ValueError where a route of the host has the WebSocket's path; of others that the
    host has, the log says so.
    """
    claims = [list(_claims([route])) for route in routes]
    waiting: dict[int, list[BaseRoute]] = {}
    for route in own:
        (claim,) = _claims([route])
        index, by = _place_of(claim, claims)
        if by is not None:
            _tell(claim, by, common=claim.pattern[len(prefix) :] in COMMON)
        if index < len(routes):
            route = _Ahead(route, claim, routes[index:])
        waiting.setdefault(index, []).append(route)
    placed = [
        one
        for index in range(len(routes) + 1)
        for one in (*waiting.get(index, ()), *routes[index : index + 1])
    ]
    routes[:] = placed


def _tell(own: Claim, by: Claim, *, common: bool) -> None:
    """The host's route keeps a path that would be the gateway's."""
    if own.methods == frozenset({WEBSOCKET}):
        raise ValueError(
            f"the route {by.pattern!r}, which is there already, takes the gateway's WebSocket at "
            f"{own.pattern!r}; expected another prefix"
        )
    logger.log(
        logging.INFO if common else logging.WARNING,
        "the route %r, which is there already, keeps the gateway's %s; expected another prefix",
        by.pattern,
        own.pattern,
    )


def _place_of(own: Claim, claims: Sequence[Sequence[Claim]]) -> tuple[int, Claim | None]:
    """The index before which a gateway's route has to stand; and which of the host's has its path.

    ``len(claims)`` where it may stand behind all of them.
    """
    index, by = len(claims), None
    for ask in _samples(own):
        for at, of_route in enumerate(claims):
            claim = _first(of_route, ask)
            if claim is None:
                continue
            if claim.said < own.said:
                index = min(index, at)
            else:
                by = claim
            break
    return index, by


def _samples(claim: Claim) -> Iterator[Ask]:
    for depth in _DEPTHS if claim.pattern.endswith(_BELOW) else _DEPTHS[:1]:
        path = _sample(claim.pattern, depth)
        for method in claim.methods or EVERY_METHOD:
            yield Ask(method, path)


def _sample(pattern: str, depth: str) -> str:
    samples = {**_SAMPLES, "path": depth}
    return PARAMETER.sub(lambda found: samples.get(found[2] or "str", _SAMPLE), pattern)


def _first(claims: Iterable[Claim], ask: Ask) -> Claim | None:
    return next((claim for claim in claims if claim.takes(ask)), None)


def _claims(routes: Iterable[BaseRoute], above: str = "") -> Iterator[Claim]:
    """What ``routes`` take, in the order in which they are asked."""
    for route in routes:
        yield from _claims_of(route, above)


def _claims_of(route: Any, above: str) -> Iterator[Claim]:
    match route:
        case Mount():
            yield from _claims(route.routes or (), above + route.path)
            yield _claim(above + route.path + _BELOW, None)
        case Host():
            # One for hosts of certain names leaves the others to the gateway.
            if route.host_regex.match(_UNKNOWN_HOST):
                yield from _claims(route.routes or (), above)
                yield _claim(above + _BELOW, None)
        case WebSocketRoute():
            yield _claim(above + route.path, frozenset({WEBSOCKET}))
        case Route():
            methods = frozenset(route.methods) if route.methods else EVERY_METHOD
            yield _claim(above + route.path, methods)
        case _ if hasattr(route, "effective_route_contexts"):
            # FastAPI's included routers: each context is a route under the paths of all of them.
            for one in route.effective_route_contexts():
                yield from _claims_of(one.starlette_route or one, above)
        case _ if isinstance(getattr(route, "path", None), str) and hasattr(route, "path_regex"):
            yield _claim(above + route.path, frozenset(route.methods) or EVERY_METHOD)
        case _:
            # Of an unknown kind: it may take anything, and says nothing of it.
            yield _claim(above + _BELOW, None)._replace(said=0)


def _claim(pattern: str, methods: frozenset[str] | None) -> Claim:
    literal = [re.escape(part) for part in _literals(pattern)]
    convertors = [found[2] or "str" for found in PARAMETER.finditer(pattern)]
    parameters = [f"(?:{CONVERTOR_TYPES[one].regex})" for one in convertors]
    regex = "".join(part for pair in zip(literal, [*parameters, ""], strict=True) for part in pair)
    said = sum(map(len, _literals(pattern)))
    return Claim(pattern, methods, re.compile(regex, re.DOTALL), said)


def _literals(pattern: str) -> list[str]:
    """What stands between a path's parameters."""
    ends = [0, *(place for found in PARAMETER.finditer(pattern) for place in found.span())]
    starts = [*ends[::2]]
    stops = [*ends[1::2], len(pattern)]
    return [pattern[start:stop] for start, stop in zip(starts, stops, strict=True)]


class _Ahead(BaseRoute):
    """A gateway's route that stands before routes of the host, and leaves them what is theirs."""

    def __init__(self, own: BaseRoute, claim: Claim, host: Sequence[BaseRoute]) -> None:
        self._own = own
        self._said = claim.said
        self._host = host
        self._claims: list[Claim] | None = None

    def __repr__(self) -> str:
        return repr(self._own)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        found, child = self._own.matches(scope)
        if found is Match.NONE or not self._is_hosts(scope):
            return found, child
        return Match.NONE, {}

    def _is_hosts(self, scope: Scope) -> bool:
        if self._claims is None:
            # Now, and not when it was mounted: a host may go on adding to a router of its own.
            self._claims = list(_claims(self._host))
        ask = Ask(scope.get("method", WEBSOCKET), path_below_root(scope))
        claim = _first(self._claims, ask)
        return claim is not None and claim.said >= self._said

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        return self._own.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._own.handle(scope, receive, send)


def path_below_root(scope: Scope) -> str:
    """The path that routes are asked for: without what an outer application has taken of it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root + "/") else path
