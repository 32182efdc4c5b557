"""The gateway: everything above, put together, with one lifespan."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..agents.agent import CommandContext
from ..agents.commands import Typed
from ..agents.factory import AgentFactory, Agents
from ..auth import (
    Access,
    Action,
    Authenticate,
    Authorize,
    Identity,
    check_callable,
    identify,
    is_admin,
)
from ..backends.local import LocalBus
from ..backends.memory import MemoryStore
from ..bus import Bus
from ..errors import AgentwsError, Draining, EventTooLarge, Forbidden, NotFound
from ..limits import Limits
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol.codec import check_sizes, entry
from ..protocol.messages import Message, Metadata
from ..runs.commands import Asked, commands_of
from ..runs.engine import Runs
from ..runs.inbox import Inbox
from ..sessions.compaction import Compactions
from ..sessions.registry import Sessions
from ..sessions.session import Session
from ..store import Appended, SessionInfo, Store
from ..tasks.tasks import Tasks
from ..transports.connections import Connections
from .exiting import server_exiting, when
from .given import given_notice, given_update
from .housekeeping import Housekeeping
from .lifetime import Lifetime

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp

logger: Final = logging.getLogger("agentws")

BROADCAST: Final = "broadcast"
"""The bus channel of notices to every connected client."""
SETTLING: Final = 6.0
"""Seconds, at the end of a drain, for the store to take the ends of runs and the leases back."""
ABANDONING: Final = 5.0
"""Seconds for a store or a bus to close when the event loop that it was opened on is closed."""


class AgentGateway:
    """Puts agents behind WebSockets and HTTP. Made by :func:`agentws.mount_agent_gateway`.

    The server speaks through it: ``await gateway.session(id).push("...")``,
    ``await gateway.broadcast("...")``. It starts with the host's lifespan, or with the first
    request where the host has none. One made with ``None`` for agents only speaks: a worker
    process pushes through it, and it takes up no session's work.
    """

    def __init__(
        self,
        agent_factory: AgentFactory | None,
        *,
        store: Store | None = None,
        bus: Bus | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        admin_key: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits: Final = limits or Limits()
        self.store: Final = store or MemoryStore()
        self.bus: Final = bus or self.store.default_bus() or LocalBus()
        self.agents: Final = Agents(agent_factory)
        self.node: Final = secrets.token_urlsafe(9)
        check_callable("authenticate", authenticate)
        check_callable("authorize", authorize)
        self._authenticate = authenticate
        self._access = Access(authorize)
        self._admin_key = admin_key
        self._unsubscribe: Callable[[], None] = lambda: None
        self._compose()
        self._lifetime: Final = Lifetime(
            begin=self._begin, drain=self._drain, close=self._close, abandon=self._abandon
        )
        self.app: ASGIApp | None = None
        """What serves this gateway and its host; set by ``mount_agent_gateway``."""

    def _compose(self) -> None:
        """Puts together what belongs to one life: its tasks, and all that waits for them."""
        self.tasks = Tasks()
        self.connections = Connections(self.limits, self.tasks)
        self.sessions = Sessions(
            store=self.store, bus=self.bus, limits=self.limits, clock=time.time
        )
        self._compactions = Compactions(self.store, window=self.limits.replay_window)
        self.runs = Runs(
            store=self.store,
            agents=self.agents,
            limits=self.limits,
            node=self.node,
            open_session=self.sessions.find,
            finished=self._compactions.run_ended,
        )
        self.inbox = Inbox(runs=self.runs, limits=self.limits)
        self.sessions.on_open = self._session_opened
        # Bound once: every session in memory holds it.
        self._schedule = self.runs.schedule
        self._housekeeping = Housekeeping(
            store=self.store,
            sessions=self.sessions,
            runs=self.runs,
            compactions=self._compactions,
            limits=self.limits,
            delete=self._delete,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The gateway is an ASGI app: it serves its routes, and everything else is the host's."""
        if self.app is None:
            raise RuntimeError(
                "this gateway is not mounted; expected mount_agent_gateway(app, ...)"
            )
        await self.app(scope, receive, send)

    def __repr__(self) -> str:
        return f"<AgentGateway agents={self.agents.names} store={self.store!r}>"

    # Lifespan

    @property
    def started(self) -> bool:
        """Whether the store and the bus are open."""
        return self._lifetime.started

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken: from the beginning of a drain on, until a new start."""
        return self._lifetime.draining

    async def start(self, *, again: bool = False) -> None:
        """Opens the store and the bus and takes up what was left open. Starting twice is once.

        One that was stopped stays so, whoever still comes: Draining is raised then. A lifespan that
        begins anew says ``again``. Raises WrongLoop where it runs on another event loop that is not
        closed; after one that is, it starts anew with what the store has.
        """
        await self._lifetime.start(again=again)

    async def drain(self) -> None:
        """Takes no more connections, tells clients to come back, and gives runs their time.

        Whoever asks for it while it goes on waits for the same one. Before a start there is
        nothing to drain.
        """
        await self._lifetime.drain()

    async def stop(self) -> None:
        """Drains and closes everything. Stopping twice, or before a start, does nothing."""
        await self._lifetime.stop()

    async def _begin(self) -> None:
        try:
            await self.store.open()
            await self.bus.open()
        except BaseException:
            await self.store.close()
            raise
        self.runs.begin()
        self._unsubscribe = self.bus.subscribe(BROADCAST, self._broadcast_came)
        self._housekeeping.begin(self.tasks)
        exiting = server_exiting()
        if exiting is not None:
            self.tasks.spawn(when(exiting, self.drain), name="watching the server")

    async def _drain(self) -> None:
        # Clients read the rest of an answer where they come back to: they need not wait for it.
        goodbye = self.tasks.spawn(self.connections.say_goodbye(), name="goodbye")
        limits = self.limits
        try:
            async with asyncio.timeout(limits.drain_timeout + limits.cancel_grace + SETTLING):
                await self.runs.drain(grace=limits.drain_timeout)
        except (AgentwsError, TimeoutError) as error:
            # What is left open is taken up by whoever gets its lease.
            logger.warning("draining: %s", error or "the store takes too long")
        await goodbye
        # Some were on their way in when the others were told.
        await self.connections.say_goodbye()

    async def _close(self) -> None:
        """Closes everything, whichever part of it fails."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.store.close)
            closing.push_async_callback(self.bus.close)
            closing.callback(self._unsubscribe)
            closing.push_async_callback(self.sessions.aclose)
            closing.push_async_callback(self.runs.aclose)
            await self.tasks.aclose(grace=1.0)

    async def _abandon(self) -> None:
        """Lets go of what a loop that is closed has left: nothing of it will ever move again."""
        self._unsubscribe()
        self.sessions.abandon()
        for port in (self.store, self.bus):
            try:
                async with asyncio.timeout(ABANDONING):
                    await port.close()
            except Exception as error:
                logger.info("%r could not be closed after its event loop: %r", port, error)
        self._compose()

    def _session_opened(self, session: Session) -> None:
        session.on_outline_change = self._schedule
        self._compactions.loaded(session)
        self.runs.schedule(session)

    async def _delete(self, id: str) -> None:
        await self.store.delete(id)
        self.runs.forget(id)
        self.sessions.evict_deleted(id)

    @property
    def may_wait(self) -> bool:
        """Whether a client's message may wait for the store, or for a callable of the host's."""
        return self._access.asks or not self.store.immediate

    # Who, and what they may touch

    async def identify(self, connection: HTTPConnection) -> Identity | None:
        """Who is on the connection; raises Unauthenticated."""
        return await identify(self._authenticate, connection)

    @property
    def has_admin(self) -> bool:
        return bool(self._admin_key)

    def is_admin(self, connection: HTTPConnection) -> bool:
        return is_admin(self._admin_key, connection)

    async def enter(
        self, id: str | None, *, identity: Identity | None, agent: str | None
    ) -> tuple[Session, bool]:
        """The session to follow, made if it is new; raises Forbidden, Draining, BadRequest."""
        if self.draining:
            raise Draining(retry_after=1.0)
        owner = None if identity is None else identity.id
        name = self.agents.check(agent)
        try:
            session, made = await self.sessions.enter(id, owner=owner, agent=name)
        except NotFound as error:
            raise Forbidden("This session is not yours.") from error
        await self._access.check(identity, session.info, "read")
        return session, made

    async def open(self, id: str, *, identity: Identity | None, action: Action = "read") -> Session:
        """An existing session; raises Forbidden for a foreign and for an unknown one alike."""
        try:
            session = await self.sessions.find(id)
        except NotFound as error:
            raise Forbidden("This session is not yours.") from error
        await self._access.check(identity, session.info, action)
        return session

    async def check_write(self, session: Session, identity: Identity | None) -> None:
        """Raises Forbidden unless the identity may act in the session; asked on every action."""
        await self._access.check(identity, session.info, "write")

    # What clients ask

    async def send(self, session: Session, frame: f.Send, *, identity: Identity | None) -> Appended:
        """Accepts a message for the session's agent; see :meth:`agentws.runs.inbox.Inbox.send`."""
        if self.draining:
            raise Draining(retry_after=1.0)
        await self._access.check(identity, session.info, "write")
        agent = None if frame.agent is None else self.agents.check(frame.agent)
        return await self.inbox.send(session, frame, agent=agent, identity=identity)

    async def command(self, session: Session, typed: Typed, *, identity: Identity | None) -> Asked:
        """A command, to be answered. Raises UnknownCommand, Forbidden, TimedOut, AgentError."""
        await self.check_write(session, identity)
        making = self.agents.make(session.info.agent, session.info)
        commands = await commands_of(making, within=self.limits.command_timeout)

        async def history(limit: int | None) -> list[Message]:
            if limit is None:
                return await session.messages()
            return (await session.page_before(session.head.seq + 1, messages=limit)).messages

        return Asked(
            typed,
            commands=commands,
            context=CommandContext(session=session.info, identity=identity, history=history),
            session=session,
            inbox=self.inbox,
            timeout=self.limits.command_timeout,
        )

    async def owned(
        self, identity: Identity | None, *, before: tuple[float, str] | None, limit: int
    ) -> Sequence[SessionInfo]:
        """The identity's own sessions, last updated first. Anonymous ones can't be listed."""
        if identity is None:
            return ()
        return await self.store.sessions(owner=identity.id, before=before, limit=limit)

    async def rename(
        self, session: Session, *, title: str | None, metadata: Metadata | None
    ) -> None:
        """Changes what is given, for everybody. Raises EventTooLarge, TypeError."""
        update = given_update(title, metadata)
        check_sizes([entry(update)], session.max_event_size)
        session.info = await self.store.update(
            session.id, title=update.title, metadata=update.metadata
        )
        await session.append([update])

    async def delete(self, session: Session) -> None:
        """Deletes the session and its log; its id is used up."""
        await self._delete(session.id)

    # What the server says

    def session(self, id: str) -> SessionHandle:
        """The session of that id, to speak to it from the server."""
        return SessionHandle(self, id)

    async def broadcast(
        self, content: str, *, level: e.Level = "info", metadata: Metadata | None = None
    ) -> int:
        """Shows a notice to every connected client, on every node; who is away misses it.

        Returns how many connections of this node were reached. Raises EventTooLarge, and TypeError
        for a notice that can't be sent.
        """
        given = given_notice(content, level, metadata)
        await self.start()
        notice = f.Notice(content=given.content, level=given.level, metadata=given.metadata)
        data = f.encode_frame(notice)
        if len(data) > self.limits.max_event_size:
            raise EventTooLarge.of("notice", len(data), self.limits.max_event_size)
        # Said here first: those connected to this node are reached whatever becomes of the bus.
        announced = self.connections.announce(notice)
        self.bus.publish(BROADCAST, b"%b %b" % (self.node.encode(), data))
        return await asyncio.shield(announced)

    def _broadcast_came(self, channel: str, payload: bytes) -> None:
        node, _, data = payload.partition(b" ")
        if node == self.node.encode():
            return
        try:
            self.connections.announce(msgspec.json.decode(data, type=f.Notice))
        except msgspec.MsgspecError as error:
            logger.warning("a broadcast could not be read: %s", error)

    def stats(self) -> dict[str, Any]:
        """Counts of this node, no ids."""
        return {
            "active_sessions": self.sessions.followed,
            "total_connections": len(self.connections),
            "sessions_in_memory": len(self.sessions),
            "active_runs": self.runs.running,
            "zombie_agents": self.runs.zombies,
            "draining": self.draining,
        }


class SessionHandle:
    """A session as the server speaks to it, from any node."""

    def __init__(self, gateway: AgentGateway, id: str) -> None:
        self._gateway = gateway
        self.id = id

    def __repr__(self) -> str:
        return f"<SessionHandle {self.id}>"

    async def push(
        self, content: str, *, level: e.Level = "info", metadata: Metadata | None = None
    ) -> str:
        """Posts a durable notice: who is away sees it on return. Returns its position.

        Raises NotFound when there is no such session, EventTooLarge, and TypeError for a notice
        that can't be kept.
        """
        notice = given_notice(content, level, metadata)
        await self._gateway.start()
        session = await self._gateway.sessions.find(self.id)
        return str((await session.append([notice])).position)

    async def messages(self) -> list[Message]:
        """The conversation so far. Raises NotFound."""
        await self._gateway.start()
        return await (await self._gateway.sessions.find(self.id)).messages()
