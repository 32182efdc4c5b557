"""Which hosts a server answers for, and which may be allowed."""

from __future__ import annotations

from typing import Any

import pytest

from agentws.errors import Misdirected
from agentws.testing.agents import Script
from agentws.testing.connect import Refused
from agentws.transports.guard import Guard

from .conftest import Make
from .scopes import scope_of

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
