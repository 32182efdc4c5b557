"""The HTTP routes of the shared state: read it, and change it by JSON Patch."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from starlette.types import ASGIApp

from ..protocol import bodies as b
from ..protocol import frames as f
from ..protocol.bodies import read_json
from ..protocol.events import JsonPatch
from .commands import ClientRequest, reply
from .http import JSON, JSON_PATCH, Call, Operation, json_response
from .service import SessionService
from .session_routes import ACCEPTED, open_session

_PATH: Final = "/sessions/{id}/state"
_patches: Final = msgspec.json.Decoder(JsonPatch)


class StateRoutes:
    """Handles the requests about the shared state of a session."""

    def __init__(self, service: SessionService) -> None:
        self._service = service

    def operations(self) -> list[Operation]:
        read_patch = partial(read_json, _patches)
        return [
            Operation("GET", _PATH, self.read, "caller", "The shared state", answer=b.StateView),
            Operation(
                "PATCH",
                _PATH,
                self.change,
                "caller",
                "Changes the shared state by a JSON Patch, if the agent accepts it",
                answer=f.Accepted,
                status=ACCEPTED,
                reads={JSON: read_patch, JSON_PATCH: read_patch},
            ),
        ]

    async def read(self, call: Call) -> ASGIApp:
        session = await open_session(self._service, call)
        # The caller may have changed it on another node.
        await session.catch_up()
        return json_response(b.StateView(state=session.outline.state, position=str(session.head)))

    async def change(self, call: Call) -> ASGIApp:
        """Carries out the patch in the body: 202 with ``accepted``.

        The query parameter ``id`` is its idempotency key, like the ``id`` of a frame.
        """
        id = call.request.query_params.get("id")
        f.check_id(id)
        session = await open_session(self._service, call, action="write")
        frame = f.State(id=id, patch=call.body)
        request = ClientRequest(self._service, session, frame, call.identity)
        done = await self._service.change_state(session, frame, identity=call.identity)
        return json_response(f.encode_frame(reply(request, done)), status=ACCEPTED)
