"""``agentws chat`` with a broken proxy: one line, which names the setting it comes from."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from .conftest import Command, Server

AWAY = "http://agent.example/"


@pytest.fixture
def rude() -> Iterator[str]:
    """A server that closes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                accepted.recv(65536)
                accepted.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("variable", "value", "mode"),
    [
        ("HTTP_PROXY", "http://{nobody}", ()),
        ("http_proxy", "{nobody}", ("--json",)),
        ("ALL_PROXY", "socks5://{nobody}", ()),
        ("HTTPS_PROXY", "nonsense://{nobody}", ()),
        ("HTTPS_PROXY", "http://[::1", ("--json",)),
        ("HTTP_PROXY", "http://{rude}", ()),
    ],
)
def test_a_broken_proxy_is_reported_in_one_line_that_names_it(
    forked_command: Command, rude: str, variable: str, value: str, mode: tuple[str, ...]
) -> None:
    given = value.format(nobody="127.0.0.1:9", rude=rude)
    done = forked_command("chat", AWAY, *mode, input="hi", **{variable: given})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"proxy from {variable}" in done.stderr and "NO_PROXY" in done.stderr


def test_a_server_on_this_machine_is_reached_without_a_proxy(
    serve: Callable[..., Server], forked_command: Command
) -> None:
    server = serve("run", "agents:Echo")
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    assert forked_command("chat", server.url, input="hi", **proxies).stdout == "hi \n"
    for way in (("--proxy", "http://127.0.0.1:9"), ("--proxy=127.0.0.1:9",)):
        done = forked_command("chat", server.url, *way, input="hi")
        assert done.returncode == 1 and "proxy given (127.0.0.1:9)" in done.stderr
    done = forked_command("chat", server.url, input="hi", AGENTWS_PROXY="none", **proxies)
    assert done.stdout == "hi \n"
    done = forked_command("chat", AWAY, "--proxy", "none", input="hi", **proxies)
    assert done.returncode == 1 and "proxy" not in done.stderr


@pytest.mark.parametrize("path", ["", "/", "/ws/chat"])
def test_the_address_may_lack_its_trailing_slash(
    serve: Callable[..., Server], forked_command: Command, path: str
) -> None:
    server = serve("run", "agents:Echo", "--prefix", "/assistant", kind=Prefixed)
    url = f"{server.url.removesuffix('/')}{path}"
    for address in (url, url.removeprefix("http://"), url.replace("http", "ws")):
        assert forked_command("chat", address, input="hi").stdout == "hi \n"


class Prefixed(Server):
    path = "assistant/"


@pytest.mark.parametrize(
    "arguments",
    [
        (b"ws://h\xff/",),
        (b"ws://127.0.0.1:9/", b"--session", b"\xff" * 20),
        (b"ws://127.0.0.1:9/", b"--agent", b"\xff"),
        (b"ws://127.0.0.1:9/", b"--token", b"\xff"),
        (b"ws://a..b/",),
    ],
)
def test_arguments_with_invalid_characters_are_reported_in_one_line(
    command: Command, arguments: tuple[bytes, ...]
) -> None:
    done = command("chat", *arguments, input="hi")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
