"""``/ws/chat``: the handshake, and the frames in. What goes out is the connection's own doing."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection

from ..auth import Identity
from ..errors import AgentwsError, BadRequest, EventTooLarge, Internal, TooLarge, TooMany
from ..protocol.frames import BEARER, NATIVE, SIMPLE, encode_frame, error_frame
from ..protocol.native import NativeWire
from ..protocol.simple import SimpleWire
from ..runs.leased import new_id
from ..sessions.registry import check_session_id
from .connection import CROWDED, Connection, bye
from .connections import Place
from .guard import Guard
from .identifying import Identifying, address_of
from .native import NativePeer
from .outlet import EXTENSION, GONE, Outlet, Send
from .rates import Pace
from .simple import SimplePeer

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway

logger: Final = logging.getLogger("agentws")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
CORKED: Final = 0.005
"""Seconds that writing is held back at most, however long a message takes to be handled."""
_NATIVE: Final = NativeWire()
_WIRES: Final = (NATIVE, SIMPLE)
_EPOCH: Final = datetime.datetime.fromtimestamp(0, datetime.UTC)
_FIRST_MOMENT: Final = -62_135_596_800_000
_LAST_MOMENT: Final = 253_402_300_799_999


class Peer(Protocol):
    """Reads what a client sends, on one of the wires."""

    refuses_binary: int
    """The code that closes the connection of a peer that sends binary messages."""

    async def open(self, opening: Opening) -> None:
        """Says what the client has to know first, and places its cursor."""

    async def text(self, text: str) -> None:
        """One message of the client; raises AgentwsError to answer it with an error frame."""

    def reply_to(self, text: str) -> str | None:
        """The id that an error about this message should name."""


class Opening(NamedTuple):
    """What a handshake asks for."""

    session: str | None
    after: str | None
    agent: str | None
    stream: bool
    subprotocol: str | None
    """The wire by its name; ``None`` for the simple one of a client that offered none."""
    made: bool = False

    @property
    def native(self) -> bool:
        return self.subprotocol == NATIVE


class _Gone(Exception):
    """The peer left before it was answered."""


class WebSocketTransport:
    """The ASGI app of the WebSocket endpoint."""

    def __init__(self, gateway: AgentGateway, guard: Guard, identifying: Identifying) -> None:
        self._gateway = gateway
        self._guard = guard
        self._identifying = identifying

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        # An idle connection holds this frame: what opening it needed is gone by then.
        try:
            opened = await self._handshake(scope, receive, send)
        except _Gone:
            return
        if opened is not None:
            await self._serve(*opened, receive)

    # Opening

    async def _handshake(
        self, scope: Any, receive: Receive, send: Send
    ) -> tuple[Connection, Peer] | None:
        message = await receive()
        if message["type"] != "websocket.connect":
            return None
        try:
            self._guard.check(scope)
            opening = parse_opening(scope)
        except AgentwsError as error:
            await _deny(scope, send, error)
            return None
        extension = scope.get("extensions", {}).get(EXTENSION)
        outlet = Outlet(send, self._gateway.tasks, extension=extension)
        return await self._open(scope, send, outlet, opening)

    async def _open(
        self, scope: Any, send: Send, outlet: Outlet, opening: Opening
    ) -> tuple[Connection, Peer] | None:
        """The connection, accepted and at its place; ``None`` when it was refused."""
        gateway = self._gateway
        try:
            check_opening(opening)
            await gateway.start()
            identity = await self._identifying.identify(HTTPConnection(scope))
            return await self._enter(send, outlet, opening, identity, address_of(scope))
        except AgentwsError as error:
            await self._refuse(send, opening, error)
        except _Gone:
            raise
        except Exception:
            logger.exception("a handshake failed")
            await self._refuse(send, opening, Internal())
        return None

    async def _enter(
        self,
        send: Send,
        outlet: Outlet,
        opening: Opening,
        identity: Identity | None,
        address: str,
    ) -> tuple[Connection, Peer]:
        gateway = self._gateway
        owner = None if identity is None else identity.id
        place = gateway.connections.admit(owner=owner, address=address)
        try:
            async with gateway.connections.opening:
                return await self._follow(send, outlet, opening, identity, place)
        except BaseException:
            place.release()
            raise

    async def _follow(
        self,
        send: Send,
        outlet: Outlet,
        opening: Opening,
        identity: Identity | None,
        place: Place,
    ) -> tuple[Connection, Peer]:
        gateway = self._gateway
        session, made = await gateway.enter(opening.session, identity=identity, agent=opening.agent)
        await _accept(send, opening)
        simple = None
        if not opening.native:
            simple = SimpleWire(session=session.id, stream=opening.stream, now=iso_time)
        connection = Connection(
            id=new_id("con"),
            session=session,
            identity=identity,
            wire=simple or _NATIVE,
            outlet=outlet,
            tasks=gateway.tasks,
        )
        peer: Peer
        if simple is None:
            peer = NativePeer(gateway, connection)
        else:
            peer = SimplePeer(gateway, connection, simple)
        session.follow(connection)
        gateway.connections.add(connection, place)
        try:
            await peer.open(opening._replace(made=made))
        except AgentwsError as error:
            connection.refuse(error)
        except Exception:
            # It was accepted already, so it is this connection that has to be closed.
            logger.exception("a connection could not be opened")
            connection.refuse(Internal())
        except BaseException:
            self._leave(connection)
            raise
        connection.uncork()
        return connection, peer

    async def _refuse(self, send: Send, opening: Opening, error: AgentwsError) -> None:
        """Accepts and closes at once: a browser tells its page nothing of a refused handshake."""
        await _accept(send, opening)
        if opening.native:
            said = encode_frame(bye(error))
        else:
            wire = SimpleWire(session=opening.session or "", stream=False, now=iso_time)
            said = wire.control(error_frame(error)) or b""
        await _say(send, {"type": "websocket.send", "text": said.decode()})
        await _say(
            send, {"type": "websocket.close", "code": error.close_code, "reason": error.code}
        )

    def _leave(self, connection: Connection) -> None:
        connection.leave()
        connection.session.unfollow(connection)
        self._gateway.connections.discard(connection)
        with suppress(RuntimeError):
            # A loop that was closed under the connection has no time any more.
            connection.session.used = asyncio.get_running_loop().time()

    # Serving

    async def _serve(self, connection: Connection, peer: Peer, receive: Receive) -> None:
        reader = _Reader(self._gateway, connection, peer)
        try:
            while True:
                if connection.unread > CROWDED:
                    # Pauses reading while the peer leaves replies unread: more frames of it would
                    # only add to them.
                    await connection.room()
                message = await receive()
                if message["type"] != "websocket.receive":
                    return
                text = message.get("text")
                if connection.closing:
                    continue
                if text is None:
                    connection.close(peer.refuses_binary, "text frames only")
                else:
                    await reader.take(text)
        finally:
            self._leave(connection)


class _Reader:
    """Takes a client's messages one by one, at the pace its limits allow."""

    __slots__ = ("_connection", "_errors", "_gateway", "_pace", "_peer")

    def __init__(self, gateway: AgentGateway, connection: Connection, peer: Peer) -> None:
        self._gateway = gateway
        self._connection = connection
        self._peer = peer
        self._errors = 0
        self._pace: Pace | None = None

    async def take(self, text: str) -> None:
        """Handles one message. An error is answered; too many in a row close the connection."""
        connection = self._connection
        connection.cork()
        try:
            self._check(text)
            if self._gateway.may_wait:
                await self._take_slowly(text)
            else:
                await self._peer.text(text)
            self._errors = 0
        except AgentwsError as error:
            self._answer(error, text)
        except Exception:
            logger.exception("a message could not be handled")
            self._answer(Internal(), text)
        finally:
            connection.uncork()

    async def _take_slowly(self, text: str) -> None:
        """What the log says must not wait for a host or a store that takes its time."""
        loop = asyncio.get_running_loop()
        uncorking = loop.call_later(CORKED, self._connection.uncork_now)
        try:
            await self._peer.text(text)
        finally:
            uncorking.cancel()

    def _answer(self, error: AgentwsError, text: str) -> None:
        self._errors += 1
        # What is too large to be read costs the server; what is too large to be kept does not.
        oversize = isinstance(error, TooLarge) and not isinstance(error, EventTooLarge)
        reply = None if oversize else self._peer.reply_to(text)
        self._connection.send_error(error, reply=reply)
        if oversize:
            self._connection.close(error.close_code, error.code)
        elif self._errors >= self._gateway.limits.max_errors:
            self._connection.refuse(TooMany("Too many errors in a row.", retry_after=5.0))

    def _check(self, text: str) -> None:
        limits = self._gateway.limits
        # Characters are at least as many bytes, so most messages are not encoded to be measured.
        size = len(text) if len(text) * 4 <= limits.max_message_size else len(text.encode())
        if size > limits.max_message_size:
            raise TooLarge(
                "This message is too large.", expected=f"at most {limits.max_message_size} bytes"
            )
        if self._pace is None:
            self._pace = Pace(limits)
        self._pace.count(messages=1, size=size)


