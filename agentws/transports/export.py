"""The export of a session: its whole conversation, streamed as a file, in JSON or Markdown.

The pages of the conversation are found backwards, which needs one number for each, and written
forwards: memory holds one page, however long the conversation is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from ..errors import BadRequest
from ..protocol import bodies as b
from ..protocol.notices import notices_for
from ..protocol.position import Position
from ..sessions.pages import Page
from ..sessions.session import Session
from ..store import SessionInfo
from .http import JSON, Call, Operation
from .rates import EXPENSIVE
from .service import SessionService
from .session_routes import open_session, view
from .times import iso_time
from .transcript import blocks, heading

MESSAGES: Final = 200
SIZE: Final = 1024 * 1024
"""About the bytes of one page. A message that is larger comes in parts."""
_SEPARATOR: Final = b",\n"


class Conversation:
    """The conversation of a session up to ``end``, where no run was active, page by page."""

    def __init__(self, session: Session, info: SessionInfo) -> None:
        self._session = session
        self.info = info
        self.end = session.run_base

    async def _page(self, before: int) -> Page:
        return await self._session.page_before(before, messages=MESSAGES, size=SIZE)

    async def pages(self) -> AsyncIterator[tuple[int, Page]]:
        """The pages from the first one on, each with the number that names it."""
        names = [self.end.seq + 1]
        while (before := (await self._page(names[-1])).before) is not None:
            names.append(before)
        for name in reversed(names):
            yield name, await self._page(name)

    async def notices(self, names: Iterable[int]) -> AsyncIterator[Page]:
        """The pages of these numbers again."""
        for name in names:
            yield await self._page(name)


class Format(NamedTuple):
    media_type: str
    suffix: str
    write: Callable[[Conversation], AsyncIterator[bytes]]


class ExportRoutes:
    def __init__(self, service: SessionService) -> None:
        self._service = service

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                "/sessions/{id}/export",
                self.export,
                "caller",
                "The whole conversation as a file, in JSON or Markdown",
                answer=b.Export,
                cost=lambda request: EXPENSIVE,
            )
        ]

    async def export(self, call: Call) -> ASGIApp:
        chosen = _format(call.request.query_params.get("format", "json"))
        session = await open_session(self._service, call)
        info = await self._service.store.info(session.id)
        await session.catch_up()
        day = iso_time(round(info.created * 1000)).partition("T")[0]
        # Not the session's id or title: an id may be a secret, and a title needs escaping.
        name = f"conversation-{day}.{chosen.suffix}"
        headers = {
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{name}"',
        }
        body = chosen.write(Conversation(session, info))
        return StreamingResponse(body, media_type=chosen.media_type, headers=headers)


async def _json(conversation: Conversation) -> AsyncIterator[bytes]:
    """The members of :class:`agentws.protocol.bodies.Export`, one message a line."""
    end: Position = conversation.end
    session = msgspec.json.encode(view(conversation.info))
    yield b'{"session":%b,"position":"%b","messages":[' % (session, str(end).encode())
    noticed: list[int] = []
    empty = True
    async for name, page in conversation.pages():
        if page.notices:
            noticed.append(name)
        if page.messages:
            yield (b"\n" if empty else _SEPARATOR) + _joined(page.messages)
            empty = False
    yield b'],"notices":['
    empty = True
    async for page in conversation.notices(noticed):
        if found := notices_for(end.epoch, page.notices):
            yield (b"\n" if empty else _SEPARATOR) + _joined(found)
            empty = False
    yield b"]}\n"


def _joined(values: Iterable[Any]) -> bytes:
    return _SEPARATOR.join(map(msgspec.json.encode, values))


async def _markdown(conversation: Conversation) -> AsyncIterator[bytes]:
    yield heading(conversation.info).encode()
    async for _, page in conversation.pages():
        yield "".join(blocks(page, agent=conversation.info.agent)).encode()


FORMATS: Final = {
    "json": Format(JSON, "json", _json),
    "markdown": Format("text/markdown; charset=utf-8", "md", _markdown),
}


def _format(name: str) -> Format:
    if name not in FORMATS:
        expected = " or ".join(FORMATS)
        raise BadRequest("The parameter format is not valid.", expected=expected)
    return FORMATS[name]
