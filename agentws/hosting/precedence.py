"""Route precedence between a gateway and its host: the more specific route gets the request.

Starlette takes the first route that matches, so a catch-all route of the host, or static files at
``/``, would take the paths of a gateway that is mounted later. Here, of two routes that match the
same path, the more specific one gets it: the one whose path has more characters outside of
parameters. If both are equally specific, the host's route gets it, since it was added first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from starlette.convertors import CONVERTOR_TYPES
from starlette.routing import BaseRoute, Host, Match, Mount, Route, WebSocketRoute
from starlette.types import Scope

from ..transports.prefix import PARAMETER

logger: Final = logging.getLogger("agentws")

WEBSOCKET: Final = "websocket"
COMMON: Final = frozenset({"/", "", "/health", "/livez", "/readyz"})
"""Paths below the prefix that hosts often have themselves: no warning when the host keeps them."""

EVERY_METHOD: Final = frozenset({"GET", "POST", "PATCH", "DELETE"})
_BELOW: Final = "/{path:path}"
_UNKNOWN_HOST: Final = "any.host.invalid"
_SAMPLES: Final = {
    "float": "1.5",
    "int": "1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""Sample values of a parameter, by its convertor; any other one gets a session's id."""
_DEPTHS: Final = ("file", "folder/file", "folder/folder/file")
"""Sample values of a ``path`` parameter: a host's route may match one depth only."""
_SAMPLE: Final = "ses_0000000000000000"


class Target(NamedTuple):
    """The method (or WEBSOCKET) and the path of a request."""

    method: str
    path: str


class RoutePattern(NamedTuple):
    """The requests that a route matches, and how specific its path is."""

    path: str
    methods: frozenset[str] | None
    """``None``: every method and WebSockets; ``EVERY_METHOD``: every method, no WebSockets."""
    regex: re.Pattern[str]
    specificity: int
    """The number of characters outside of parameters."""

    def matches(self, target: Target) -> bool:
        if self.methods is EVERY_METHOD:
            fits = target.method != WEBSOCKET
        else:
            fits = self.methods is None or target.method in self.methods
        return fits and self.regex.fullmatch(target.path) is not None


def insert_routes(routes: list[BaseRoute], own: Sequence[BaseRoute], *, prefix: str) -> None:
    """Inserts ``own``, a gateway's routes below ``prefix``, into the host's ``routes``.

    Each is inserted before the first less specific route that matches its path, or appended.
    Raises ValueError if the host keeps the path of the WebSocket. If it keeps another path of the
    gateway's, that is logged.
    """
    patterns = [list(_patterns([route])) for route in routes]
    insertions: dict[int, list[BaseRoute]] = {}
    for route in own:
        (pattern,) = _patterns([route])
        index, keeper = _index_for(pattern, patterns)
        if keeper is not None:
            _report_kept(pattern, keeper, common=pattern.path[len(prefix) :] in COMMON)
        if index < len(routes):
            route = _yielding(route, _RoutesBehind(pattern, routes[index:]))
        insertions.setdefault(index, []).append(route)
    routes[:] = [
        one
        for index in range(len(routes) + 1)
        for one in (*insertions.get(index, ()), *routes[index : index + 1])
    ]


def _report_kept(own: RoutePattern, keeper: RoutePattern, *, common: bool) -> None:
    """Reports that the host's route ``keeper`` keeps a path of the gateway's."""
    if own.methods == frozenset({WEBSOCKET}):
        raise ValueError(
            f"the app's route {keeper.path!r} matches the gateway's WebSocket path "
            f"{own.path!r}; expected another prefix"
        )
    logger.log(
        logging.INFO if common else logging.WARNING,
        "the app's route %r matches the gateway's path %s and keeps it; expected another prefix",
        keeper.path,
        own.path,
    )


def _index_for(
    own: RoutePattern, host: Sequence[Sequence[RoutePattern]]
) -> tuple[int, RoutePattern | None]:
    """The index to insert a gateway's route at; and the host's route that keeps its path, if any.

    The index is ``len(host)`` if no route of the host is less specific.
    """
    index, keeper = len(host), None
    for target in _samples(own):
        for at, of_route in enumerate(host):
            pattern = _first(of_route, target)
            if pattern is None:
                continue
            if pattern.specificity < own.specificity:
                index = min(index, at)
            else:
                keeper = pattern
            break
    return index, keeper


def _samples(pattern: RoutePattern) -> Iterator[Target]:
    for depth in _DEPTHS if pattern.path.endswith(_BELOW) else _DEPTHS[:1]:
        path = _sample(pattern.path, depth)
        for method in pattern.methods or EVERY_METHOD:
            yield Target(method, path)


def _sample(path: str, depth: str) -> str:
    samples = {**_SAMPLES, "path": depth}
    return PARAMETER.sub(lambda found: samples.get(found[2] or "str", _SAMPLE), path)


