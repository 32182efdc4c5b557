"""The Python client.

    from agentws.client import connect

    async with connect("ws://localhost:8000/ws/chat") as chat:
        async for event in chat.send("hi"):
            ...

The same guarantees as the browser client: it reconnects, resumes where it was, sends again what was
not accepted, and neither loses nor doubles anything.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Mapping

from ..protocol.frames import Error, Notice
from .chat import Chat
from .connection import Timing
from .errors import (
    BadProxy,
    ChatClosed,
    Disconnected,
    MessageWithdrawn,
    Refused,
    RunCancelled,
    RunFailed,
)
from .follower import Token
from .proxies import ProxySetting
from .transport import Opening, OpenTransport, Transport, TransportClosed
from .turn import Turn
from .updates import ConnectionChange, LogEvent, LogReset, Update
from .websocket import open_websocket, unreachable


def connect(
    url: str,
    *,
    session: str | None = None,
    after: str | None = None,
    agent: str | None = None,
    token: Token | None = None,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: ProxySetting = True,
    connect_timeout: float = 10.0,
) -> Chat:
    """A chat with the agent at ``url``, to be used as ``async with``.

    ``url`` is the address of the gateway, ``http://host/assistant`` with or without a slash at its
    end, or that of its endpoint, ``ws://host/assistant/ws/chat``. Redirects are followed to the
    same server only.

    ``session`` is the session to follow (absent: a new one) and ``after`` a position to go on from
    (absent: from the beginning); a position that is not good, or can't be read, is told by
    :class:`LogReset`, and the log follows from a snapshot. ``token`` is a bearer token, or a
    callable, sync or async, that is asked for one before every connection; what it raises is raised
    by entering, and tried again once the chat was connected. ``connect_timeout``, in seconds,
    bounds entering; once connected, the chat tries for ever.

    ``proxy`` is the address of a proxy to go through; ``True``: the one that the environment names
    (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ...), though never for this machine itself;
    ``None``: no proxy.

    Entering raises Disconnected when there is no server within that time, BadProxy for a proxy that
    can't be used, BadRequest for what is not an address, and what the server refuses with
    (Unauthenticated, Forbidden, NotFound, ...).
    """

    def open_transport(opening: Opening) -> Awaitable[Transport]:
        return open_websocket(url, opening, headers=headers, ssl_context=ssl_context, proxy=proxy)

    return Chat(
        open_transport,
        session=session,
        after=after,
        agent=agent,
        token=token,
        connect_timeout=connect_timeout,
        unreachable=lambda: unreachable(url, proxy),
    )


__all__ = ["BadProxy", "Chat", "ChatClosed", "ConnectionChange", "Disconnected", "Error"]
__all__ += ["LogEvent", "LogReset", "MessageWithdrawn", "Notice", "OpenTransport", "Opening"]
__all__ += ["ProxySetting", "Refused", "RunCancelled", "RunFailed", "Timing", "Token"]
__all__ += ["Transport", "TransportClosed", "Turn", "Update", "connect"]
