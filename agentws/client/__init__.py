"""The Python client.

    from agentws.client import connect

    async with connect("ws://localhost:8000/ws/chat") as chat:
        async for event in chat.send("hi"):
            ...

It gives the guarantees of the browser client: it reconnects, resumes at its position, resends what
was not accepted, and neither loses nor duplicates anything. Imports ``errors``, ``protocol`` and
``websockets``.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import partial

from ..protocol.answered import AnsweredQuestion
from ..protocol.frames import Error, Notice, Presence, Present
from ..settings import Timeout, check_setting
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
from .proxies import ProxySetting
from .session import Token
from .topics import Subscription, TopicUpdate
from .transport import Opening, OpenTransport, Transport, TransportClosed
from .turn import Turn
from .updates import ConnectionChange, LogEvent, LogReset, Update
from .uploading import GatewayFiles
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
    """A chat with the agent at ``url``. Use it as ``async with``.

    ``url`` is the address of the gateway, ``http://host/assistant`` with or without a trailing
    slash, or of its endpoint, ``ws://host/assistant/ws/chat``. A redirect is followed only within
    the same server.

    ``session`` is the session to follow; without it the server makes a new one. ``after`` is the
    position to resume after; without it the chat begins with the whole conversation. If the server
    can't replay from that position, a :class:`LogReset` says so and a snapshot follows.

    ``token`` is a bearer token, or a callable, sync or async, that returns one. The callable is
    called before every connection attempt. If it raises before the first connection, entering
    raises that; later, the attempt fails and is retried.

    ``connect_timeout`` limits entering, in seconds. Once connected, the chat reconnects without a
    limit.

    ``proxy`` is the address of a proxy. ``True`` uses the proxy that the environment names
    (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ...), except for servers on this machine.
    ``None`` uses no proxy.

    Entering raises Disconnected when no server answers in time, BadProxy when the proxy can't be
    used, BadRequest when ``url`` is not a valid address, and the server's own refusal
    (Unauthenticated, Forbidden, NotFound, ...). Raises ValueError and TypeError for a
    ``connect_timeout`` that is no time.
    """
    check_setting("connect_timeout", connect_timeout, Timeout)
    return Chat(
        partial(open_websocket, url, headers=headers, ssl_context=ssl_context, proxy=proxy),
        session=session,
        after=after,
        agent=agent,
        token=token,
        connect_timeout=connect_timeout,
        unreachable=lambda: unreachable(url, proxy),
        files=GatewayFiles(url, headers=headers, ssl_context=ssl_context, proxy=proxy),
    )


__all__ = ["AnsweredQuestion"]
__all__ += ["BadProxy", "Chat", "ChatClosed", "ConnectionChange", "Disconnected", "Error"]
__all__ += ["LogEvent", "LogReset", "MessageWithdrawn", "Notice", "OpenTransport", "Opening"]
__all__ += [
    "Presence",
    "Present",
    "ProxySetting",
    "Refused",
    "RunCancelled",
    "RunFailed",
    "Timing",
    "Token",
]
__all__ += ["Subscription", "TopicUpdate", "Transport", "TransportClosed", "Turn", "Update"]
__all__ += ["connect"]
