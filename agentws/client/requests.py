"""The requests of a chat that are one frame and its reply."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from ..protocol.events import JsonPatch
from ..protocol.frames import (
    Answer,
    AnyClientFrame,
    Command,
    EditQueued,
    Notice,
    Presence,
    Promote,
    State,
    Switch,
    ToolResult,
    Unsubscribe,
    WatchPresence,
    Withdraw,
)
from ..protocol.messages import Content, Metadata
from ..protocol.text import plain
from ..protocol.topics import check_topic
from .outbox import Reply
from .topics import Subscription, Topics


class Requests(ABC):
    """Each is sent again after a reconnect, and raises the server's refusal."""

    @abstractmethod
    async def _request(self, frame: AnyClientFrame, *, repeatable: bool = True) -> Reply:
        """Sends the frame, and returns the reply to it."""

    @abstractmethod
    def _check_open(self) -> None:
        """Raises ChatClosed outside of ``async with``, and the error that has ended the chat."""

    @property
    @abstractmethod
    def _topics(self) -> Topics:
        """The topics that the chat follows."""

    @abstractmethod
    def _watch_presence(self, watch: bool) -> None:
        """Remembers it for later connections. Raises ChatClosed outside of ``async with``."""

    async def presence(self, *, watch: bool | None = None) -> Presence:
        """Who is in the session now: ``connections``, and ``members`` with an ``id``.

        With ``watch``, every change from now on is a ``Presence`` in :meth:`Chat.watch`, also after
        a reconnect, until ``watch=False``.
        """
        if watch is not None:
            self._watch_presence(watch)
        reply = await self._request(WatchPresence(id=new_id("req"), watch=watch))
        assert isinstance(reply, Presence)
        return reply

    async def subscribe(self, topic: str, *, after: str | None = None) -> Subscription:
        """Follows a topic, from the position ``after`` on, or from its oldest post that is kept.

        Iterate over the result. Returns when the server has answered, and subscribes again after
        every reconnect. Raises Forbidden, NotSupported, BadRequest for the name, TooMany, and
        Conflict if this chat follows the topic already.
        """
        subscription = Subscription(plain(check_topic(topic)), after, self._unsubscribe)
        self._check_open()
        self._topics.follow(subscription)
        try:
            await asyncio.shield(subscription.started)
        except asyncio.CancelledError:
            self._topics.abandon(subscription)
            raise
        return subscription

    async def _unsubscribe(self, subscription: Subscription) -> None:
        if self._topics.forget(subscription):
            await self._request(Unsubscribe(id=new_id("req"), topic=subscription.topic))

    async def switch(self, branch: str) -> None:
        """Goes back to another branch: one of ``metadata["agentws"]["branches"]["ids"]``.

        The conversation is then loaded again. Raises NotFound for a branch that is not at a message
        in view, and RunActive during a run.
        """
        await self._request(Switch(id=new_id("req"), branch=branch))

    async def withdraw(self, message: str) -> None:
        """Withdraws a message that waits in the queue."""
        await self._request(Withdraw(id=new_id("req"), message=message))

    async def edit_queued(
        self,
        message: str,
        content: Content,
        *,
        attachments: Sequence[str] | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Replaces a message of one's own that waits in the queue; it keeps its place.

        What is left out stays as it is. Raises NotFound when a run has begun with the message.
        """
        given = None if attachments is None else list(attachments)
        id = new_id("req")
        await self._request(
            EditQueued(
                id=id, message=message, content=content, attachments=given, metadata=metadata
            )
        )

    async def promote(self, message: str) -> None:
        """Moves a queued message to the front. Raises NotFound when a run has begun with it."""
        await self._request(Promote(id=new_id("req"), message=message))

    async def answer(
        self,
        interrupt: str,
        payload: Any = None,
        *,
        status: Literal["resolved", "cancelled"] = "resolved",
    ) -> None:
        """Answers a question (an interrupt) that a run ended with.

        Raises AlreadyAnswered if it has an answer already.
        """
        await self._request(
            Answer(id=new_id("req"), interrupt=interrupt, status=status, payload=payload)
        )

    async def tool_result(
        self, call: str, content: Content | None = None, *, error: str | None = None
    ) -> None:
        """Gives the result of a client's tool, or the error; :meth:`Chat.tool` does it for you.

        Raises AlreadyAnswered if another client has done so.
        """
        await self._request(
            ToolResult(id=new_id("req"), tool_call_id=call, content=content, error=error)
        )

    async def command(self, name: str, args: str | None = None) -> str:
        """Runs a command and returns its output. ``name`` needs no slash.

        Raises Disconnected when the connection was lost before the answer: it may have been run.
        """
        frame = Command(id=new_id("req"), name=name.removeprefix("/"), args=args)
        reply = await self._request(frame)
        assert isinstance(reply, Notice)
        return reply.content

    async def switch_agent(self, name: str) -> None:
        """Gives the session another agent, for its later messages: one of :attr:`Chat.agents`.

        Raises BadRequest for an unknown one, and Disconnected as :meth:`command` does.
        """
        await self.command("agent", name)

    async def patch_state(self, patch: JsonPatch) -> None:
        """Changes the shared state by a JSON Patch (RFC 6902), if the agent accepts it.

        It is sent again after a reconnect, and made once. Raises StateConflict when it does not
        apply to the state as it is by then.
        """
        await self._request(State(id=new_id("req"), patch=patch))

    async def set_state(self, value: Any) -> None:
        """Replaces the shared state, if the agent accepts it."""
        await self.patch_state([{"op": "add", "path": "", "value": value}])


def new_id(kind: str) -> str:
    """A new id of a message or a request."""
    return f"{kind}_{uuid.uuid4().hex}"