def _first(patterns: Iterable[RoutePattern], target: Target) -> RoutePattern | None:
    return next((pattern for pattern in patterns if pattern.matches(target)), None)


def _patterns(routes: Iterable[BaseRoute], above: str = "") -> Iterator[RoutePattern]:
    """The patterns of ``routes`` in the order in which Starlette tries them."""
    for route in routes:
        yield from _patterns_of(route, above)


def _patterns_of(route: Any, above: str) -> Iterator[RoutePattern]:
    match route:
        case Mount():
            yield from _patterns(route.routes or (), above + route.path)
            yield _pattern(above + route.path + _BELOW, None)
        case Host():
            # A Host route for certain names only does not match the other names' requests.
            if route.host_regex.match(_UNKNOWN_HOST):
                yield from _patterns(route.routes or (), above)
                yield _pattern(above + _BELOW, None)
        case WebSocketRoute():
            yield _pattern(above + route.path, frozenset({WEBSOCKET}))
        case Route():
            methods = frozenset(route.methods) if route.methods else EVERY_METHOD
            yield _pattern(above + route.path, methods)
        case _ if hasattr(route, "effective_route_contexts"):
            # FastAPI's included routers: each context is a route under the paths of all of them.
            for one in route.effective_route_contexts():
                yield from _patterns_of(one.starlette_route or one, above)
        case _ if isinstance(getattr(route, "path", None), str) and hasattr(route, "path_regex"):
            yield _pattern(above + route.path, frozenset(route.methods) or EVERY_METHOD)
        case _:
            # An unknown kind of route may match anything: it counts as the least specific.
            yield _pattern(above + _BELOW, None)._replace(specificity=0)


def _pattern(path: str, methods: frozenset[str] | None) -> RoutePattern:
    literals = _literals(path)
    escaped = map(re.escape, literals)
    convertors = [found[2] or "str" for found in PARAMETER.finditer(path)]
    parameters = [f"(?:{CONVERTOR_TYPES[one].regex})" for one in convertors]
    regex = "".join(part for pair in zip(escaped, [*parameters, ""], strict=True) for part in pair)
    specificity = sum(map(len, literals))
    return RoutePattern(path, methods, re.compile(regex, re.DOTALL), specificity)


def _literals(path: str) -> list[str]:
    """The parts of a path between its parameters."""
    edges = [0, *(edge for found in PARAMETER.finditer(path) for edge in found.span()), len(path)]
    return [path[start:stop] for start, stop in zip(edges[::2], edges[1::2], strict=True)]


class _RoutesBehind:
    """The routes of the host behind one of a gateway's, which yields to those at least as specific.

    The gateway's route stays a :class:`Route` or a :class:`WebSocketRoute`: FastAPI's included
    routers take over no others, and tools that list an app's routes read their attributes.
    """

    def __init__(self, own: RoutePattern, routes: Sequence[BaseRoute]) -> None:
        self._specificity = own.specificity
        self._routes = routes
        self._patterns: list[RoutePattern] | None = None

    def unless_kept(self, scope: Scope, match: tuple[Match, Scope]) -> tuple[Match, Scope]:
        """``match``, or no match for a request that belongs to one of these routes."""
        if match[0] is Match.NONE or not self._keep(scope):
            return match
        return Match.NONE, {}

    def _keep(self, scope: Scope) -> bool:
        if self._patterns is None:
            # With the first request, as a host may add routes to its routers after the mount.
            self._patterns = list(_patterns(self._routes))
        target = Target(scope.get("method", WEBSOCKET), path_below_root(scope))
        pattern = _first(self._patterns, target)
        return pattern is not None and pattern.specificity >= self._specificity


def _yielding(own: BaseRoute, behind: _RoutesBehind) -> BaseRoute:
    if isinstance(own, WebSocketRoute):
        return _YieldingWebSocketRoute(own, behind)
    assert isinstance(own, Route)
    return _YieldingRoute(own, behind)


class _YieldingRoute(Route):
    """A gateway's route before routes of the host."""

    def __init__(self, own: Route, behind: _RoutesBehind) -> None:
        super().__init__(
            own.path, own.endpoint, name=own.name, include_in_schema=own.include_in_schema
        )
        self._behind = behind

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self._behind.unless_kept(scope, super().matches(scope))


class _YieldingWebSocketRoute(WebSocketRoute):
    """A gateway's WebSocket before routes of the host."""

    def __init__(self, own: WebSocketRoute, behind: _RoutesBehind) -> None:
        super().__init__(own.path, own.endpoint, name=own.name)
        self._behind = behind

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self._behind.unless_kept(scope, super().matches(scope))


def path_below_root(scope: Scope) -> str:
    """The path that routes match: without the part that an outer application has consumed."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root + "/") else path
