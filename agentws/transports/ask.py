"""``POST {path}`` with a message, answered by a stream of the run that answers it.

The pump of every wire of that kind. The message is appended to the log like any other; the response
then follows the log to the terminal event of that run. A disconnect does not stop the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from ..protocol import frames as f
from ..protocol.message_run import MessageRun
from ..protocol.wires.wire import AskWire, EncoderContext, Question
from ..runs.commands import Invocation
from ..runs.ids import new_id
from ..sessions.registry import check_session_id
from ..store import Appended
from .commands import ClientRequest, command_in, perform, reply
from .connections import Place
from .http import Call, Operation
from .service import SessionService
from .stream import HttpStream, StreamBody
from .times import iso_time

SESSION: Final = "agentws-session"
"""The header with the session of the answer. In a request it chooses the session."""


class AskRoutes:
    """The routes of every :class:`AskWire`."""

    def __init__(self, service: SessionService, wires: Sequence[AskWire]) -> None:
        self._service = service
        self._wires = wires

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "POST",
                wire.path,
                partial(self.ask, wire),
                "caller",
                wire.summary,
                reads=wire.reads,
            )
            for wire in self._wires
        ]

    async def ask(self, wire: AskWire, call: Call) -> ASGIApp:
        """Appends the message and streams its answer. Raises the refusal of the message."""
        message, id = _question(call)
        frame = command_in(message)
        # Before anything is appended: a message that is refused here must not be in the log.
        place = self._service.connections.admit(owner=call.owner, address=call.address)
        try:
            session, _ = await self._service.enter(id, identity=call.identity, agent=message.agent)
            chosen = wire.format_for(",".join(call.request.headers.getlist("accept")))
            context = EncoderContext(session.id, call.request.query_params, iso_time)
            body = StreamBody(
                chosen.media_type,
                chosen.encoder(context),
                chosen.keepalive,
                headers=[(SESSION.encode(), session.id.encode())],
            )
            request = ClientRequest(self._service, session, frame, call.identity)
            done = await perform(request)
            if isinstance(done, Invocation):
                notice = (await done.answer(frame.id)).notice
                place.release()
                return _single_frame(body, msgspec.structs.replace(notice, reply=frame.id))
            assert isinstance(done, Appended)
            return self._stream(request, done, body, place)
        except BaseException:
            place.release()
            raise

    def _stream(
        self, request: ClientRequest, done: Appended, body: StreamBody, place: Place
    ) -> HttpStream:
        accepted = body.encoder.control(reply(request, done))
        return HttpStream(
            self._service,
            request.session,
            done.position,
            body,
            id=new_id("con"),
            place=place,
            first=[] if accepted is None else [accepted],
            run=MessageRun(request.frame.id),
        )


def _question(call: Call) -> Question:
    """The message and its session, from the body and the query; the body has precedence.

    Raises BadRequest for an id that is not valid.
    """
    question: Question = call.body
    query, frame = call.request.query_params, question.frame
    if not frame.id and "id" in query:
        f.check_id(query["id"])
        frame = msgspec.structs.replace(frame, id=query["id"])
    if frame.agent is None and query.get("agent"):
        frame = msgspec.structs.replace(frame, agent=query["agent"])
    session = question.session or query.get("session") or call.request.headers.get(SESSION)
    if session is not None:
        check_session_id(session)
    return Question(frame, session)


def _single_frame(body: StreamBody, frame: f.ControlFrame) -> Response:
    """A response that is one control frame."""
    encoded = body.encoder.control(frame)
    headers = {name.decode(): value.decode() for name, value in body.headers}
    fresh = {"cache-control": "no-store", **headers}
    return Response(encoded or b"", media_type=body.media_type, headers=fresh)
