"""Refuses a request whose body was not read to its end, and closes its connection properly."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

LINGER: Final = 2.0
"""Seconds for which the body of a refused upload is read on, and dropped.

A connection that is closed while bytes arrive is reset, and the client may never see the error.
"""


class WatchedBody:
    """The ``receive`` of a request, which knows whether its body has ended."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Any:
        message = await self._receive()
        self.ended = message["type"] != "http.request" or not message.get("more_body")
        return message


class Refusal:
    """The response to a request whose ``body`` may not have been read to its end.

    If it was not, the response is complete at once all the same. Then what still arrives is dropped
    for ``LINGER`` seconds at most, and the connection is closed.
    """

    def __init__(self, response: ASGIApp, body: WatchedBody) -> None:
        self._response = response
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._body.ended:
            await self._response(scope, receive, send)
            return

        async def send_and_linger(message: Any) -> None:
            if message["type"] == "http.response.start":
                closing = [(b"connection", b"close")] if scope["http_version"][:1] == "1" else []
                await send({**message, "headers": [*message["headers"], *closing]})
            elif message.get("more_body"):
                await send(message)
            else:
                await send({**message, "more_body": True})
                await _drop_rest(scope, self._body)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._response(scope, receive, send_and_linger)


async def _drop_rest(scope: Scope, body: WatchedBody) -> None:
    if any(name == b"expect" for name, _ in scope["headers"]):
        # The client waits for a go-ahead before it sends the body; it gets the error instead.
        return
    try:
        async with asyncio.timeout(LINGER):
            while not body.ended:
                await body()
    except TimeoutError:
        return
