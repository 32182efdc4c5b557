"""The routes in Starlette, in FastAPI, under a prefix, in a sub-app, and around any ASGI app."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router

from agentws import mount_agent_gateway
from agentws.testing.connect import connect, running

from .calling import SESSION, Echo, Stream, answered, client, say


async def own(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the host's own")


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """A plain ASGI app without a framework."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
        return
    await PlainTextResponse("the host's own")(scope, receive, send)


def host_app(name: str) -> Any:
    match name:
        case "starlette":
            return Starlette(routes=[Route("/own", own)])
        case "fastapi":
            app = FastAPI()
            app.add_api_route("/own", own, response_class=PlainTextResponse)
            return app
        case _:
            return foreign


@pytest.mark.parametrize("host", ["starlette", "fastapi", "foreign"])
@pytest.mark.parametrize("prefix", ["", "/agent"])
async def test_the_routes_work_in_every_kind_of_host(host: str, prefix: str) -> None:
    app = mount_agent_gateway(host_app(host), Echo, prefix=prefix)
    async with running(app), client(app) as http:
        http.base_url = http.base_url.join(f"{prefix}/")
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await say(http, "hello there")).status_code == 202
        assert (await answered(http))[-1]["content"] == "hello there "
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/nowhere")).status_code == (200 if host == "foreign" else 404)
        async with Stream(app, f"{prefix}/sessions/{SESSION}/events") as stream:
            await stream.until("MESSAGES_SNAPSHOT")
        assert (await client(app).get("/own")).text.strip('"') == "the host's own"


def included(router: APIRouter, prefix: str = "") -> FastAPI:
    app = FastAPI()
    app.include_router(router, prefix=prefix)
    return app


def router_app(name: str) -> tuple[Any, str]:
    """An app with the gateway on a router, and where it is."""
    match name:
        case "a router":
            router = Router([Route("/own", own)])
            mount_agent_gateway(router, Echo, prefix="/agent")
            return router, "/agent"
        case "the router of an app":
            app = Starlette(routes=[Mount("/", app=foreign)])
            mount_agent_gateway(app.router, Echo, prefix="/agent")
            return app, "/agent"
        case "a router below an app":
            router = Router()
            mount_agent_gateway(router, Echo)
            return Starlette(routes=[Mount("/agent", router)]), "/agent"
        case "an included router":
            router = APIRouter()
            mount_agent_gateway(router, Echo, prefix="/agent")
            return included(router, "/api"), "/api/agent"
        case "an included router with a prefix of its own":
            router = APIRouter(prefix="/api")
            mount_agent_gateway(router, Echo, prefix="/agent")
            return included(router), "/api/agent"
        case "an included router that takes every path":
            router = APIRouter()
            router.add_api_route("/{path:path}", own)
            router.mount("/", foreign)
            mount_agent_gateway(router, Echo, prefix="/agent")
            return included(router, "/api"), "/api/agent"
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "a router",
        "the router of an app",
        "a router below an app",
        "an included router",
        "an included router with a prefix of its own",
        "an included router that takes every path",
    ],
)
async def test_a_gateway_on_a_router_is_served_where_the_router_is(name: str) -> None:
    app, at = router_app(name)
    async with running(app):
        async with connect(app, f"{at}/ws/chat") as one:
            await one.say("hello there", "m1")
            assert await one.answer() == "hello there "
        async with client(app) as http:
            http.base_url = http.base_url.join(f"{at}/")
            assert (await http.get("/health")).json() == {"status": "ok"}
            assert (await http.get("/")).status_code == 200


async def test_the_hosts_own_routes_take_precedence() -> None:
    app = mount_agent_gateway(Starlette(routes=[Route("/", own), Route("/health", own)]), Echo)
    async with client(app) as http:
        assert (await http.get("/")).text == (await http.get("/health")).text == "the host's own"
    await app.stop()


async def test_a_mounted_sub_app_may_have_its_own_gateway() -> None:
    inner = Starlette()
    gateway = mount_agent_gateway(inner, Echo, prefix="/agent")
    outer = Starlette(routes=[Mount("/sub", inner)])
    async with client(outer) as http:
        http.base_url = http.base_url.join("/sub/agent/")
        assert (await say(http, "hello")).status_code == 202
        assert (await answered(http))[-1]["content"] == "hello "
        response = await client(outer).get("/sub/agent", follow_redirects=True)
        assert response.status_code == 200 and response.url.path == "/sub/agent/"
    await gateway.stop()


async def test_without_a_lifespan_the_gateway_starts_with_the_first_request() -> None:
    gateway = mount_agent_gateway(Starlette(), Echo)
    async with client(gateway) as http:
        assert not gateway.started
        assert (await http.get("/sessions")).json() == {"sessions": []}
        assert gateway.started
    await gateway.stop()
