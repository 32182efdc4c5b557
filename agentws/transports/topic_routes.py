"""Following a topic over HTTP: as a stream (SSE), or by long polling; as a session is followed."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from ..protocol.wires import topics as wire
from ..runs.ids import new_id
from ..sessions.session import Session
from .connections import Place
from .http import Call, Operation, free
from .opening import Beginning
from .polling import after_last, poll_response, polls, read_or_wait, wait_of
from .service import SessionService
from .sse import admit, followed_after
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
        after = followed_after(self._service, call)
        name = call.request.path_params["id"]
        await self._service.check_subscribe(call.identity, name)
        log = await self._service.feeds.log(name)
        if polls(call):
            return await self._poll(name, log, call, after=after)
        return await self._stream(name, log, call, after=after)

    async def _poll(self, name: str, log: Session, call: Call, *, after: str | None) -> ASGIApp:
        service = self._service
        wait = wait_of(call)
        with admit(service, call) if wait else nullcontext():
            start = await start_of(log, after)
            begun = Beginning(start.position, start.resume, start.reason)
            records = await read_or_wait(service, log, begun, (), wait=wait)
        position = after_last(start.position, records)
        frames = wire.PolledTopicEncoder(name).events(position.epoch, records)
        return poll_response(log, begun, position, frames)

    async def _stream(self, name: str, log: Session, call: Call, *, after: str | None) -> ASGIApp:
        service = self._service
        place = admit(service, call)
        try:
            async with service.connections.opening():
                start = await start_of(log, after)
        except BaseException:
            place.release()
            raise
        return TopicStream(service, name, log, start, place)


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
