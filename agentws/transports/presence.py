"""Who is in a session: the HTTP route, and the frame of a WebSocket connection."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp

from ..protocol import frames as f
from .connection import Connection
from .http import Call, Operation, json_response
from .service import SessionService
from .session_routes import open_session


class PresenceRoutes:
    """Handles the requests about who is connected to a session."""

    def __init__(self, service: SessionService) -> None:
        self._service = service

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                "/sessions/{id}/presence",
                self.read,
                "caller",
                "Who is connected to the session",
                answer=f.Presence,
            )
        ]

    async def read(self, call: Call) -> ASGIApp:
        session = await open_session(self._service, call)
        return json_response(f.encode_frame(await self._service.presence.current(session)))


async def reply_with_presence(
    service: SessionService, connection: Connection, frame: f.WatchPresence
) -> None:
    """Replies who is there. Whoever follows the session may read it, so no right is checked."""
    presence = service.presence
    if frame.watch is True:
        presence.watch(connection)
    elif frame.watch is False:
        presence.unwatch(connection)
    found = await presence.current(connection.session)
    connection.send_control(msgspec.structs.replace(found, reply=frame.id))
