"""The tools of a client: functions that an agent calls by ``ctx.client_tool``."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from ..errors import AgentwsError, BadRequest, TooLarge
from ..protocol.fold import Fold
from ..protocol.frames import sendable
from ..protocol.messages import CLIENT_TOOL, AssistantMessage, Interrupt, told_in
from ..protocol.strict import check_finite
from .updates import Update

logger: Final = logging.getLogger("agentws.client")

Handler = Callable[[dict[str, Any]], Any]
"""Is given the arguments; returns text, or anything that is sent as JSON. Sync or async."""
SendResult = Callable[[str, "str | None", "str | None"], Awaitable[None]]
"""Sends the result of a call: its id, and the content or an error."""


class ClientTools:
    """The handlers of one chat, and the calls that they work on."""

    def __init__(self, fold: Callable[[], Fold], send: SendResult) -> None:
        self._fold = fold
        self._send = send
        self._handlers: dict[str, Handler] = {}
        self._working: dict[str, asyncio.Task[None]] = {}

    def add(self, name: str, handler: Handler) -> None:
        self._handlers[name] = handler
        self.start_open_calls()

    async def follow(self, updates: AsyncIterator[Update]) -> None:
        """Makes every call that is or becomes open, until the chat ends."""
        try:
            self.start_open_calls()
            async for _ in updates:
                self.start_open_calls()
        except AgentwsError:
            pass  # the chat has failed, and says so where it is used
        finally:
            for task in self._working.values():
                task.cancel()

    def start_open_calls(self) -> None:
        """Starts the calls that are open and have a handler here, each once."""
        open: Mapping[str, Interrupt] = self._fold().outline.interrupts
        for id in self._working.keys() - open.keys():
            self._working.pop(id).cancel()
        for id, interrupt in open.items():
            handler = self._handlers.get(str(told_in(interrupt.metadata).get("tool")))
            if interrupt.reason == CLIENT_TOOL and handler is not None and id not in self._working:
                working = self._call(id, handler, self._arguments(id))
                self._working[id] = asyncio.create_task(working, name=f"tool {id}")

    def _arguments(self, call: str) -> str:
        for message in self._fold().messages:
            for one in (isinstance(message, AssistantMessage) and message.tool_calls) or ():
                if one.id == call:
                    return one.function.arguments
        return ""

    async def _call(self, id: str, handler: Handler, arguments: str) -> None:
        try:
            result = handler(msgspec.json.decode(arguments or "{}"))
            if inspect.isawaitable(result):
                result = await result
            await self._answer(id, result if isinstance(result, str) else _json(result), None)
        except (Exception, asyncio.CancelledError) as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            logger.exception("the handler of a tool failed")
            await self._answer(id, None, sendable(str(error) or type(error).__name__))

    async def _answer(self, id: str, content: str | None, error: str | None) -> None:
        """Raises BadRequest and TooLarge for a result that can't be sent."""
        try:
            await self._send(id, content, error)
        except (BadRequest, TooLarge):
            if error is None:
                raise
        except AgentwsError as refused:
            logger.info("the result of %s was not taken: %s", id, refused)


def _json(result: Any) -> str:
    """Raises TypeError and ValueError for what JSON can't carry."""
    check_finite(msgspec.to_builtins(result))
    return msgspec.json.encode(result).decode()
