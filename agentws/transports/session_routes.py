"""The HTTP routes of sessions: list, look, change, and what a client says over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET
from starlette.responses import Response
from starlette.types import ASGIApp

from ..agents.commands import parse_command
from ..errors import BadRequest, Draining, Forbidden
from ..protocol import bodies as b
from ..protocol import frames as f
from ..protocol.notices import notices_for
from ..protocol.sizes import PAGE
from ..runs.inbox import check_content
from ..sessions.pages import Page
from ..sessions.registry import check_session_id
from ..sessions.session import Session
from ..store import Appended, SessionInfo
from .commands import check_typed
from .http import Call, Handler, Operation, answer, query_number
from .websocket import iso_time

if TYPE_CHECKING:
    from ..auth import Action
    from ..gateway.gateway import AgentGateway

PAGE_OF_SESSIONS: Final = 50
MOST: Final = 200
"""Sessions or messages in one page, whatever is asked for."""
ACCEPTED: Final = 202

_place: Final = msgspec.json.Decoder(tuple[float, str])


class SessionRoutes:
    """Answers what is asked of sessions; a foreign one and an unknown one look the same."""

    def __init__(self, gateway: AgentGateway) -> None:
        self._gateway = gateway

    def operations(self) -> list[Operation]:
        return [*self._kept(), *self._talk()]

    def _kept(self) -> list[Operation]:
        """The sessions themselves."""
        one = "/sessions/{id}"
        return [
            Operation(
                "GET",
                "/sessions",
                self.owned,
                "caller",
                "The caller's own sessions, last used first",
                answer=b.SessionList,
            ),
            Operation("GET", one, self.look, "caller", "One session", answer=b.SessionView),
            Operation(
                "PATCH",
                one,
                self.change,
                "caller",
                "Changes title or metadata",
                body=b.SessionChange,
                answer=b.SessionView,
            ),
            Operation("DELETE", one, self.delete, "caller", "Deletes a session", status=204),
        ]

    def _talk(self) -> list[Operation]:
        """What is said in one."""
        messages, cancel = "/sessions/{id}/messages", "/sessions/{id}/cancel"
        answers = "/sessions/{id}/answers"
        says: list[tuple[str, Handler, str, type[Any]]] = [
            (messages, self.send, "Sends a message; a command is answered at once", f.Send),
            (cancel, self.cancel, "Stops a run, or takes back its message", f.Cancel),
            (answers, self.answer, "Answers a question of the agent", f.Answer),
        ]
        return [
            Operation(
                "GET",
                messages,
                self.messages,
                "caller",
                "The conversation, newest page first",
                answer=b.MessageList,
            ),
            *(
                Operation(
                    "POST",
                    path,
                    handler,
                    "caller",
                    summary,
                    body=body,
                    answer=f.Accepted,
                    status=ACCEPTED,
                )
                for path, handler, summary, body in says
            ),
        ]

    # Looking

    async def owned(self, call: Call) -> ASGIApp:
        limit = query_number(call.request, "limit", default=PAGE_OF_SESSIONS, largest=MOST)
        before = _list_position(call.request.query_params.get("before"))
        found = await self._gateway.owned(call.identity, before=before, limit=limit)
        shown = _first_of(found, PAGE)
        more = len(found) == limit or len(shown) < len(found)
        cursor = _list_cursor(found[len(shown) - 1]) if more else UNSET
        return answer(b.SessionList(sessions=shown, before=cursor))

    async def look(self, call: Call) -> ASGIApp:
        return answer(await self._view(await open_session(self._gateway, call)))

    async def messages(self, call: Call) -> ASGIApp:
        session = await open_session(self._gateway, call)
        default = self._gateway.limits.snapshot_messages
        limit = query_number(call.request, "limit", default=default, largest=MOST)
        if "before" in call.request.query_params:
            before = query_number(call.request, "before", default=1, largest=session.head.seq + 1)
            page = await session.page_before(before, messages=limit, size=PAGE)
            return answer(_message_list(page, session.head.epoch))
        snapshot = await session.snapshot(messages=limit, size=PAGE)
        newest = msgspec.structs.replace(
            _message_list(snapshot.page, snapshot.position.epoch),
            queued=[one.message for one in session.outline.queue.values()],
            position=str(snapshot.position),
        )
        return answer(newest)

    async def _view(self, session: Session) -> b.SessionView:
        # The store's: another node may have renamed it, or used it since.
        info = await self._gateway.store.info(session.id)
        running = not session.outline.settled
        return view(info, position=str(session.head), running=running)

    # Changing

    async def change(self, call: Call) -> ASGIApp:
        change: b.SessionChange = call.body
        title = None if change.title is UNSET else change.title
        metadata = None if change.metadata is UNSET else change.metadata
        if title is None and metadata is None:
            raise BadRequest("Nothing is to be changed.", expected="title or metadata")
        session = await open_session(self._gateway, call, action="write")
        await self._gateway.rename(session, title=title, metadata=metadata)
        return answer(await self._view(session))

    async def delete(self, call: Call) -> ASGIApp:
        session = await open_session(self._gateway, call, action="delete")
        await self._gateway.delete(session)
        return Response(status_code=204)

    # Saying

    async def send(self, call: Call) -> ASGIApp:
        frame: f.Send = call.body
        id = call.request.path_params["id"]
        check_session_id(id)
        check_content(frame.content)
        typed = parse_command(frame.content) if isinstance(frame.content, str) else None
        if typed is not None:
            check_typed(typed)
        session, _ = await self._gateway.enter(id, identity=call.identity, agent=frame.agent)
        if typed is None:
            done = await self._gateway.send(session, frame, identity=call.identity)
            return self._accepted(session, frame.id, done)
        asked = await self._gateway.command(session, typed, identity=call.identity)
        notice = (await asked.answer(frame.id)).notice
        return answer(f.encode_frame(msgspec.structs.replace(notice, reply=frame.id)))

    async def cancel(self, call: Call) -> ASGIApp:
        frame: f.Cancel = call.body
        session = await open_session(self._gateway, call, action="write")
        done = await self._gateway.inbox.cancel(session, frame, by=call.owner)
        return self._accepted(session, frame.id, done)

    async def answer(self, call: Call) -> ASGIApp:
        frame: f.Answer = call.body
        if self._gateway.draining:
            raise Draining(retry_after=1.0)
        session = await open_session(self._gateway, call, action="write")
        done = await self._gateway.inbox.answer(session, frame, identity=call.identity)
        return self._accepted(session, frame.id, done)

    def _accepted(self, session: Session, reply: str | None, done: Appended | None) -> Response:
        position = session.head if done is None else done.position
        accepted = f.Accepted(
            reply=reply,
            position=str(position),
            durability=self._gateway.store.durability,
            duplicate=done is not None and done.duplicate,
        )
        return answer(f.encode_frame(accepted), status=ACCEPTED)


async def open_session(gateway: AgentGateway, call: Call, *, action: Action = "read") -> Session:
    """The session of the path; raises Forbidden for a foreign, an unknown and an impossible id."""
    id = call.request.path_params["id"]
    try:
        check_session_id(id)
    except BadRequest as error:
        raise Forbidden("This session is not yours.") from error
    return await gateway.open(id, identity=call.identity, action=action)


def _message_list(page: Page, epoch: str) -> b.MessageList:
    return b.MessageList(
        messages=page.messages,
        before=page.before or UNSET,
        notices=notices_for(epoch, page.notices) or UNSET,
    )


def _first_of(found: Sequence[SessionInfo], room: int) -> list[b.SessionView]:
    """The first of them, as many as have ``room`` bytes together: hosts give them metadata."""
    shown: list[b.SessionView] = []
    for info in found:
        one = view(info)
        room -= len(msgspec.json.encode(one))
        if room < 0 and shown:
            break
        shown.append(one)
    return shown


def _list_cursor(last: SessionInfo) -> str:
    """Where the list goes on after that session; a client hands it back as it is."""
    place = msgspec.json.encode((last.updated, last.id))
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _list_position(cursor: str | None) -> tuple[float, str] | None:
    """What :func:`_list_cursor` was made of; raises BadRequest for what it did not make."""
    if cursor is None:
        return None
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        updated, id = _place.decode(place)
        check_session_id(id)
    except (ValueError, msgspec.DecodeError, BadRequest) as error:
        expected = "what the page before said"
        raise BadRequest("The parameter before does not fit.", expected=expected) from error
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
        position=position,
        running=running,
    )
