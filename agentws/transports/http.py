"""What every HTTP route shares: checks, decoding of the body, and errors.

A route is data: an :class:`Operation`. The endpoint of a path checks Host, Origin, credentials,
rate limits and body for all of them, so that no handler can forget to.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..auth import Identity, http_status
from ..errors import (
    AgentwsError,
    BadRequest,
    Forbidden,
    Internal,
    MethodNotAllowed,
    NotFound,
    TimedOut,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from ..protocol.bodies import read_json
from ..protocol.frames import failure
from .cors import cors_headers, preflight
from .guard import Guard
from .identifying import Identifying, address_of
from .rates import Paces
from .refusal import Refusal, WatchedBody
from .service import HttpService

logger: Final = logging.getLogger("agentws")

BODY_TIMEOUT: Final = 30.0
"""Seconds that a body may take to arrive."""
JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
_PREFLIGHTED: Final = (JSON, JSON_PATCH)
"""Media types that a page of another site can't send without a CORS preflight."""
SERVER: Final = "agentws.server"
"""The ASGI extension that the preset of :mod:`agentws.server` offers to its application."""

Audience = Literal["anyone", "caller", "caller or admin", "admin"]
"""Who may call a route. A ``caller`` has an identity, or may be anyone if the host has no
``authenticate``."""


class Call(NamedTuple):
    """One request that has passed the checks."""

    request: Request
    identity: Identity | None = None
    body: Any = None
    """Decoded by the operation's ``body`` or ``reads``; ``None`` without a body."""

    @property
    def owner(self) -> str | None:
        return None if self.identity is None else self.identity.id

    @property
    def address(self) -> str:
        return address_of(self.request.scope)


def free(request: Request) -> int:
    """The cost of a request that is counted as a connection."""
    return 0


Handler = Callable[[Call], Awaitable[ASGIApp]]
Reads = Mapping[str, Callable[[bytes], Any]]
"""Decodes a body, by its media type; raises BadRequest."""


class Operation(NamedTuple):
    """One method of one path below the gateway's prefix."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    audience: Audience
    summary: str
    body: type | None = None
    """The type that the JSON body is decoded to; ``None`` for a route without a body."""
    answer: type | None = None
    """The type of the JSON that the route returns; ``None`` if it returns no JSON."""
    status: int = 200
    reads: Reads | None = None
    """Decodes bodies of several media types; used instead of ``body``."""
    streams: bool = False
    """Whether the handler reads the body itself, and may refuse it before its end."""
    cost: Callable[[Request], int] = lambda request: 1
    """What a GET costs of ``read_rate``. A connection that follows a log has limits of its own."""


def http_routes(
    service: HttpService,
    guard: Guard,
    identifying: Identifying,
    operations: Iterable[Operation],
    *,
    prefix: str,
) -> list[BaseRoute]:
    """One route for each path, with all its methods."""
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, []).append(operation)
    checks = RequestChecks(service, guard, identifying)
    return [
        Route(prefix + path, Endpoint(checks, found), name="agentws", include_in_schema=False)
        for path, found in paths.items()
    ]


class Endpoint:
    """The ASGI app of one path."""

    # Middleware of hosts (metrics, limits) names endpoints as if each were a function.
    __name__: Final = "agentws"

    def __init__(self, checks: RequestChecks, operations: Iterable[Operation]) -> None:
        self._checks = checks
        self._operations: Final[dict[str, Operation]] = {one.method: one for one in operations}
        self._reads: Final = {method: _reads(one) for method, one in self._operations.items()}
        # HEAD is answered as GET is.
        head = ["HEAD"] if "GET" in self._operations else []
        self._methods: Final = ", ".join([*self._operations, *head, "OPTIONS"])

    def __repr__(self) -> str:
        return f"<Endpoint {self._methods}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extra = [(b"vary", b"Origin"), (b"x-content-type-options", b"nosniff")]

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        request = Request(scope, receive)
        try:
            self._checks.guard.check(scope)
            extra += cors_headers(self._checks.guard, scope)
            response = await self._respond(request)
        except AgentwsError as error:
            response = error_response(error, allow=self._methods)
        except ClientDisconnect:
            return
        except Exception as error:
            response = error_response(_unexpected(error))
        await response(scope, receive, send_with_headers)

    async def _respond(self, request: Request) -> ASGIApp:
        if request.method == "OPTIONS":
            return preflight(request, self._methods)
        operation = self._operation(request.method)
        if operation.streams:
            return await self._stream(request, operation)
        call = await self._checks.admit(request, operation)
        reads = self._reads[operation.method]
        if reads:
            call = call._replace(body=await self._checks.read_body(call, reads))
        return await operation.handler(call)

    async def _stream(self, request: Request, operation: Operation) -> ASGIApp:
        body = WatchedBody(request.receive)
        try:
            if operation.method == "POST":
                self._checks.check_form(request)
            call = await self._checks.admit(Request(request.scope, body), operation)
            return await operation.handler(call)
        except AgentwsError as error:
            return Refusal(error_response(error), body)

    def _operation(self, method: str) -> Operation:
        operation = self._operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            raise MethodNotAllowed(expected=self._methods)
        return operation


class RequestChecks:
    """Checks requests before they are handled."""

    def __init__(self, service: HttpService, guard: Guard, identifying: Identifying) -> None:
        self._service = service
        self.guard: Final = guard
        self._identifying = identifying
        self._paces = Paces(service.limits)

    async def admit(self, request: Request, operation: Operation) -> Call:
        """The request as a call; raises Unauthenticated, Forbidden, NotFound and TooMany."""
        match operation.audience:
            case "anyone":
                return Call(request)
            case "admin":
                self._check_admin(request)
                await self._service.start()
                return Call(request)
            case "caller or admin" if self._identifying.is_admin(request):
                await self._service.start()
                return Call(request)
            case _:
                await self._service.start()
                call = Call(request, await self._identifying.identify(request))
                if operation.method == "GET":
                    if cost := operation.cost(request):
                        self._paces.count_read(caller_of(call), cost)
                else:
                    self._paces.count(caller_of(call))
                return call

    def _check_admin(self, request: Request) -> None:
        if not self._service.has_admin:
            raise NotFound(
                "This route is off: the gateway has no admin key.",
                expected="an admin_key where the gateway is mounted",
            )
        if not self._identifying.is_admin(request):
            raise Unauthenticated(expected="the admin key, as a bearer token or in X-API-Key")

    def check_form(self, request: Request) -> None:
        """Raises Forbidden for a form of a page that the host does not trust by name.

        With ``"*"`` any page may send a form with its visitor's cookies, and no preflight asks the
        server first (cross-site request forgery). Other methods have a preflight.
        """
        origin = request.headers.get("origin")
        if origin is not None and self.guard.any_origin and not self.guard.trusts(origin):
            raise Forbidden("This origin may not send forms.", expected="PUT instead of POST")

    async def read_body(self, call: Call, reads: Reads) -> Any:
        """The body, decoded by the entry of ``reads`` for its media type.

        Raises UnsupportedMedia, TooLarge, TimedOut, TooMany and BadRequest. A browser, which sends
        an Origin, must send a kind of JSON. A form or plain text needs no CORS preflight: a page of
        another site could send it with the user's cookies (cross-site request forgery).
        """
        headers = call.request.headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        kinds = [one for one in reads if one in _PREFLIGHTED or "origin" not in headers]
        if kind not in kinds or kind not in reads:
            raise UnsupportedMedia(expected=f"Content-Type: {' or '.join(kinds)}")
        check_encoding(call.request)
        data = await read_limited(call.request, self._service.limits.max_message_size)
        self._paces.count(caller_of(call), size=len(data))
        return reads[kind](data)


def _reads(operation: Operation) -> Reads:
    if operation.body is None:
        return operation.reads or {}
    return {JSON: partial(read_json, msgspec.json.Decoder(operation.body))}


def check_encoding(request: Request) -> None:
    """Raises UnsupportedMedia for a compressed body: nothing here decompresses one."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia("This body is encoded.", expected="no Content-Encoding")


