"""Proxies from arguments and the environment: used, bypassed, or refused with a clear message."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from agentws import RunContext, mount_agent_gateway
from agentws.client import BadProxy, Disconnected, connect
from agentws.client.proxies import is_loopback, proxy_for

from .serving import Proxy, enter, give_up, listening, plain, proxying, unused_address

VARIABLES = ("ws", "wss", "socks", "http", "https", "all", "no")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.lower() in {f"{one}_proxy" for one in VARIABLES}:
            monkeypatch.delenv(name)


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


def gateway() -> Starlette:
    app = Starlette()
    mount_agent_gateway(app, echo, allowed_hosts=["agent.example", "localhost", "127.0.0.1"])
    return app


@pytest.mark.parametrize("given", ["http://{}", "http://{}/", "{}", "//{}", "http://ann@{}"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "https_proxy", "ALL_PROXY", "ws_proxy"])
async def test_a_proxy_from_a_variable_is_used(
    monkeypatch: pytest.MonkeyPatch, variable: str, given: str
) -> None:
    async with listening(plain(gateway())) as server:
        proxy = Proxy(server)
        async with proxying(proxy) as address:
            monkeypatch.setenv(variable, given.format(address))
            async with connect("http://agent.example/") as chat:
                assert await chat.ask("hi") == "hi"
    assert proxy.request_lines == ["CONNECT agent.example:80 HTTP/1.1"]
    assert ("Proxy-Authorization: Basic YW5uOg==" in proxy.heads[0]) is ("ann" in given)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_on_this_machine_is_reached_without_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    async with listening(plain(gateway())) as server:
        proxy = Proxy(server)
        url = f"ws://{host}:{server.rpartition(':')[2]}/ws/chat"
        async with proxying(proxy) as address:
            for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(variable, f"http://{address}")
            async with connect(url) as chat:
                assert await chat.ask("hi") == "hi"
            assert proxy.request_lines == []
            async with connect(url, proxy=f"http://{address}") as chat:
                assert await chat.ask("hi") == "hi"
            assert len(proxy.request_lines) == 1


async def test_proxy_none_and_no_proxy_bypass_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert proxy_for("wss://agent.example/", None) is None
    assert proxy_for("wss://agent.example/", True) is not None
    for names in ("agent.example", ".example", "other, AGENT.example:443", "*"):
        monkeypatch.setenv("NO_PROXY", names)
        assert proxy_for("wss://agent.example:443/", True) is None
    monkeypatch.setenv("NO_PROXY", "other.example, *.example.com, agent.example:80, example")
    assert proxy_for("wss://agent.examples/", True) is not None
    monkeypatch.setenv("NO_PROXY", "other.example")
    assert proxy_for("wss://agent.example/", True) is not None


@pytest.mark.parametrize(
    ("entries", "host", "expected"),
    [
        ("*.example", "agent.example", True),
        ("other *.EXAMPLE", "a.agent.example", True),
        ("*.example", "example", False),
        ("*.example", "agent.example.com", False),
        ("agent.example:80", "agent.example", True),
        ("other agent.example", "agent.example", True),
        ("other\n.example\tthird", "agent.example", True),
        ("other *", "agent.example", True),
        ("other agent.example:81", "agent.example", False),
        ("other [fd00::1]:80", "[fd00::1]", True),
        ("agent.example.", "agent.example", True),
        ("other example.", "agent.example.", True),
        ("other .", "agent.example", False),
        ("agent.example:81", "agent.example", False),
        ("10.0.0.0/8,192.168.0.0/16", "192.168.7.1", True),
        ("10.0.0.7/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "10.example", False),
        ("fd00::/8", "[fd00::1]", True),
        ("fd00::/8", "10.0.0.1", False),
        ("fd00::1", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("", "agent.example", False),
        (",, /8", "10.0.0.1", False),
    ],
)
def test_no_proxy_may_name_networks_and_wildcards(
    monkeypatch: pytest.MonkeyPatch, entries: str, host: str, expected: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", entries)
    assert (proxy_for(f"ws://{host}/", True) is None) is expected


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h", "http", "https"])
def test_a_proxy_without_a_port_gets_the_default_port_of_its_scheme(scheme: str) -> None:
    port = {"http": 80, "https": 443}.get(scheme, 1080)
    for given in (f"{scheme}://proxy.example", f"{scheme}://proxy.example:"):
        found = proxy_for("ws://agent.example/", given)
        assert found is not None and found.url == f"{scheme}://proxy.example:{port}"


def test_a_blank_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WS_PROXY", " ")
    assert proxy_for("ws://agent.example/", True) is None
    monkeypatch.setenv("HTTP_PROXY", " proxy.example:3128 ")
    found = proxy_for("ws://agent.example/", True)
    assert found is not None and "HTTP_PROXY (proxy.example:3128)" in found.name


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("localhost", "LOCALHOST", "localhost.", "app.localhost")),
        *((host, True) for host in ("localhost.localdomain", "ip6-localhost", "IP6-loopback")),
        *((host, True) for host in ("127.0.0.1", "127.8.9.10", "127.1", "0.0.0.0")),
        *((host, True) for host in ("::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::")),
        *((host, False) for host in ("example.com", "localhost.example.com", "127.example.com")),
        *((host, False) for host in ("10.0.0.1", "fe80::1", "notlocalhost", "", "münchen.example")),
    ],
)
def test_names_and_addresses_of_this_machine_are_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_variables_have_the_documented_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable in a list has precedence over those before it."""
    orders = {
        "ws": ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "SOCKS_PROXY", "WS_PROXY"),
        "wss": ("ALL_PROXY", "HTTPS_PROXY", "SOCKS_PROXY", "WSS_PROXY"),
    }
    for scheme, names in orders.items():
        with monkeypatch.context() as patch:
            for name in names:
                patch.setenv(name, f"http://{name.lower().replace('_', '-')}:3128")
                found = proxy_for(f"{scheme}://agent.example/", True)
                assert found is not None and name in found.name, name
                assert found.url.startswith("socks5h://" if name == "SOCKS_PROXY" else "http://")


