"""What the host's own code says to clients: in a session, to a topic, to everybody."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..errors import NotFound
from ..protocol import events as e
from ..protocol.messages import Metadata
from ..protocol.text import plain
from ..protocol.topics import is_topic_log
from ..sessions.session import Session
from ..transports.service import Reach
from .composition import Composition
from .handle import SessionHandle
from .topics import TopicHandle
from .validation import checked_notice, is_storable


class ServerPush(ABC):
    """The part of a gateway that speaks first. A worker process that mounts nothing has it too."""

    @abstractmethod
    async def _started(self) -> Composition:
        """The parts of the gateway, after a start if needed."""

    @abstractmethod
    async def change_session(
        self,
        session: Session,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        retention: float | None = None,
    ) -> None:
        """Changes what is given."""

    def session(self, id: str) -> SessionHandle:
        """A handle that pushes to the session of that id. Raises TypeError for another type."""
        if not isinstance(id, str):
            raise TypeError(f"the id of the session is {id!r:.100}; expected a str")
        return SessionHandle(plain(id), self._find_session, self.change_session)

    async def _find_session(self, id: str) -> Session:
        parts = await self._started()
        if is_topic_log(id) or not is_storable(id):
            raise NotFound("There is no such session.")
        return await parts.sessions.find(id)

    def topic(self, name: str) -> TopicHandle:
        """A handle that writes to the topic of that name. Raises BadRequest for an invalid one."""
        return TopicHandle(name, self._started)

    async def broadcast(
        self, content: str, *, level: e.Level = "info", metadata: Metadata | None = None
    ) -> int:
        """Shows a notice to every connected client of every node; it is not stored.

        Returns how many connections were reached, on this node and on those that answered within a
        second. Raises EventTooLarge, and TypeError for a notice that can't be sent.
        """
        return (await self.announce(content, level=level, metadata=metadata)).reached

    async def announce(self, content: str, *, level: e.Level, metadata: Metadata | None) -> Reach:
        """As :meth:`broadcast`; the result says on how many nodes."""
        notice = checked_notice(content, level, metadata)
        return await (await self._started()).broadcasts.send(notice)
