"""The WebSocket endpoint: the pump of every wire over WebSocket.

Here are the handshake and the frames that come in. What goes out is written by
:class:`~agentws.transports.connection.Connection`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection

from ..auth import Identity
from ..errors import AgentwsError, EventTooLarge, Internal, TooLarge, TooMany
from ..protocol import frames as f
from ..protocol.wires import choose_wire
from ..protocol.wires.wire import EncoderContext, SocketWire
from ..runs.commands import Invocation
from ..runs.ids import new_id
from ..sessions.registry import check_session_id
from .command_queue import reply_to_command
from .commands import ClientRequest, command_in, perform, reply
from .connection import PAUSE_READING_AT, Connection, close_notice
from .connections import Place
from .guard import Guard
from .identifying import Identifying, address_of
from .opening import begin, greeting
from .outlet import EXTENSION, GONE, Outlet, Send
from .presence import reply_with_presence
from .rates import Pace
from .service import SessionService
from .subscriptions import Subscriptions
from .times import iso_time

logger: Final = logging.getLogger("agentws")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
OF_CONNECTION: Final = frozenset((f.Subscribe, f.Unsubscribe, f.WatchPresence))
"""The commands that change the connection, and not the session."""
CORKED: Final = 0.005
"""The most seconds that writes are held back while a client's message is handled."""


class Handshake(NamedTuple):
    """What a handshake asks for."""

    wire: SocketWire
    subprotocol: str | None
    """What is accepted; ``None`` for a client that offered nothing."""
    query: Mapping[str, str]

    @property
    def session(self) -> str | None:
        return self.query.get("session") or None

    @property
    def agent(self) -> str | None:
        return self.query.get("agent") or None

    @property
    def after(self) -> str | None:
        """The client's position; empty for one that the client has lost, ``None`` for none."""
        return self.query.get("after")


class _PeerLeft(Exception):
    """The peer disconnected before the handshake was answered."""