MALFORMED = ["http://", "http://:3128", "http://host:port", "http://host:99999", "http://[::1"]
MALFORMED += [
    "ftp://host:21",
    "file:///x",
    "://",
    "http://host:0",
    "http://a..b:1",
    "http://%ff:x@h",
]
MALFORMED += ["http://user:secret@:80", ":::", "http://host:-1", "htt p://h"]
MALFORMED += ["http:/host:3128", "unix:/tmp/proxy", "socks5:/host"]


@pytest.mark.parametrize("value", MALFORMED)
async def test_the_error_for_a_malformed_proxy_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("Https_Proxy", value)
    with pytest.raises(BadProxy) as refused:
        await enter(connect("wss://agent.example/"))
    said = str(refused.value)
    assert "Https_Proxy" in said and "add agent.example to NO_PROXY" in said
    assert "secret" not in said and not refused.value.retryable
    with pytest.raises(BadProxy, match="proxy given"):
        await enter(connect("ws://127.0.0.1/", proxy=value))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "socks", "SOCKS5"])
async def test_the_error_for_a_failing_socks_proxy_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """BadProxy without the package for SOCKS; with it, Disconnected: no proxy listens."""
    with unused_address() as address:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:secret@{address}")
        with pytest.raises((BadProxy, Disconnected)) as failed:
            await give_up(connect("ws://agent.example/"))
    said = str(failed.value)
    assert f"ALL_PROXY ({address})" in said and "NO_PROXY" in said and "secret" not in said


@pytest.mark.parametrize("given", ["http://{}", "{}", "https://{}", "http://user:secret@{}"])
async def test_an_unreachable_proxy_is_named_and_retried(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    with unused_address() as address:
        monkeypatch.setenv("HTTP_PROXY", given.format(address))
        with pytest.raises(Disconnected) as failed:
            await give_up(connect("ws://agent.example/"))
    said = str(failed.value)
    assert f"HTTP_PROXY ({address}) can't be reached" in said and "NO_PROXY" in said
    assert "secret" not in said and failed.value.retryable


async def test_a_silent_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio import Event, StreamReader, StreamWriter, start_server

    over = Event()

    async def silent(reader: StreamReader, writer: StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{port}")
        with pytest.raises(Disconnected, match=f"HTTP_PROXY .*{port}.* NO_PROXY"):
            await enter(connect("ws://agent.example/", connect_timeout=0.3))
        over.set()


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", BadProxy, "407"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", BadProxy, "403"),
        (b"SSH-2.0-OpenSSH\r\n", BadProxy, "does not answer like a proxy"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Disconnected, "502"),
        (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", Disconnected, "504"),
    ],
)
async def test_a_refusal_of_the_proxy_is_reported_and_retried_if_transient(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, kind: type[Exception], said: str
) -> None:
    proxy = Proxy("", answer)
    async with proxying(proxy) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
        with pytest.raises(kind, match=said) as failed:
            await give_up(connect("wss://agent.example/"), attempts=2)
    assert "HTTPS_PROXY" in str(failed.value) and "NO_PROXY" in str(failed.value)
    assert (len(proxy.request_lines) > 1) is (kind is Disconnected)
