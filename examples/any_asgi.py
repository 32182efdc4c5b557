"""Around an application that is no Starlette: Django, Quart, Litestar, or as here a bare function.

    uvicorn any_asgi:app

The gateway is an ASGI app: it serves its own routes and passes everything else on.
"""

from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from agentws import RunContext, mount_agent_gateway


async def host(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for ``django.core.asgi.get_asgi_application()`` and its like."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"the host speaks"})


async def shout(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text.upper()


app = mount_agent_gateway(host, shout, prefix="/chat")
