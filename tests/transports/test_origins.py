"""Which origins may open a WebSocket, and which may be allowed."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.errors import Forbidden
from agentws.testing.agents import Script
from agentws.testing.connect import Refused
from agentws.transports.cors import cors_headers
from agentws.transports.guard import Guard

from .conftest import Make
from .scopes import scope_of

ORIGINS: dict[str, bool] = {
    "http://testserver": True,
    "https://testserver": True,
    "http://TESTSERVER": True,
    "http://testserver:80": True,
    "https://app.example": True,
    "https://app.example/": True,
    "https://APP.example": True,
    "http://app.example": False,
    "https://app.example:8443": False,
    "https://app.example.evil.tld": False,
    "https://evilapp.example": False,
    "https://sub.app.example": False,
    "null": False,
    "": False,
    "file://": False,
    "http://testserver@evil.tld": False,
    "http://evil.tld#testserver": False,
    "http://testserver:99999": False,
    "http://[x": False,
    "http://testserver:x": False,
    "javascript:alert(1)": False,
}


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS.items(), ids=list(ORIGINS))
async def test_a_handshake_is_refused_unless_its_origin_is_allowed(
    make: Make, origin: str, allowed: bool
) -> None:
    async with make(Script("fine"), allowed_origins=["https://app.example"]) as world:
        if allowed:
            client = await world.client(headers={"origin": origin})
            assert (await client.receive())["type"] == "welcome"
        else:
            with pytest.raises(Refused) as refused:
                await world.client(headers={"origin": origin})
            assert refused.value.status == 403


@pytest.mark.parametrize(("scheme", "allowed"), [("https", True), ("http", False)])
@pytest.mark.parametrize("port", ["", ":443"])
def test_an_http_page_is_not_the_same_origin_as_an_https_gateway(
    scheme: str, allowed: bool, port: str
) -> None:
    """The server knows its own TLS. Behind a proxy that terminates TLS, it accepts both schemes."""
    guard = Guard(allowed_origins=None, allowed_hosts=None)
    origin = f"{scheme}://chat.example".encode()
    headers = [(b"host", f"chat.example{port}".encode()), (b"origin", origin)]
    for own in ("wss", "https"):
        scope = {"type": "websocket", "scheme": own, "headers": headers}
        with nullcontext() if allowed else pytest.raises(Forbidden):
            guard.check(scope)


@pytest.mark.parametrize("option", ["allowed_origins", "allowed_hosts"])
def test_one_string_in_place_of_a_list_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match="expected a list"):
        mount_agent_gateway(Starlette(), Script(), **{option: "https://*.example.com"})  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["allowed_origins", "allowed_hosts"])
@pytest.mark.parametrize("given", [1, True, b"chat.example", b""])
def test_a_value_that_is_not_a_list_is_named_in_the_error(option: str, given: Any) -> None:
    options = {"allowed_origins": None, "allowed_hosts": None, option: given}
    with pytest.raises(TypeError, match=f"{option} is .*; expected a list of strings"):
        Guard(**options)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "Null",
        "app.example",
        "//app.example",
        "https://",
        "https://*.example.com",
        "https://app.example/path",
        "https://app.example?x",
        "https://me@app.example",
        "https://app.example:x",
        "https://[x",
        "https://app.example//",
        "https://app.example:0",
        "https://app..example",
        "https://app example",
        " https://app.example",
        "https://-app.example",
        "https://1.2.3.999",
        "https://127.1",
        "https://[fe80::1%eth0]",
        "https://a\u2026b.example",
        "wss://app.example",
        "ws://app.example",
        "file:///home/me/page.html",
        "file://host",
        "capacitor://",
        "chrome-extension://*",
        "chrome-extension://abc/page.html",
        "data:text/html,x",
        "about:blank",
        "blob:https://app.example/1",
        "https//app.example",
        "*.example.com",
        "https://app.example, https://b.example",
    ],
)
def test_an_allowed_origin_must_be_a_valid_origin(origin: str) -> None:
    with pytest.raises(ValueError, match="scheme://host"):
        Guard(allowed_origins=[origin], allowed_hosts=None)


SENT_ORIGINS = {
    "https://app.example": "https://app.example",
    "https://app.example/": "https://app.example",
    "https://app.example:443": "https://app.example",
    "http://app.example:80": "http://app.example",
    "https://app.example:": "https://app.example",
    "https://app.example:8443": "https://app.example:8443",
    "http://app.example:443": "http://app.example:443",
    "HTTPS://App.Example": "https://app.example",
    "https://app.example.": "https://app.example",
    "https://bücher.example": "https://xn--bcher-kva.example",
    "https://BÜCHER.example": "https://xn--bcher-kva.example",
    "https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
    "https://straße.example:443": "https://xn--strae-oqa.example",
    "https://例え。テスト": "https://xn--r8jz45g.xn--zckzah",
    "http://localhost:3000": "http://localhost:3000",
    "http://127.0.0.1:3000": "http://127.0.0.1:3000",
    "http://[::1]:3000": "http://[::1]:3000",
    "http://[0:0:0:0:0:0:0:1]:80": "http://[::1]",
    "http://my_service:8080": "http://my_service:8080",
    "null": "null",
    "file://": "file://",
    "file:///": "file://",
    "chrome-extension://abcdefghijklmnop": "chrome-extension://abcdefghijklmnop",
    "chrome-extension://abcdefghijklmnop/": "chrome-extension://abcdefghijklmnop",
    "safari-web-extension://6F9A-B1": "safari-web-extension://6F9A-B1",
    "capacitor://localhost": "capacitor://localhost",
    "tauri://localhost": "tauri://localhost",
    "app://.": "app://.",
}
"""What may be allowed, and what a browser sends for a page of it."""


@pytest.mark.parametrize(("given", "sent"), SENT_ORIGINS.items(), ids=list(SENT_ORIGINS))
def test_an_allowed_origin_matches_the_header_that_browsers_send(given: str, sent: str) -> None:
    guard = Guard(allowed_origins=[given], allowed_hosts=None)
    assert guard.names(sent) and not guard.any_origin
    guard.check(scope_of("chat.example", sent))
    others = {
        "https://evil.example",
        f"{sent}.evil",
        f"{sent}:1",
        f"x{sent}",
        *SENT_ORIGINS.values(),
    }
    for other in others - {sent}:
        with pytest.raises(Forbidden):
            guard.check(scope_of("chat.example", other))


def test_a_star_allows_every_origin() -> None:
    guard = Guard(allowed_origins=["*"], allowed_hosts=None)
    for origin in ("https://anywhere.example", "null", "file://", "rubbish"):
        guard.check(scope_of("chat.example", origin))
        assert not guard.trusts(origin)


def test_only_origins_that_are_named_may_send_credentials() -> None:
    guard = Guard(allowed_origins=["null", "https://app.example:443"], allowed_hosts=None)
    assert guard.trusts("https://app.example") and not guard.trusts("null")
    (allowed, exposed) = cors_headers(guard, scope_of("chat.example", "null"))
    assert allowed == (b"access-control-allow-origin", b"*") and b"expose" in exposed[0]


async def test_a_forbidden_origin_learns_nothing_about_sessions(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        evil = {"origin": "https://evil.example"}
        bodies = []
        for session in (client.session, "unknown-session-id"):
            with pytest.raises(Refused) as refused:
                await world.client(f"session={session}", headers=evil)
            bodies.append(refused.value.body)
        assert bodies[0] == bodies[1]


async def test_a_star_lets_a_page_of_any_origin_connect(make: Make) -> None:
    async with make(Script("fine"), allowed_origins=["*"]) as world:
        client = await world.client(headers={"origin": "https://anywhere.example"})
        assert (await client.receive())["type"] == "welcome"
