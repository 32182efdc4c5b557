"""The gateway: what the host's code and the transports call, and its lifetime."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from ..agents.commands import Typed
from ..agents.factory import AgentFactory, Agents
from ..attachments.library import Files
from ..auth import (
    NOT_YOURS,
    Access,
    Action,
    Authenticate,
    Authorize,
    Identity,
    MaySubscribe,
    TopicAccess,
    check_callable,
    check_owner,
    identify,
    is_admin,
)
from ..backends.local import LocalBus
from ..backends.memory import MemoryStore
from ..bus import Bus
from ..errors import Draining, Forbidden, NotFound
from ..files import FileStore
from ..limits import Limits
from ..protocol import frames as f
from ..protocol.codec import check_sizes, entry
from ..protocol.jsonpatch import check_patch
from ..protocol.messages import Metadata
from ..protocol.text import plain
from ..protocol.topics import check_topic
from ..runs.commands import Invocation
from ..sessions.session import Session
from ..store import Appended, SessionInfo, Store
from .composition import Composition
from .consulted import accepting, check_new_overlap, invocation
from .lifetime import Lifetime
from .pushing import ServerPush
from .server_exit import drain_with_server
from .starting import Starting
from .validation import check_node, check_parts, checked_update

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp


class AgentGateway(ServerPush):
    """Puts agents behind WebSockets and HTTP. Made by :func:`agentws.mount_agent_gateway`.

    The host's code pushes through it: ``await gateway.session(id).push("...")``,
    ``await gateway.broadcast("...")``. It starts with the host's lifespan, or with the first
    request if the host has no lifespan. With ``None`` as ``agent_factory`` it only pushes: for
    a worker process that serves no clients and runs no agents.
    """

    def __init__(
        self,
        agent_factory: AgentFactory | None,
        *,
        store: Store | None = None,
        bus: Bus | None = None,
        files: FileStore | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        may_subscribe: MaySubscribe | None = None,
        admin_key: str | None = None,
        limits: Limits | None = None,
        node: str | None = None,
    ) -> None:
        check_node(node)
        check_parts(store=store, bus=bus, limits=limits, admin_key=admin_key)
        self.limits: Final = Limits() if limits is None else limits
        self.store: Final = MemoryStore() if store is None else store
        self.bus: Final = bus or self.store.default_bus() or LocalBus()
        self.files: Final = None if files is None else Files(files, self.limits, clock=time.time)
        self.agents: Final = Agents(agent_factory)
        check_callable("authenticate", authenticate)
        check_callable("authorize", authorize)
        check_callable("may_subscribe", may_subscribe)
        self._authenticate = authenticate
        self._access = Access(authorize)
        self.may_wait: Final = self._access.calls_host or not self.store.immediate
        """Whether a client's message may have to wait for the store or the host's ``authorize``."""
        self._topic_access = TopicAccess(may_subscribe)
        self._admin_key = admin_key
        self._named = None if node is None else plain(node)
        self._process = 0
        self._ignore_server: Callable[[], None] = lambda: None
        self._compose()
        self._lifetime: Final = Lifetime(
            begin=self._begin, drain=self._drain, close=self._close, abandon=self._abandon
        )
        self._starting: Final = Starting(lambda: self._lifetime.start(again=True))
        self.app: ASGIApp | None = None
        """The ASGI app that serves this gateway and its host; set by ``mount_agent_gateway``."""

    def _compose(self) -> None:
        """Makes the parts that belong to one event loop. A forked process becomes a new node."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self.instance = secrets.token_urlsafe(9)
            self.node = self._named or self.instance
        parts = self._parts = Composition(
            store=self.store,
            bus=self.bus,
            files=self.files,
            agents=self.agents,
            limits=self.limits,
            node=self.node,
            instance=self.instance,
        )
        self.tasks = parts.tasks
        self.connections = parts.connections
        self.feeds = parts.feeds
        self.presence = parts.presence
        self.sessions = parts.sessions
        self.runs = parts.runs
        self.inbox = parts.inbox

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The gateway is an ASGI app: it serves its own routes and passes the rest to the host."""
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
        return self._lifetime.state.started

    @property
    def draining(self) -> bool:
        """Whether new work is refused: from the beginning of a drain until the next start."""
        return self._lifetime.state.draining

    async def start(self, *, again: bool = False) -> None:
        """Opens the store and the bus, and recovers orphaned runs. A second start does nothing.

        A stopped gateway does not start again by a late request: it raises Draining, unless the
        caller is a new lifespan and passes ``again``. Raises WrongLoop if the gateway runs on
        another event loop. If that loop is closed, the gateway starts anew from the store.
        Raises Unavailable if the store or the bus can't be opened.
        """
        self._starting.check()
        await self._lifetime.start(again=again)

    async def start_with_host(self) -> None:
        """Starts with the host's lifespan. While the store is down it is tried again, with jitter.

        Meanwhile :meth:`start` raises Unavailable, and the node is not ready. Raises Misconfigured
        where a retry would not help.
        """
        await self._starting.begin()

    async def drain(self) -> None:
        """Refuses new work, tells clients to reconnect, and gives runs ``drain_timeout`` to end.

        A second call during a drain waits for the first one. Before a start it does nothing.
        """
        await self._lifetime.drain()

    async def stop(self) -> None:
        """Drains and closes everything. Stopping twice, or before a start, does nothing."""
        await self._starting.end()
        await self._lifetime.stop()

    async def _begin(self) -> None:
        if self._process != os.getpid():
            # Made before a fork. Processes with one name would hold one lease together, with one
            # fencing token, and ignore each other's broadcasts.
            self._compose()
        await self._parts.begin()
        self._ignore_server = drain_with_server(self.drain, self.tasks)

    async def _drain(self) -> None:
        await self._parts.drain()

    async def _close(self) -> None:
        self._ignore_server()
        await self._parts.close()

    async def _abandon(self) -> None:
        self._ignore_server()
        await self._parts.abandon()
        self._compose()

    # Authentication and authorization

    async def identify(self, connection: HTTPConnection) -> Identity | None:
        """The identity on the connection; raises Unauthenticated."""
        return await identify(self._authenticate, connection)

    @property
    def has_admin(self) -> bool:
        """Whether there is an admin key, and so are the admin routes."""
        return bool(self._admin_key)

    def is_admin(self, connection: HTTPConnection) -> bool:
        """Whether the client sent the admin key."""
        return is_admin(self._admin_key, connection)

    async def enter(
        self, id: str | None, *, identity: Identity | None, agent: str | None
    ) -> tuple[Session, bool]:
        """The session to follow, and whether it was created by this call.

        Raises Forbidden, Draining, BadRequest.
        """
        if self.draining:
            raise Draining(retry_after=1.0)
        owner = None if identity is None else identity.id
        name = self.agents.check(agent)
        try:
            session, created = await self.sessions.enter(id, owner=owner, agent=name)
        except NotFound as error:
            raise Forbidden(NOT_YOURS) from error
        await self._access.check(identity, session.info, "read")
        return session, created

    async def open(self, id: str, *, identity: Identity | None, action: Action = "read") -> Session:
        """An existing session. Raises Forbidden both for a foreign and for an unknown one."""
        try:
            session = await self.sessions.find(id)
        except NotFound as error:
            raise Forbidden(NOT_YOURS) from error
        await self._access.check(identity, session.info, action)
        return session

    async def check_write(self, session: Session, identity: Identity | None) -> None:
        """Raises Forbidden unless the identity may write. Call it before every client command."""
        await self._access.check(identity, session.info, "write")

    async def check_subscribe(self, identity: Identity | None, topic: str) -> None:
        """Raises BadRequest, NotSupported, and Forbidden unless the identity may follow it."""
        await self._topic_access.check(identity, check_topic(topic))

    # Client commands

    def send(
        self, session: Session, frame: f.Send, *, identity: Identity | None
    ) -> Awaitable[Appended]:
        """Accepts a message for the session's agent; see :meth:`agentws.runs.inbox.Inbox.send`."""
        if self._lifetime.state.draining:
            raise Draining(retry_after=1.0)
        if self._access.calls_host:
            return self._send_if_allowed(session, frame, identity)
        check_owner(identity, session.info)
        return self._send_allowed(session, frame, identity)

    async def _send_if_allowed(
        self, session: Session, frame: f.Send, identity: Identity | None
    ) -> Appended:
        await self._access.check(identity, session.info, "write")
        return await self._send_allowed(session, frame, identity)

    def _send_allowed(
        self, session: Session, frame: f.Send, identity: Identity | None
    ) -> Awaitable[Appended]:
        named = frame.agent is not None
        agent = self.agents.check(frame.agent) if named else self.agents.mentioned(frame.content)
        if frame.overlap not in (None, "queue"):
            return self._send_overlapping(session, frame, identity, agent)
        return self.inbox.send(session, frame, agent=agent, identity=identity)

    async def _send_overlapping(
        self, session: Session, frame: f.Send, identity: Identity | None, agent: str | None
    ) -> Appended:
        await check_new_overlap(
            frame,
            session,
            identity,
            agents=self.agents,
            agent=agent,
            within=self.limits.command_timeout,
        )
        return await self.inbox.send(session, frame, agent=agent, identity=identity)

    async def command(
        self, session: Session, typed: Typed, *, identity: Identity | None
    ) -> Invocation:
        """Prepares a slash command. Raises UnknownCommand, Forbidden, TimedOut, AgentError."""
        await self.check_write(session, identity)
        return await invocation(
            typed,
            session,
            identity,
            agents=self.agents,
            inbox=self.inbox,
            store=self.store,
            within=self.limits.command_timeout,
        )

    async def change_state(
        self, session: Session, frame: f.State, *, identity: Identity | None
    ) -> Appended:
        """Changes the shared state, if the session's agent accepts it.

        Raises BadRequest, NotSupported, TimedOut, AgentError, and as
        :meth:`agentws.runs.inbox.Inbox.change_state`.
        """
        check_patch(frame.patch)
        within = self.limits.command_timeout
        accepts = await accepting(frame, session, identity, agents=self.agents, within=within)
        if isinstance(accepts, Appended):
            return accepts
        return await self.inbox.change_state(session, frame, accepts=accepts, identity=identity)

    async def owned(
        self,
        identity: Identity | None,
        *,
        query: str | None = None,
        before: tuple[float, str] | None,
        limit: int,
    ) -> Sequence[SessionInfo]:
        """The identity's own sessions that match ``query``, if there is one; last updated first.

        None for an anonymous caller. Raises NotSupported for a query if the store can't search.
        """
        if identity is None:
            return ()
        if query is not None:
            return await self.store.search(identity.id, query, before=before, limit=limit)
        return await self.store.sessions(owner=identity.id, before=before, limit=limit)

    async def change_session(
        self,
        session: Session,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        retention: float | UnsetType | None = UNSET,
    ) -> None:
        """Changes what is given. Raises EventTooLarge, and TypeError for an invalid value."""
        update = checked_update(title, metadata, retention)
        check_sizes([entry(update)], session.max_event_size)
        await self.store.update(
            session.id, title=update.title, metadata=update.metadata, retention=update.retention
        )
        await session.append([update])

    async def delete(self, session: Session) -> None:
        """Deletes the session and its log; its id can't be used again."""
        await self._parts.delete_session(session.id)

    async def _started(self) -> Composition:
        await self.start()
        return self._parts

    def stats(self) -> dict[str, Any]:
        """Counts of this node, without ids of sessions or users."""
        return {**self._parts.counts(), "draining": self.draining}

    @property
    def loop_lag(self) -> float:
        """The longest delay of the event loop in the last seconds, in seconds."""
        return self._parts.loop_lag.seconds

    async def cluster_stats(self) -> dict[str, int] | None:
        """The same counts summed over all live nodes, and how many ``nodes`` there are.

        A node that was killed is counted for 15 seconds at most. A session that is followed on two
        nodes counts twice. ``None`` if the store does not know its nodes, or does not answer.
        """
        await self.start()
        return await self._parts.heartbeats.cluster()
