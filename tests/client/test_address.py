"""From the URL of a gateway to its endpoint: candidates, aliases, redirects, invalid URLs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import RunContext, mount_agent_gateway
from agentws.client import Opening, Refused, connect
from agentws.client.address import addresses, redact, redirect_target
from agentws.errors import AgentwsError, BadRequest, Forbidden

from .serving import enter, give_up, listening, plain, unused_address

NOTHING = Opening()


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


def gateway(prefix: str = "/assistant") -> Starlette:
    app = Starlette()
    mount_agent_gateway(app, echo, prefix=prefix)
    return app


class Host:
    """A server with a gateway at ``/assistant``, and with aliases and redirects of paths."""

    def __init__(
        self, *, paths: dict[str, str] | None = None, places: dict[str, str] | None = None
    ) -> None:
        """``paths`` maps aliases to paths, ``places`` maps paths to the targets of redirects."""
        self._app = gateway()
        self._paths = paths or {}
        self.places = places or {}
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return await self._app(scope, receive, send)
        path = scope["path"]
        self.asked.append(path)
        if path in self.places:
            await _redirect(self.places[path], send)
        else:
            await self._app(scope | {"path": self._paths.get(path, path)}, receive, send)


async def _redirect(place: str, send: Any) -> None:
    headers = [(b"location", place.encode())]
    await send({"type": "websocket.http.response.start", "status": 307, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize(
    "path",
    [
        *("/assistant", "/assistant/", "/assistant//", "/assistant/ws/chat", "/assistant/ws/chat/"),
        *("/assistant?theme=dark", "/assistant/?theme=dark#end", "/assistant/ws/chat?theme=dark"),
    ],
)
async def test_a_gateway_is_found_by_its_page_and_by_its_endpoint(scheme: str, path: str) -> None:
    host = Host()
    async with listening(plain(host)) as server, connect(f"{scheme}://{server}{path}") as chat:
        assert await chat.ask("hi") == "hi"
    assert host.asked == ["/assistant/ws/chat"]


@pytest.mark.parametrize("user", ["ann@", "@", "ann:@", ":pw@", "ann:p%40w@", "é@"])
async def test_a_gateway_is_found_with_credentials_of_any_form(user: str) -> None:
    async with listening(plain(gateway())) as server:
        async with connect(f"http://{user}{server}/assistant") as chat:
            assert await chat.ask("hi") == "hi"


@pytest.mark.parametrize("path", ["/my assistant/", "/my%20assistant", "/my assistant/ws/chat"])
async def test_a_gateway_at_a_path_with_a_space_is_found(path: str) -> None:
    host = Host(paths={"/my assistant/ws/chat": "/assistant/ws/chat"})
    async with listening(plain(host)) as server, connect(f"http://{server}{path}") as chat:
        assert await chat.ask("hi") == "hi"


@pytest.mark.parametrize("path", ["", "/", "/ws/chat"])
async def test_a_gateway_without_a_prefix_is_found(path: str) -> None:
    async with (
        listening(plain(gateway(prefix=""))) as server,
        connect(f"http://{server}{path}") as chat,
    ):
        assert await chat.ask("hi") == "hi"


@pytest.mark.parametrize("path", ["/agent-socket", "/agent-socket/", "/"])
async def test_an_endpoint_at_another_path_is_found(path: str) -> None:
    """As behind a proxy that changes paths."""
    host = Host(paths={path: "/assistant/ws/chat"})
    async with listening(plain(host)) as server, connect(f"ws://{server}{path}") as chat:
        assert await chat.ask("hi") == "hi"
    assert host.asked == [f"{path.rstrip('/')}/ws/chat", path]


@pytest.mark.parametrize("place", ["/assistant/", "/assistant", "assistant/", "{host}/assistant/"])
async def test_a_redirect_to_the_gateway_of_the_same_server_is_followed(place: str) -> None:
    """The new address gets the same query."""
    host = Host()
    async with listening(plain(host)) as server:
        host.places = {"/chat": place.format(host=f"http://{server}")}
        async with connect(f"http://{server}/chat", session="my-own-session-id") as chat:
            assert chat.session == "my-own-session-id"
            assert await chat.ask("hi") == "hi"
    assert host.asked == ["/chat/ws/chat", "/chat", "/assistant/ws/chat"]


async def test_the_number_of_redirects_that_are_followed_is_bounded() -> None:
    host = Host(places={f"/{n}{end}": f"/{n + 1}" for n in range(99) for end in ("", "/ws/chat")})
    async with listening(plain(host)) as server:
        with pytest.raises(Refused, match="307"):
            await enter(connect(f"http://{server}/0"))
    assert len(host.asked) <= 10
    host = Host(places={"/ws/chat": "/ws/chat", "/": "/"})
    async with listening(plain(host)) as server:
        with pytest.raises(Refused, match="307"):
            await enter(connect(f"http://{server}/"))
    assert host.asked == ["/ws/chat", "/"]


async def test_a_server_without_a_gateway_is_refused_after_both_candidates() -> None:
    host = Host()
    async with listening(plain(host)) as server:
        with pytest.raises(Forbidden, match="path") as refused:
            await enter(connect(f"http://{server}/nowhere"))
    assert host.asked == ["/nowhere/ws/chat", "/nowhere"] and not refused.value.retryable


async def test_an_error_message_shows_neither_password_nor_session() -> None:
    with unused_address() as address:
        url = f"ws://ann:secret@{address}/?session=my-own-session-id"
        with pytest.raises(AgentwsError, match="can't be reached") as failed:
            await give_up(connect(url))
    assert "secret" not in str(failed.value) and "my-own" not in str(failed.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", ["ws://h/ws/chat", "ws://h/"]),
        ("https://h:8443/a/b", ["wss://h:8443/a/b/ws/chat", "wss://h:8443/a/b"]),
        ("wss://h/a/ws/chat?x=1", ["wss://h/a/ws/chat?x=1"]),
        ("ws://h/a/ws/chats", ["ws://h/a/ws/chats/ws/chat", "ws://h/a/ws/chats"]),
        ("http://[::1]:8000/", ["ws://[::1]:8000/ws/chat", "ws://[::1]:8000/"]),
        (" HTTP://h/a \n", ["ws://h/a/ws/chat", "ws://h/a"]),
        ("ws://h/a b/é%20/", ["ws://h/a%20b/%C3%A9%20/ws/chat", "ws://h/a%20b/%C3%A9%20/"]),
        ("ws://ann@h", ["ws://ann:@h/ws/chat", "ws://ann:@h/"]),
        ("ws://@h:8/ws/chat", ["ws://h:8/ws/chat"]),
        ("ws://ann:pw@[::1]:8/ws/chat", ["ws://ann:pw@[::1]:8/ws/chat"]),
    ],
)
def test_the_candidate_addresses_of_a_url(url: str, expected: list[str]) -> None:
    assert addresses(url, NOTHING) == expected


def test_session_and_position_of_the_opening_replace_those_of_the_url() -> None:
    url = "ws://h/ws/chat?session=old&x=%20&after=e.1.0123456789abcdef&x=2"
    opening = Opening(session="new", after="e.2.0123456789abcdef")
    assert addresses(url, opening) == [
        "ws://h/ws/chat?x=+&x=2&session=new&after=e.2.0123456789abcdef"
    ]


@pytest.mark.parametrize(
    "url", ["", "h", "h:8000", "http:h", "http:///a", "ws://h:0/", "ws://h:x/", "ws://\udcff/"]
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="address"):
        addresses(url, NOTHING)


@pytest.mark.parametrize(
    "url",
    ["ws://ann:secret@h:x/a?session=my-own", "ftp://ann:secret@h/#my-own", "ann:secret@h?my-own"],
)
def test_the_error_for_an_invalid_url_shows_no_secrets(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        addresses(url if "//" in url else f"//{url}", NOTHING)
    assert "secret" not in str(refused.value) and "my-own" not in str(refused.value)


@pytest.mark.parametrize("url", ["ws://a..b/", f"ws://{'a' * 64}.example/", "ws://ünn\u200b.."])
async def test_an_impossible_host_name_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="address.*Expected ws://"):
        await enter(connect(url))


@pytest.mark.parametrize("fields", [{"session": "\udcff" * 16}, {"agent": "\ud800"}])
def test_a_session_or_agent_that_is_not_valid_text_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match="text"):
        addresses("ws://h/", Opening(**fields))


async def test_a_token_that_is_not_valid_text_is_refused() -> None:
    with pytest.raises(BadRequest, match="token"):
        await enter(connect("ws://127.0.0.1:1/", token="\udcff"))


@pytest.mark.parametrize(
    ("address", "location", "expected"),
    [
        ("ws://h/ws/chat", "/a/", "ws://h/a/"),
        ("ws://h:80/ws/chat", "http://h/a/?x=1", "ws://h/a/?x=1"),
        ("ws://h/a", "https://h/a/", "wss://h/a/"),
        ("wss://h/a", "https://H:443/a/", "wss://h:443/a/"),
        ("ws://ann:pw@h/a", "/b/", "ws://ann:pw@h/b/"),
        ("ws://ann:pw@h/a", "http://bob@h/b/", "ws://ann:pw@h/b/"),
        ("wss://h/a", "http://h/a/", None),
        ("ws://h:8000/a", "https://h/a/", None),
        ("ws://h/a", "https://h:8443/a/", None),
        ("ws://h/a", "http://other/a/", None),
        ("ws://h/a", "//other/a/", None),
        ("ws://h/a", "http://h@other/a/", None),
        ("ws://h/a", "ftp://h/a/", None),
        ("ws://h/a", "http://h:x/", None),
        ("ws://h/a", "http://[", None),
    ],
)
def test_only_redirects_within_the_same_server_are_followed(
    address: str, location: str, expected: str | None
) -> None:
    found = redirect_target(address, location)
    assert (found and found.lower()) == expected


def test_a_redacted_address_has_no_credentials_and_no_query() -> None:
    assert redact("https://ann:pw@h:1/a?session=s#f") == "wss://h:1/a"
