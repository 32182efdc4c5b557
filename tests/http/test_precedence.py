"""Route precedence between gateway and host: the more specific route gets the request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from agentws import mount_agent_gateway
from agentws.testing.connect import connect, running

from .calling import Echo, client

OWN = "the host's own"


async def own(request: Request) -> PlainTextResponse:
    return PlainTextResponse(OWN)


async def talking(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(OWN)
    await websocket.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Static files, some with names that the gateway serves, too."""
    for name in ("index.html", "logo.png", "health", "web/page.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(OWN)
    return tmp_path


class Everything(BaseRoute):
    """A custom kind of route, whose path is unknown."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        return Match.FULL, {}

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(OWN)(scope, receive, send)


def spa(files: Path) -> list[BaseRoute]:
    return [Mount("/", StaticFiles(directory=files, html=True))]


def catch_all(files: Path) -> list[BaseRoute]:
    return [Route("/{path:path}", own), WebSocketRoute("/{path:path}", talking)]


def catch_all_of_a_method(files: Path) -> list[BaseRoute]:
    return [Route("/{path:path}", own, methods=["GET"])]


def nested(files: Path) -> list[BaseRoute]:
    return [Mount("/", routes=[Mount("/", routes=[Route("/own", own), *spa(files)])])]


def sub_application(files: Path) -> list[BaseRoute]:
    sub = Starlette(routes=[Route("/own", own), Route("/{one}", own), Route("/{a}/{b}", own)])
    return [Mount("/", sub)]


def any_host(files: Path) -> list[BaseRoute]:
    return [Host("{name}", Router(catch_all(files)))]


def parameters(files: Path) -> list[BaseRoute]:
    return [
        Route("/{one}", own),
        Route("/{one}/{two}", own),
        Route("/{one}/{two}/{three:path}", own),
        WebSocketRoute("/{one}/{two}/{three:path}", talking),
        WebSocketRoute("/{one}/{two}", talking),
    ]


def mounted_parameter(files: Path) -> list[BaseRoute]:
    return [Mount("/{tenant}", Router(catch_all(files)))]


def unknown(files: Path) -> list[BaseRoute]:
    return [Everything()]


CATCHING = [
    *(spa, catch_all, catch_all_of_a_method, nested, sub_application, any_host),
    *(parameters, mounted_parameter, unknown),
]
GATEWAYS = ["/health", "/sessions", "/stats", "/web/page.js", "/client.js"]


async def check(app: Any, prefix: str) -> None:
    """Checks that every kind of the gateway's routes is reached."""
    async with client(app) as http:
        for path in GATEWAYS:
            response = await http.get(f"{prefix}{path}")
            assert response.status_code in (200, 307) and response.text != OWN, path
        if prefix:
            assert "<title>" in (await http.get(prefix, follow_redirects=True)).text
        session = f"{prefix}/sessions/ses_0123456789abcdef"
        body = {"id": "m1", "content": "hello"}
        assert (await http.post(f"{session}/messages", json=body)).status_code == 202
        assert (await http.get(session)).status_code == 200
        assert (await http.delete(session)).status_code == 204
        assert (await http.options(session)).status_code == 204
    async with connect(app, f"{prefix}/ws/chat") as one:
        await one.until("welcome")
        await one.say("hello there", "m1")
        assert await one.answer() == "hello there "


@pytest.mark.parametrize("prefix", ["/assistant", "/api/assistant", "/t/{tenant}", ""])
@pytest.mark.parametrize("host", CATCHING, ids=lambda host: host.__name__)
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_a_catch_all_route_does_not_take_the_gateways_paths(
    kind: type[Starlette], host: Callable[[Path], list[BaseRoute]], prefix: str, files: Path
) -> None:
    if host is mounted_parameter and prefix == "/t/{tenant}":
        prefix = "/assistant/{tenant}"
    app = kind()
    app.router.routes.extend(host(files))
    mount_agent_gateway(app, Echo, prefix=prefix)
    async with running(app):
        await check(app, prefix.replace("{tenant}", "acme"))
        async with client(app) as http:
            elsewhere = "/logo.png" if host is spa or host is nested else "/elsewhere"
            assert (await http.get(elsewhere)).text == OWN or host is mounted_parameter


async def test_routes_added_after_the_mount_come_after_the_gateways(files: Path) -> None:
    app = Starlette()
    mount_agent_gateway(app, Echo)
    for route in (*catch_all(files), *spa(files), Route("/health", own)):
        app.router.routes.append(route)
    async with running(app):
        await check(app, "")


async def test_the_host_keeps_the_front_page_and_that_is_logged(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A catch-all is as specific for ``/`` as the chat page."""
    for host in (spa, catch_all):
        app = Starlette(routes=host(files))
        with caplog.at_level(logging.INFO, "agentws"):
            mount_agent_gateway(app, Echo)
        async with client(app) as http:
            assert (await http.get("/")).text == OWN
    assert "'/{path:path}' matches the gateway's path / and keeps it;" in caplog.text


async def test_specific_routes_of_the_host_keep_their_paths(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    routes = [
        Route("/health", own),
        Route("/sessions/export", own),
        Route("/sessions/{id}/messages", own, methods=["POST"]),
        Mount("/web", StaticFiles(directory=files)),
        *spa(files),
    ]
    app = Starlette(routes=routes)
    with caplog.at_level(logging.WARNING, "agentws"):
        mount_agent_gateway(app, Echo)
    async with running(app), client(app) as http:
        for path in ("/", "/health", "/sessions/export", "/web/logo.png", "/logo.png"):
            assert (await http.get(path)).text == OWN, path
        assert (await http.post("/sessions/x/messages")).text == OWN
        assert (await http.get("/sessions")).json() == {"sessions": []}
        assert (await http.get("/sessions/x/messages")).json()["code"] == "forbidden"
    said = [record.getMessage() for record in caplog.records]
    assert any("'/web/{path:path}'" in line for line in said)
    assert any("gateway's path /sessions/{id}/messages" in line for line in said)
    assert not any("/health" in line for line in said)


@pytest.mark.parametrize("within", ["mount", "sub-application", "router", "included router"])
async def test_specific_routes_behind_a_mount_keep_their_paths(within: str, files: Path) -> None:
    """They are behind a catch-all mount; the gateway's routes are inserted before that mount."""
    inner = [
        Route("/health", own),
        Route("/sessions/export", own),
        Route("/sessions/{id}/messages", own, methods=["POST"]),
    ]
    app = FastAPI()
    match within:
        case "mount":
            app.router.routes.append(Mount("/", routes=[*inner, *spa(files)]))
        case "sub-application":
            app.mount("/", Starlette(routes=[*inner, *spa(files)]))
        case "router":
            app.router.routes.extend([Mount("/", Router([*inner, *spa(files)]))])
        case _:
            app.include_router(including(inner, files))
    mount_agent_gateway(app, Echo)
    async with running(app), client(app) as http:
        for path in ("/health", "/sessions/export", "/logo.png"):
            assert (await http.get(path)).text.strip('"') == OWN, path
        assert (await http.post("/sessions/x/messages")).text.strip('"') == OWN
        assert (await http.get("/livez")).json() == {"status": "ok"}
        assert (await http.get("/sessions")).json() == {"sessions": []}
        assert (await http.get("/sessions/x")).json()["code"] == "forbidden"
        async with connect(app) as one:
            await one.until("welcome")


def including(routes: list[Route], files: Path) -> APIRouter:
    """An APIRouter included in another one."""
    inner, outer = APIRouter(), APIRouter()
    for route in routes:
        inner.add_api_route(route.path, own, methods=sorted(route.methods or ()))
    outer.include_router(inner)
    outer.add_api_route("/{path:path}", own)
    outer.add_api_websocket_route("/{path:path}", talking)
    return outer


async def test_a_host_may_add_routes_to_its_router_after_the_mount() -> None:
    router, app = Router([Route("/{path:path}", own)]), Starlette()
    app.mount("/", router)
    mount_agent_gateway(app, Echo)
    router.routes.insert(0, Route("/health", own))
    async with client(app) as http:
        assert (await http.get("/health")).text == OWN
        assert (await http.get("/livez")).json() == {"status": "ok"}


async def test_routes_for_another_host_name_stay_with_that_host(files: Path) -> None:
    app = Starlette(routes=[Host("site.example", Router(catch_all(files))), *catch_all(files)])
    mount_agent_gateway(app, Echo, prefix="/assistant")
    async with client(app) as http:
        there = await http.get("/assistant/health", headers={"host": "site.example"})
        assert there.text == OWN
        here = await http.get("/assistant/health", headers={"host": "chat.example"})
        assert here.json() == {"status": "ok"}


async def test_routes_with_similar_paths_are_not_affected() -> None:
    beside = [WebSocketRoute("/chat/ws/chat{rest}", talking), Mount("/chat/ws/chat", Router())]
    app = Starlette(routes=beside)
    mount_agent_gateway(app, Echo, prefix="/chat")
    async with running(app):
        await check(app, "/chat")
        async with connect(app, "/chat/ws/chats") as one:
            assert await one.line.receive() == OWN


TAKEN: dict[str, list[BaseRoute]] = {
    "a WebSocket": [WebSocketRoute("/chat/ws/chat", talking)],
    "one of a parameter": [WebSocketRoute("/chat/ws/chat{rest:path}", talking)],
    "a WebSocket in a mount": [Mount("/chat", routes=[WebSocketRoute("/ws/chat", talking)])],
    "another gateway": [],
    "another gateway before a catch-all route": [Mount("/", Router())],
}


@pytest.mark.parametrize("kind", TAKEN)
def test_mounting_where_the_websocket_path_is_taken_raises_value_error(kind: str) -> None:
    app = Starlette(routes=TAKEN[kind])
    if kind.startswith("another gateway"):
        mount_agent_gateway(app, Echo, prefix="/chat")
    before = list(app.routes)
    with pytest.raises(
        ValueError, match=r"matches the gateway's WebSocket path '/chat/ws/chat'.*prefix"
    ):
        mount_agent_gateway(app, Echo, prefix="/chat")
    assert app.routes == before


async def test_a_gateway_can_be_mounted_on_another_gateway() -> None:
    first = mount_agent_gateway(Starlette(routes=[Route("/own", own)]), Echo, prefix="/a")
    with pytest.raises(ValueError, match=r"matches the gateway's WebSocket path '/a/ws/chat'"):
        mount_agent_gateway(first, Echo, prefix="/a")
    second = mount_agent_gateway(first, Echo, prefix="/b")
    async with running(second):
        assert first.started and second.started
        for prefix in ("/a", "/b"):
            await check(second, prefix)
        assert (await client(second).get("/own")).text == OWN


async def test_several_gateways_may_be_mounted_with_different_prefixes(files: Path) -> None:
    app = Starlette(routes=spa(files))
    for prefix in ("", "/sales", "/t/{tenant}"):
        mount_agent_gateway(app, Echo, prefix=prefix)
    async with running(app):
        for prefix in ("", "/sales", "/t/acme"):
            await check(app, prefix)


@pytest.mark.parametrize("host", [spa, lambda files: []], ids=["spa", "nothing"])
def test_the_routes_of_an_app_with_a_gateway_can_be_listed(
    host: Callable[[Path], list[BaseRoute]], files: Path
) -> None:
    """As debug pages, metrics and limits of many hosts do."""
    app = FastAPI()
    app.router.routes.extend(host(files))
    mount_agent_gateway(app, Echo, prefix="/assistant")
    listed: list[Any] = app.routes
    paths = [route.path for route in listed]
    assert {"/assistant/ws/chat", "/assistant/sessions/{id}"} <= set(paths)
    endpoints = [route.endpoint for route in listed if route.name == "agentws"]
    assert {endpoint.__name__ for endpoint in endpoints} == {"agentws"}


def test_route_names_still_resolve_after_the_mount(files: Path) -> None:
    app = Starlette(routes=[Route("/own", own, name="own"), *spa(files)])
    mount_agent_gateway(app, Echo, prefix="/assistant")
    assert app.url_path_for("own") == "/own"
    assert str(app.url_path_for("agentws")).startswith("/assistant")
