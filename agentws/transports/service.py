"""What the transports need of a gateway, as protocols.

``AgentGateway`` satisfies them structurally; mypy checks it when ``mount`` passes one in. A test
may pass a fake.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import UNSET, UnsetType
from starlette.requests import HTTPConnection

from ..agents.commands import Typed
from ..agents.factory import Agents
from ..attachments.library import Files
from ..auth import Action, Identity
from ..limits import Limits
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol.messages import Metadata
from ..runs.commands import Invocation
from ..runs.engine import Runs
from ..runs.inbox import Inbox
from ..sessions.session import Session
from ..store import Appended, SessionInfo, Store
from ..tasks.tasks import Tasks
from .connection import Connection
from .connections import Connections
from .feeds import Feeds


class CredentialService(Protocol):
    """Authenticates connections."""

    @property
    def limits(self) -> Limits: ...

    @property
    def has_admin(self) -> bool: ...

    def is_admin(self, connection: HTTPConnection) -> bool: ...

    async def identify(self, connection: HTTPConnection) -> Identity | None: ...


class HttpService(Protocol):
    """What the checks of every HTTP request need."""

    @property
    def limits(self) -> Limits: ...

    @property
    def has_admin(self) -> bool: ...

    async def start(self) -> None: ...


class PresenceService(Protocol):
    """Knows who is connected to a session."""

    def watch(self, connection: Connection) -> None: ...

    def unwatch(self, connection: Connection) -> None: ...

    async def current(self, session: Session) -> f.Presence: ...


class SessionService(Protocol):
    """Finds and creates sessions, and accepts the commands of clients."""

    @property
    def limits(self) -> Limits: ...

    @property
    def store(self) -> Store: ...

    @property
    def files(self) -> Files | None: ...

    @property
    def tasks(self) -> Tasks: ...

    @property
    def connections(self) -> Connections: ...

    @property
    def feeds(self) -> Feeds: ...

    @property
    def presence(self) -> PresenceService: ...

    @property
    def inbox(self) -> Inbox: ...

    @property
    def agents(self) -> Agents: ...

    @property
    def draining(self) -> bool: ...

    @property
    def may_wait(self) -> bool: ...

    async def start(self) -> None: ...

    async def enter(
        self, id: str | None, *, identity: Identity | None, agent: str | None
    ) -> tuple[Session, bool]: ...

    async def open(
        self, id: str, *, identity: Identity | None, action: Action = "read"
    ) -> Session: ...

    async def check_write(self, session: Session, identity: Identity | None) -> None: ...

    async def check_subscribe(self, identity: Identity | None, topic: str) -> None: ...

    def send(
        self, session: Session, frame: f.Send, *, identity: Identity | None
    ) -> Awaitable[Appended]: ...

    async def command(
        self, session: Session, typed: Typed, *, identity: Identity | None
    ) -> Invocation: ...

    async def change_state(
        self, session: Session, frame: f.State, *, identity: Identity | None
    ) -> Appended: ...

    async def owned(
        self,
        identity: Identity | None,
        *,
        query: str | None = None,
        before: tuple[float, str] | None,
        limit: int,
    ) -> Sequence[SessionInfo]: ...

    async def change_session(
        self,
        session: Session,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        retention: float | UnsetType | None = UNSET,
    ) -> None: ...

    async def delete(self, session: Session) -> None: ...


class Pushing(Protocol):
    async def push(
        self, content: str, *, level: e.Level = "info", metadata: Metadata | None = None
    ) -> str: ...


class Reach(NamedTuple):
    """What a broadcast has reached: connections, on how many nodes; and live nodes that did not
    answer in time, whose connections are not counted."""

    reached: int
    nodes: int = 1
    missing: int = 0


class Posting(Protocol):
    """Writes to one topic."""

    async def append(
        self, content: str, *, level: e.Level, metadata: Metadata | None, key: str | None
    ) -> Appended: ...

    async def announce(
        self, content: str, *, level: e.Level, metadata: Metadata | None
    ) -> Reach: ...


class NodeService(CredentialService, HttpService, SessionService, Protocol):
    """The whole interface: it also has what the routes of the node itself need."""

    @property
    def runs(self) -> Runs: ...

    async def drain(self) -> None: ...

    def session(self, id: str) -> Pushing: ...

    def topic(self, name: str) -> Posting: ...

    async def announce(
        self, content: str, *, level: e.Level, metadata: Metadata | None
    ) -> Reach: ...

    def stats(self) -> dict[str, Any]: ...

    @property
    def loop_lag(self) -> float: ...

    async def cluster_stats(self) -> dict[str, int] | None: ...
