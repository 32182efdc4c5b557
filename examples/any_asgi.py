"""Around an application of another framework: Django, Quart, Litestar, or here a bare function.

    uvicorn any_asgi:app

The gateway is an ASGI app. It serves its own routes and passes all other requests to the host.
"""

from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from agentws import RunContext, mount_agent_gateway


async def host(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for an application such as ``django.core.asgi.get_asgi_application()``."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello from the host application."})


async def shout(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text.upper()


app = mount_agent_gateway(host, shout, prefix="/chat")