class WebSocketTransport:
    """The ASGI app of one WebSocket path, which serves ``wires``."""

    def __init__(
        self,
        service: SessionService,
        guard: Guard,
        identifying: Identifying,
        wires: Sequence[SocketWire],
    ) -> None:
        self._service = service
        self._guard = guard
        self._identifying = identifying
        self._wires = wires

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        # The only frame of this package that an idle connection holds: the handshake and each
        # message have frames of their own, which are freed by then.
        try:
            opened = await self._handshake(scope, receive, send)
        except _PeerLeft:
            return
        if opened is None:
            return
        connection, wire = opened
        del opened
        reader: _Reader | None = None
        try:
            while True:
                if connection.unread > PAUSE_READING_AT:
                    # Backpressure: nothing more is read from a peer that does not read its replies.
                    await connection.readable()
                message = await receive()
                if message["type"] != "websocket.receive":
                    return
                if reader is None:
                    # Not before: many connections only listen.
                    reader = _Reader(self._service, connection, wire)
                await reader.handle(message)
        finally:
            if reader is not None:
                reader.leave()
            self._leave(connection)

    # Opening

    async def _handshake(
        self, scope: Any, receive: Receive, send: Send
    ) -> tuple[Connection, SocketWire] | None:
        message = await receive()
        if message["type"] != "websocket.connect":
            return None
        try:
            self._guard.check(scope)
            handshake = parse_handshake(scope, self._wires)
        except AgentwsError as error:
            await _deny(scope, send, error)
            return None
        extension = scope.get("extensions", {}).get(EXTENSION)
        outlet = Outlet(send, self._service.tasks, extension=extension)
        connection = await self._open(scope, send, outlet, handshake)
        return None if connection is None else (connection, handshake.wire)

    async def _open(
        self, scope: Any, send: Send, outlet: Outlet, handshake: Handshake
    ) -> Connection | None:
        """The connection, accepted and at its position; ``None`` when it was refused."""
        try:
            if handshake.session is not None:
                check_session_id(handshake.session)
            await self._service.start()
            identity = await self._identifying.identify(HTTPConnection(scope))
            return await self._enter(send, outlet, handshake, identity, address_of(scope))
        except AgentwsError as error:
            await _refuse(send, handshake, error)
        except _PeerLeft:
            raise
        except Exception:
            logger.exception("a handshake failed")
            await _refuse(send, handshake, Internal())
        return None

    async def _enter(
        self,
        send: Send,
        outlet: Outlet,
        handshake: Handshake,
        identity: Identity | None,
        address: str,
    ) -> Connection:
        connections = self._service.connections
        owner = None if identity is None else identity.id
        place = connections.admit(owner=owner, address=address)
        try:
            async with connections.opening():
                return await self._follow(send, outlet, handshake, identity, place)
        except BaseException:
            place.release()
            raise

    async def _follow(
        self,
        send: Send,
        outlet: Outlet,
        handshake: Handshake,
        identity: Identity | None,
        place: Place,
    ) -> Connection:
        service = self._service
        session, made = await service.enter(
            handshake.session, identity=identity, agent=handshake.agent
        )
        await _accept(send, handshake)
        connection = Connection(
            id=new_id("con"),
            session=session,
            identity=identity,
            encoder=handshake.wire.encoder(EncoderContext(session.id, handshake.query, iso_time)),
            outlet=outlet,
        )
        session.follow(connection)
        service.connections.add(connection, place)
        try:
            await self._begin(connection, handshake, made=made)
        except AgentwsError as error:
            connection.refuse(error)
        except Exception:
            # The handshake was accepted already, so the connection has to be closed.
            logger.exception("a connection could not be opened")
            connection.refuse(Internal())
        except BaseException:
            self._leave(connection)
            raise
        connection.uncork()
        return connection

    async def _begin(self, connection: Connection, handshake: Handshake, *, made: bool) -> None:
        """Places the cursor, and sends what comes before the first event after it."""
        service, session, encoder = self._service, connection.session, connection.encoder
        wire, after = handshake.wire, handshake.after
        beginning = await begin(service, session, wire, encoder, after=after, made=made)
        first = greeting(
            service,
            session,
            wire,
            encoder,
            beginning,
            connection=connection.id,
            identity=connection.owner,
        )
        snapshot = encoder.events(beginning.position.epoch, beginning.records)
        connection.begin(beginning.position, [*first, *snapshot])

    def _leave(self, connection: Connection) -> None:
        connection.leave()
        connection.session.unfollow(connection)
        self._service.connections.discard(connection)
        connection.session.used = connection.loop.time()