async def read_limited(request: Request, limit: int) -> bytes:
    """The whole body; raises TooLarge as soon as it is beyond ``limit`` bytes, and TimedOut."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise TooLarge("This body is too large.", expected=f"at most {limit} bytes")
                parts.append(part)
    except TimeoutError as error:
        raise TimedOut("The body took too long to arrive.") from error
    return b"".join(parts)


def _unexpected(error: Exception) -> AgentwsError:
    """What a client is told of an exception that is none of ours."""
    if http_status(error) == TooLarge.status:
        # A limit of the host: its middleware raises while the body is received.
        return TooLarge("This body is too large.")
    logger.exception("a request could not be handled")
    return Internal()


# Responses


def json_response(
    body: msgspec.Struct | Mapping[str, Any] | bytes,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A JSON response that must not be cached; ``bytes`` are encoded already."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    fresh = {"cache-control": "no-store", **(headers or {})}
    return Response(content, status_code=status, media_type=JSON, headers=fresh)


def error_response(error: AgentwsError, *, allow: str | None = None) -> Response:
    """The response to a request that is refused; ``allow``: the methods of the path."""
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed) and allow is not None:
        headers["allow"] = allow
    return json_response(failure(error), status=error.status, headers=headers)


# Query parameters


def query_number(request: Request, name: str, *, default: int, largest: int) -> int:
    """A whole number from 1 to ``largest``, larger ones cut to it; raises BadRequest."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16) or int(text) < 1:
        raise BadRequest(f"The parameter {name} is not valid.", expected="a whole number from 1")
    return min(int(text), largest)


def query_float(request: Request, name: str) -> float | None:
    """A number of at least 0, or ``None`` if it is absent; raises BadRequest."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        # float() takes "1_0", and digits of other scripts.
        number = math.nan if "_" in text or not text.isascii() else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise BadRequest(f"The parameter {name} is not valid.", expected="a number from 0")
    return number


def caller_of(call: Call) -> str:
    """Who is counted by rate limits: the identity, or without one the network address."""
    if call.identity is not None:
        return f"identity {call.identity.id}"
    return f"address {call.address}"
