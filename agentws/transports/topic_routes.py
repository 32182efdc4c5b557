"""Following a topic over HTTP: as a stream (SSE), or by long polling; as a session is followed."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Draining, MethodNotAllowed
from ..protocol import bodies as b
from ..protocol.wires import topics as wire
from ..runs.ids import new_id
from ..sessions.session import Session
from .connections import Place
from .http import Call, Operation, free, json_response, query_float
from .opening import Beginning
from .service import SessionService
from .sse import LONGEST_WAIT, after_last, polls, read_or_wait
from .stream import HttpStream, StreamBody
from .subscriptions import Start, start_of


class TopicRoutes:
    """The route by which a client follows a topic without a session."""

    def __init__(self, service: SessionService) -> None:
        self._service = service

    def operations(self) -> list[Operation]:
        summary = "A topic's posts, as a stream, or by polling with Accept: application/json"
        return [Operation("GET", wire.PATH, self.follow, "caller", summary, cost=free)]

    async def follow(self, call: Call) -> ASGIApp:
        if call.request.method == "HEAD":
            raise MethodNotAllowed(expected="GET")
        if self._service.draining:
            raise Draining(retry_after=1.0)
        name = call.request.path_params["id"]
        await self._service.check_subscribe(call.identity, name)
        log = await self._service.feeds.log(name)
        # A browser that reconnects asks the old address, and gives its position in the header.
        after = call.request.headers.get("last-event-id") or call.request.query_params.get("after")
        if polls(call):
            return await self._poll(name, log, call, after=after)
        return await self._stream(name, log, call, after=after)

    async def _poll(self, name: str, log: Session, call: Call, *, after: str | None) -> ASGIApp:
        service = self._service
        wait = min(query_float(call.request, "wait") or 0.0, LONGEST_WAIT)
        with self._admit(call) if wait else nullcontext():
            start = await start_of(log, after)
            begun = Beginning(start.position, start.resume, start.reason)
            records = await read_or_wait(service, log, begun, (), wait=wait)
        position = after_last(start.position, records)
        frames = wire.PolledTopicEncoder(name).events(position.epoch, records)
        body = b.Poll(
            events=[msgspec.Raw(frame) for frame in frames],
            position=str(position),
            resume=start.resume,
            reason=start.reason,
            more=position.seq < log.head.seq,
        )
        return json_response(body)

    async def _stream(self, name: str, log: Session, call: Call, *, after: str | None) -> ASGIApp:
        service, place = self._service, self._admit(call)
        try:
            async with service.connections.opening():
                start = await start_of(log, after)
        except BaseException:
            place.release()
            raise
        return TopicStream(service, name, log, start, place)

    def _admit(self, call: Call) -> Place:
        return self._service.connections.admit(owner=call.owner, address=call.address)


class TopicStream(HttpStream):
    """One client following one topic. In its feed too, for the notices that are not kept."""

    def __init__(
        self, service: SessionService, name: str, log: Session, start: Start, place: Place
    ) -> None:
        encoder = wire.TopicStreamEncoder(name)
        body = StreamBody(wire.MEDIA_TYPE, encoder, wire.KEEPALIVE)
        said = encoder.control(start.frame(log)) or b""
        first = [wire.PREAMBLE + said]
        id = new_id("con")
        super().__init__(service, log, start.position, body, id=id, place=place, first=first)
        self._feeds: Final = service.feeds
        self._name: Final = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            feed = await self._feeds.join(self._name, self, None)
        except BaseException:
            self._place.release()
            raise
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feeds.leave(feed, self)