def parse_opening(scope: Any) -> Opening:
    """What the handshake asks for; raises BadRequest when no wire can be agreed on."""
    query = dict(
        parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    )
    offered = scope.get("subprotocols", ())
    wires = [one for one in offered if not one.startswith(BEARER)]
    served = next((one for one in wires if one in _WIRES), None)
    if wires and served is None:
        raise BadRequest("None of these subprotocols is served.", expected=f"{NATIVE} or {SIMPLE}")
    return Opening(
        session=query.get("session") or None,
        # Given and empty is a position that was lost, not one that never was.
        after=query.get("after"),
        agent=query.get("agent") or None,
        stream=query.get("stream") == "1",
        subprotocol=served,
    )


def check_opening(opening: Opening) -> None:
    """Raises BadRequest, naming what was expected, for a session id of another form."""
    if opening.session is not None:
        check_session_id(opening.session)


async def _say(send: Send, message: MutableMapping[str, Any]) -> None:
    """Sends; raises _Gone, so that only a peer's leaving is taken for that."""
    try:
        await send(message)
    except GONE as error:
        raise _Gone from error


async def _accept(send: Send, opening: Opening) -> None:
    await _say(send, {"type": "websocket.accept", "subprotocol": opening.subprotocol})


async def _deny(scope: Any, send: Send, error: AgentwsError) -> None:
    """Refuses before accepting: with the error as an HTTP response where the server can."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await _say(send, {"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    body = _NATIVE.control(error_frame(error)) or b""
    headers: Sequence[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await _say(
        send, {"type": "websocket.http.response.start", "status": error.status, "headers": headers}
    )
    await _say(send, {"type": "websocket.http.response.body", "body": body})


def iso_time(timestamp: int | None) -> str:
    """Milliseconds since the epoch, or now, as ISO 8601 in UTC; years from 1 to 9999."""
    if timestamp is None:
        moment = datetime.datetime.now(datetime.UTC)
    else:
        # Agents give times, too; one in nanoseconds is a mistake that must not end a connection.
        known = min(max(timestamp, _FIRST_MOMENT), _LAST_MOMENT)
        moment = _EPOCH + datetime.timedelta(milliseconds=known)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
