"""Which origins and hosts a gateway serves: over WebSocket, and the rules for each value."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.errors import Forbidden, Misdirected
from agentws.testing.agents import Script
from agentws.testing.connect import Refused
from agentws.transports.cors import cors_headers
from agentws.transports.guard import Guard

from .conftest import Make

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


def scope_of(host: str, origin: str | None = None, **more: Any) -> dict[str, Any]:
    headers = [(b"host", host.encode("latin-1"))]
    if origin is not None:
        headers.append((b"origin", origin.encode("latin-1")))
    return {"type": "http", "http_version": "1.1", "scheme": "http", "headers": headers, **more}


HOSTS: dict[str, tuple[list[str], list[str]]] = {
    "chat.example": (
        ["chat.example", "CHAT.example", "chat.example.", "chat.example:1", "chat.example.:443"],
        ["", "example", "x.chat.example", "chat.example.evil", "xchat.example"],
    ),
    "Chat.Example.": (["chat.example", "chat.example:8000"], ["chat.example.evil"]),
    "chat.example:8443": (["chat.example:8443"], ["chat.example", "chat.example:443"]),
    "chat.example:443": (["chat.example", "chat.example:443"], ["chat.example:8443"]),
    "bücher.example": (["xn--bcher-kva.example"], ["b.example"]),
    "*.example.com": (
        ["a.example.com", "a.b.example.com:8000", "A.EXAMPLE.COM."],
        ["example.com", "xexample.com", "a.example.com.evil"],
    ),
    "*.example.com:8000": (["a.example.com:8000"], ["a.example.com", "example.com:8000"]),
    "*": (["anything", "1.2.3.4:5", "[::1]", ""], []),
    "*:8000": (["anything:8000"], ["anything", "anything:80"]),
    "127.0.0.1": (["127.0.0.1", "127.0.0.1:8000"], ["127.0.0.2", "localhost"]),
    "::1": (["[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]"], ["[::2]"]),
    "[::1]": (["[::1]", "[::1]:8000"], ["[::2]"]),
    "[2001:DB8::0:1]:8000": (["[2001:db8::1]:8000"], ["[2001:db8::1]"]),
    "my_service": (["my_service:8080"], ["service"]),
}


@pytest.mark.parametrize("given", HOSTS)
def test_an_allowed_host_matches_the_host_headers_that_clients_send(given: str) -> None:
    guard = Guard(allowed_origins=None, allowed_hosts=[given])
    served, refused = HOSTS[given]
    for host in served:
        guard.check(scope_of(host))
    for host in refused:
        with pytest.raises(Misdirected):
            guard.check(scope_of(host))


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            " ",
            " chat.example",
            "chat.example ",
            "chat example",
            "chat.example/",
            "chat..example",
        ),
        *("https://chat.example", "//chat.example", "chat.example/path", "me@chat.example"),
        *("chat.example:x", "chat.example:0", "chat.example:99999", ".example.com", "*.", "**.com"),
        *("a.*.com", "*example.com", "*.1.2.3.4", "*.*.com", "10.0.0.0/8", "1.2.3.999", "127.1"),
        *("[::1", "[::1]x", "fe80::1%eth0", "-chat.example", "chat.example?", "x" * 64, "a,b"),
    ],
)
def test_an_allowed_host_must_be_a_valid_host(host: str) -> None:
    with pytest.raises(ValueError, match=r"allowed_hosts: .* is not a host; expected a host name"):
        Guard(allowed_origins=None, allowed_hosts=[host])


def test_the_error_for_a_url_among_the_hosts_names_its_host() -> None:
    with pytest.raises(ValueError, match=r"did you mean chat\.example\?"):
        Guard(allowed_origins=None, allowed_hosts=["https://chat.example:8443/path"])


def test_an_empty_list_of_hosts_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Guard(allowed_origins=None, allowed_hosts=[])
    Guard(allowed_origins=[], allowed_hosts=None)


@pytest.mark.parametrize("option", ["allowed_origins", "allowed_hosts"])
@pytest.mark.parametrize("entry", [None, 1, b"chat.example", ["chat.example"]])
def test_allowed_hosts_and_origins_must_be_text(option: str, entry: Any) -> None:
    given = {"allowed_origins": None, "allowed_hosts": None, option: [entry]}
    with pytest.raises(TypeError, match="expected a string"):
        Guard(**given)


LOOPBACK = ["127.0.0.1", "127.0.0.2", "127.255.0.1", "::1", "::ffff:127.0.0.1"]
LOCAL = ["localhost", "LOCALHOST:8000", "localhost.", "app.localhost", "127.0.0.1:1", "127.0.0.2"]
LOCAL += ["[::1]", "[::1]:8000", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]:8000"]


@pytest.mark.parametrize("listening", LOOPBACK)
def test_a_loopback_address_serves_loopback_names_only(listening: str) -> None:
    guard = Guard(allowed_origins=["https://chat.example:443", "file://"], allowed_hosts=None)
    for host in (*LOCAL, "chat.example"):
        guard.check(scope_of(host, server=(listening, 8000)))
    for host in (
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[::2]",
        "127.0.0.1.evil",
        "",
    ):
        with pytest.raises(Misdirected):
            guard.check(scope_of(host, server=(listening, 8000)))


@pytest.mark.parametrize("listening", ["10.0.0.1", "::2", "::ffff:10.0.0.1", "/run/chat.sock"])
def test_other_addresses_serve_every_name(listening: str) -> None:
    guard = Guard(allowed_origins=None, allowed_hosts=None)
    for host in ("evil.example", "localhost", ""):
        guard.check(scope_of(host, server=(listening, None)))


@pytest.mark.parametrize("host", ["localhost ", " localhost", "localhost:8000\t"])
def test_whitespace_around_a_host_header_is_ignored(host: str) -> None:
    guard = Guard(allowed_origins=None, allowed_hosts=["localhost"])
    guard.check(scope_of(host, server=("127.0.0.1", 8000)))


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


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("chat.example", 101),
        ("CHAT.example:8000", 101),
        ("evil.example", 421),
        ("", 421),
        ("[", 400),
        ("evil@chat.example", 400),
        ("chat.example/path", 400),
        ("chat .example", 400),
        (None, 400),
    ],
)
async def test_a_handshake_is_refused_unless_its_host_is_allowed(
    make: Make, host: str | None, status: int
) -> None:
    async with make(Script("fine"), allowed_hosts=["chat.example"]) as world:
        if status == 101:
            assert (await (await world.client(host=host)).receive())["type"] == "welcome"
        else:
            with pytest.raises(Refused) as refused:
                await world.client(host=host)
            assert refused.value.status == status
