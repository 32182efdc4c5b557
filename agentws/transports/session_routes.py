"""The HTTP routes of sessions: list, read, change and delete them, and send commands to them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ..auth import NOT_YOURS, Action
from ..errors import BadRequest, Draining, Forbidden
from ..protocol import bodies as b
from ..protocol import frames as f
from ..protocol.notices import notices_for
from ..protocol.sizes import PAGE
from ..runs.commands import Invocation
from ..sessions.pages import Page
from ..sessions.registry import check_session_id
from ..sessions.session import Session
from ..store import SessionInfo
from .commands import HANDLERS, ClientRequest, Post, command_in, perform, reply
from .http import Call, Operation, json_response, query_number
from .rates import EXPENSIVE
from .service import SessionService
from .times import iso_time

PAGE_OF_SESSIONS: Final = 50
MOST: Final = 200
"""The most sessions or messages of one page, whatever limit the client asks for."""
MOST_SEARCHED: Final = 500
"""The most characters of a search query."""
ACCEPTED: Final = 202

_place: Final = msgspec.json.Decoder(tuple[float, str])


class SessionRoutes:
    """Handles the requests about sessions. A foreign one and an unknown one look the same."""

    def __init__(self, service: SessionService) -> None:
        self._service = service

    def operations(self) -> list[Operation]:
        return [*self._reading(), *self._commands()]

    def _reading(self) -> list[Operation]:
        """The routes that read, change and delete sessions."""
        one = "/sessions/{id}"
        return [
            Operation(
                "GET",
                "/sessions",
                self.owned,
                "caller",
                "The caller's own sessions, or those that match a query; last used first",
                answer=b.SessionList,
                cost=_cost_of_list,
            ),
            Operation("GET", one, self.one, "caller", "One session", answer=b.SessionView),
            Operation(
                "PATCH",
                one,
                self.change,
                "caller",
                "Changes title, metadata or retention",
                body=b.SessionChange,
                answer=b.SessionView,
            ),
            Operation("DELETE", one, self.delete, "caller", "Deletes a session", status=204),
            Operation(
                "GET",
                f"{one}/messages",
                self.messages,
                "caller",
                "The conversation, newest page first",
                answer=b.MessageList,
            ),
        ]

    def _commands(self) -> list[Operation]:
        """One route for each client command that can be sent over HTTP."""
        return [
            Operation(
                "POST",
                handler.post.path,
                partial(self.command, handler.post),
                "caller",
                handler.post.summary,
                body=frame,
                answer=f.Accepted,
                status=ACCEPTED,
            )
            for frame, handler in HANDLERS.items()
            if handler.post is not None
        ]

    # Reading

    async def owned(self, call: Call) -> ASGIApp:
        limit = query_number(call.request, "limit", default=PAGE_OF_SESSIONS, largest=MOST)
        before = _list_position(call.request.query_params.get("before"))
        query = _search_query(call.request.query_params.get("query"))
        found = await self._service.owned(call.identity, query=query, before=before, limit=limit)
        shown = _first_of(found, PAGE)
        more = len(found) == limit or len(shown) < len(found)
        cursor = _list_cursor(found[len(shown) - 1]) if more else UNSET
        return json_response(b.SessionList(sessions=shown, before=cursor))

    async def one(self, call: Call) -> ASGIApp:
        return json_response(await self._view(await open_session(self._service, call)))

    async def messages(self, call: Call) -> ASGIApp:
        session = await open_session(self._service, call)
        default = self._service.limits.snapshot_messages
        limit = query_number(call.request, "limit", default=default, largest=MOST)
        if "before" in call.request.query_params:
            before = query_number(call.request, "before", default=1, largest=session.head.seq + 1)
            page = await session.page_before(before, messages=limit, size=PAGE)
            return json_response(_message_list(page, session.head.epoch))
        snapshot = await session.snapshot(messages=limit, size=PAGE)
        newest = msgspec.structs.replace(
            _message_list(snapshot.page, snapshot.position.epoch),
            queued=[one.message for one in session.outline.queue.values()],
            position=str(snapshot.position),
            interrupts=list(snapshot.interrupts) or UNSET,
        )
        return json_response(newest)

    async def _view(self, session: Session) -> b.SessionView:
        # Read from the store: another node may have renamed or used the session since.
        info = await self._service.store.info(session.id)
        running = not session.outline.is_settled()
        return view(info, position=str(session.head), running=running)

    # Changing

    async def change(self, call: Call) -> ASGIApp:
        change: b.SessionChange = call.body
        title = None if change.title is UNSET else change.title
        metadata = None if change.metadata is UNSET else change.metadata
        if title is None and metadata is None and change.retention is UNSET:
            expected = "title, metadata or retention"
            raise BadRequest("This request changes nothing.", expected=expected)
        self._check_retention(change.retention)
        session = await open_session(self._service, call, action="write")
        await self._service.change_session(
            session, title=title, metadata=metadata, retention=change.retention
        )
        return json_response(await self._view(session))

    def _check_retention(self, retention: float | UnsetType | None) -> None:
        """A user may shorten what the host has set, and not lengthen it."""
        longest = self._service.limits.session_retention
        if longest is not None and isinstance(retention, float) and retention > longest:
            expected = f"at most {longest:g} seconds, or null"
            raise BadRequest("Sessions are not kept that long here.", expected=expected)

    async def delete(self, call: Call) -> ASGIApp:
        session = await open_session(self._service, call, action="delete")
        await self._service.delete(session)
        return Response(status_code=204)

    # What clients send

    async def command(self, post: Post, call: Call) -> ASGIApp:
        """Carries out the frame in the body: 202 with ``accepted``, or 200 with a notice."""
        if post.makes_session:
            check_session_id(call.request.path_params["id"])
        frame = command_in(call.body)
        session = await self._session_for(post, call)
        request = ClientRequest(self._service, session, frame, call.identity)
        done = await perform(request, may_write=True)
        if isinstance(done, Invocation):
            notice = (await done.answer(frame.id)).notice
            return json_response(f.encode_frame(msgspec.structs.replace(notice, reply=frame.id)))
        return json_response(f.encode_frame(reply(request, done)), status=ACCEPTED)

    async def _session_for(self, post: Post, call: Call) -> Session:
        service = self._service
        if post.makes_session:
            id, agent = call.request.path_params["id"], call.body.agent
            session, _ = await service.enter(id, identity=call.identity, agent=agent)
            return session
        if post.starts_run and service.draining:
            raise Draining(retry_after=1.0)
        return await open_session(service, call, action="write")


async def open_session(service: SessionService, call: Call, *, action: Action = "read") -> Session:
    """The session of the path; raises Forbidden for a foreign, an unknown and an impossible id."""
    id = call.request.path_params["id"]
    try:
        check_session_id(id)
    except BadRequest as error:
        raise Forbidden(NOT_YOURS) from error
    return await service.open(id, identity=call.identity, action=action)


def _message_list(page: Page, epoch: str) -> b.MessageList:
    return b.MessageList(
        messages=page.messages,
        before=page.before or UNSET,
        notices=notices_for(epoch, page.notices) or UNSET,
        answered=list(page.answered) or UNSET,
    )


def _first_of(found: Sequence[SessionInfo], room: int) -> list[b.SessionView]:
    """The first of ``found`` that have together at most ``room`` bytes; hosts may add metadata."""
    shown: list[b.SessionView] = []
    for info in found:
        one = view(info)
        room -= len(msgspec.json.encode(one))
        if room < 0 and shown:
            break
        shown.append(one)
    return shown


def _cost_of_list(request: Request) -> int:
    return EXPENSIVE if request.query_params.get("query", "").strip() else 1


def _search_query(text: str | None) -> str | None:
    """``None`` for a list of all: a page sends the text of its search field as it is."""
    if text is None or not text.strip():
        return None
    if len(text) > MOST_SEARCHED:
        expected = f"at most {MOST_SEARCHED} characters"
        raise BadRequest("The parameter query is too long.", expected=expected)
    return text


def _list_cursor(last: SessionInfo) -> str:
    """An opaque cursor to the sessions after ``last``."""
    place = msgspec.json.encode((last.updated, last.id))
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _list_position(cursor: str | None) -> tuple[float, str] | None:
    """The arguments of :func:`_list_cursor`; raises BadRequest for a text that it did not make."""
    if cursor is None:
        return None
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        updated, id = _place.decode(place)
        check_session_id(id)
    except (ValueError, msgspec.DecodeError, BadRequest) as error:
        expected = "the value of before on the last page"
        raise BadRequest("The parameter before is not valid.", expected=expected) from error
    return updated, id


def view(
    info: SessionInfo, *, position: str | None = None, running: bool | None = None
) -> b.SessionView:
    return b.SessionView(
        id=info.id,
        agent=info.agent,
        created_at=iso_time(round(info.created * 1000)),
        updated_at=iso_time(round(info.updated * 1000)),
        title=info.title,
        metadata=info.metadata,
        retention=info.retention,
        position=position,
        running=running,
    )
