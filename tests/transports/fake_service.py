"""What a transport needs of a gateway, without a gateway: no agent runs, commands are recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import UNSET, UnsetType
from starlette.requests import HTTPConnection

from agentws.agents.commands import Typed
from agentws.agents.factory import Agents
from agentws.auth import Action, Identity
from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.errors import UnknownCommand
from agentws.gateway.presence import Presence
from agentws.limits import Limits
from agentws.protocol import events as e
from agentws.protocol import frames as f
from agentws.protocol.messages import Metadata, UserMessage
from agentws.runs.commands import Invocation
from agentws.runs.inbox import Inbox
from agentws.sessions.registry import Sessions
from agentws.sessions.session import Session
from agentws.sessions.topics import Topics
from agentws.store import Appended, SessionInfo
from agentws.tasks.tasks import Tasks
from agentws.testing.agents import Script
from agentws.transports.connections import Connections
from agentws.transports.feeds import Feeds


class FakeInbox(Inbox):
    """Records the commands. Needs no runs, so the base is not initialized."""

    def __init__(self) -> None:
        self.taken: list[f.ClientFrame] = []

    async def cancel(
        self, session: Session, frame: f.Cancel, *, by: str | None = None
    ) -> Appended | None:
        self.taken.append(frame)
        return None

    async def withdraw(self, session: Session, frame: f.Withdraw) -> Appended:
        self.taken.append(frame)
        return await session.append([e.MessageWithdrawn(frame.message, "withdrawn")])

    async def answer(
        self, session: Session, frame: f.Answer, *, identity: Identity | None
    ) -> Appended:
        self.taken.append(frame)
        return await session.append([e.InterruptAnswered(frame.interrupt, frame.status)])


class FakeService:
    """Sessions in memory; a message is appended, and nothing answers it."""

    has_admin = False
    draining = False
    may_wait = False
    files = None

    def __init__(self) -> None:
        self.limits = Limits()
        self.store = MemoryStore()
        self.tasks = Tasks()
        self.connections = Connections(self.limits, self.tasks)
        self.inbox = FakeInbox()
        self.agents = Agents({"fake": Script("fine")})
        self.sessions = Sessions(
            store=self.store, bus=LocalBus(), limits=self.limits, clock=time.time
        )
        topics = Topics(store=self.store, bus=LocalBus(), limits=self.limits, clock=time.time)
        self.feeds = Feeds(topics, self.tasks)
        self.presence = Presence(sessions=self.sessions, connections=self.connections, node="here")

    async def start(self) -> None:
        pass

    async def identify(self, connection: HTTPConnection) -> Identity | None:
        return None

    def is_admin(self, connection: HTTPConnection) -> bool:
        return False

    async def enter(
        self, id: str | None, *, identity: Identity | None, agent: str | None
    ) -> tuple[Session, bool]:
        return await self.sessions.enter(id, owner=None, agent="fake")

    async def open(self, id: str, *, identity: Identity | None, action: Action = "read") -> Session:
        return await self.sessions.find(id)

    async def check_write(self, session: Session, identity: Identity | None) -> None:
        pass

    async def check_subscribe(self, identity: Identity | None, topic: str) -> None:
        pass

    async def send(self, session: Session, frame: f.Send, *, identity: Identity | None) -> Appended:
        message = UserMessage(frame.id, frame.content)
        return await session.append([e.MessageAccepted(message, "queue")])

    async def change_state(
        self, session: Session, frame: f.State, *, identity: Identity | None
    ) -> Appended:
        return await session.append([e.StateChanged(frame.patch)])

    async def command(
        self, session: Session, typed: Typed, *, identity: Identity | None
    ) -> Invocation:
        raise UnknownCommand()

    async def owned(
        self,
        identity: Identity | None,
        *,
        query: str | None = None,
        before: tuple[float, str] | None,
        limit: int,
    ) -> Sequence[SessionInfo]:
        return ()

    async def change_session(
        self,
        session: Session,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        retention: float | UnsetType | None = UNSET,
    ) -> None:
        pass

    async def delete(self, session: Session) -> None:
        pass