class _Reader:
    """Handles a client's messages one by one, within its rate limits."""

    __slots__ = ("_connection", "_errors", "_pace", "_service", "_subscriptions", "_wire")

    def __init__(self, service: SessionService, connection: Connection, wire: SocketWire) -> None:
        self._service = service
        self._connection = connection
        self._wire = wire
        self._errors = 0
        self._pace: Pace | None = None
        self._subscriptions: Subscriptions | None = None

    def leave(self) -> None:
        """Call it when the peer has disconnected."""
        if self._subscriptions is not None:
            self._subscriptions.leave()

    async def handle(self, message: Mapping[str, Any]) -> None:
        """Handles one message. An error is answered; too many in a row close the connection."""
        connection = self._connection
        if connection.ending is not None:
            return
        text = message.get("text")
        if text is None:
            connection.close(self._wire.binary_close_code, "text frames only")
            return
        connection.cork()
        uncorking = self._uncork_soon() if self._service.may_wait else None
        try:
            self._check(text)
            frame = command_in(self._wire.decode(text))
            if type(frame) in OF_CONNECTION:
                await self._change_connection(frame)
            else:
                if type(frame) is f.Command or getattr(frame, "attachments", None):
                    # Events of the log must not wait for a slow agent factory or file store.
                    connection.uncork_now()
                request = ClientRequest(
                    self._service, connection.session, frame, connection.identity
                )
                done = await perform(request)
                if isinstance(done, Invocation):
                    await reply_to_command(connection, request, done)
                else:
                    connection.send_control(reply(request, done))
            self._errors = 0
        except AgentwsError as error:
            self._answer(error, text)
        except Exception:
            logger.exception("a message could not be handled")
            self._answer(Internal(), text)
        finally:
            if uncorking is not None:
                uncorking.cancel()
            connection.uncork()

    def _uncork_soon(self) -> asyncio.TimerHandle:
        """Uncorks after ``CORKED`` seconds: events must not wait for a slow host."""
        connection = self._connection
        return connection.loop.call_later(CORKED, connection.uncork_now)

    async def _change_connection(self, frame: f.AnyClientFrame) -> None:
        # Events of the log must not wait for the host's ``may_subscribe``, nor for the answers of
        # other nodes.
        self._connection.uncork_now()
        match frame:
            case f.WatchPresence():
                await reply_with_presence(self._service, self._connection, frame)
            case f.Subscribe() | f.Unsubscribe():
                if self._subscriptions is None:
                    self._subscriptions = Subscriptions(self._service, self._connection)
                await self._subscriptions.handle(frame)

    def _answer(self, error: AgentwsError, text: str) -> None:
        self._errors += 1
        # A message above the limit closes the connection; one that is only too large for an event
        # is refused.
        oversize = isinstance(error, TooLarge) and not isinstance(error, EventTooLarge)
        reply_to = None if oversize else self._wire.reply_to(text)
        self._connection.send_error(error, reply=reply_to)
        if oversize:
            self._connection.close(error.close_code, error.code)
        elif self._errors >= self._service.limits.max_errors:
            self._connection.refuse(TooMany("Too many errors in a row.", retry_after=5.0))

    def _check(self, text: str) -> None:
        limits = self._service.limits
        # A character has at most 4 bytes, so most messages need not be encoded to be measured.
        size = len(text) if len(text) * 4 <= limits.max_message_size else len(text.encode())
        if size > limits.max_message_size:
            raise TooLarge(
                "This message is too large.", expected=f"at most {limits.max_message_size} bytes"
            )
        if self._pace is None:
            self._pace = Pace(limits)
        self._pace.count(self._connection.loop.time(), messages=1, size=size)


def parse_handshake(scope: Any, wires: Sequence[SocketWire]) -> Handshake:
    """What the handshake asks for; raises BadRequest when no wire can be agreed on."""
    query = dict(
        parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    )
    # The entry with the token names no wire.
    offered = [one for one in scope.get("subprotocols", ()) if not one.startswith(f.BEARER)]
    wire, subprotocol = choose_wire(wires, offered)
    return Handshake(wire, subprotocol, query)


async def _refuse(send: Send, handshake: Handshake, error: AgentwsError) -> None:
    """Accepts and closes at once: a browser hides from its page why a handshake was refused."""
    await _accept(send, handshake)
    context = EncoderContext(handshake.session or "", handshake.query, iso_time)
    encoder = handshake.wire.encoder(context)
    for payload in encoder.messages(close_notice(encoder, error)):
        await _send(send, {"type": "websocket.send", "text": payload.decode()})
    await _send(send, {"type": "websocket.close", "code": error.close_code, "reason": error.code})


async def _send(send: Send, message: MutableMapping[str, Any]) -> None:
    """Sends; raises _PeerLeft if the peer has disconnected."""
    try:
        await send(message)
    except GONE as error:
        raise _PeerLeft from error


async def _accept(send: Send, handshake: Handshake) -> None:
    await _send(send, {"type": "websocket.accept", "subprotocol": handshake.subprotocol})


async def _deny(scope: Any, send: Send, error: AgentwsError) -> None:
    """Refuses before accepting: with the error as an HTTP response if the server supports that."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await _send(send, {"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    body = f.encode_frame(f.error_frame(error))
    headers: Sequence[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await _send(
        send, {"type": "websocket.http.response.start", "status": error.status, "headers": headers}
    )
    await _send(send, {"type": "websocket.http.response.body", "body": body})
