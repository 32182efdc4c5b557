"""A server listens on every address of its host, and reports them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from agentws.cli.listening import described, listen
from agentws.cli.problem import Problem
from tests import processes

from .conftest import Server

IPV6 = socket.has_ipv6 and socket.has_dualstack_ipv6()


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        yield [opened.enter_context(one) for one in listen(host, port)]


def is_reached(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=5):
            return True
    except OSError:
        return False


HOSTS: dict[str, tuple[set[str], set[str]]] = {
    "127.0.0.1": ({"127.0.0.1"}, {"127.0.0.2", "::1"}),
    "127.0.0.2": ({"127.0.0.2"}, {"127.0.0.1", "::1"}),
    "0.0.0.0": ({"127.0.0.1", "127.0.0.2"}, {"::1"}),
    "::1": ({"::1"}, {"127.0.0.1"}),
    "[::1]": ({"::1"}, {"127.0.0.1"}),
    "::": ({"127.0.0.1", "::1"}, set()),
    "localhost": ({"127.0.0.1", "::1"}, {"127.0.0.2"}),
    "LOCALHOST": ({"127.0.0.1", "::1"}, {"127.0.0.2"}),
}


@pytest.mark.parametrize("host", HOSTS)
def test_every_address_of_a_host_is_listened_on(host: str) -> None:
    reached, not_reached = HOSTS[host]
    if not IPV6:
        reached = {one for one in reached if ":" not in one}
        if not reached:
            with pytest.raises(Problem):
                listen(host, 0)
            return
    with listening(host) as listeners:
        (port,) = {one.getsockname()[1] for one in listeners}
        assert all(is_reached(address, port) for address in reached)
        assert not any(is_reached(address, port) for address in not_reached)


def test_the_addresses_that_are_listened_on_are_described() -> None:
    with listening("127.0.0.2") as listeners:
        assert described(listeners) == [f"127.0.0.2:{listeners[0].getsockname()[1]}"]
    if IPV6:
        with listening("localhost") as listeners:
            port = listeners[0].getsockname()[1]
            assert described(listeners) == [f"127.0.0.1:{port}", f"[::1]:{port}"]
        with listening("::") as listeners:
            port = listeners[0].getsockname()[1]
            assert described(listeners) == [f"[::]:{port}", f"0.0.0.0:{port}"]


@pytest.mark.parametrize("host", ["::", "[::0]", "0.0.0.0", "localhost"])
def test_a_client_over_ipv4_has_an_ipv4_address(host: str) -> None:
    """Not ``::ffff:127.0.0.1``: settings name a trusted proxy as it is, or by its network."""
    with listening(host) as listeners:
        (over_ipv4,) = [one for one in listeners if one.family == socket.AF_INET]
        over_ipv4.settimeout(5)
        port = over_ipv4.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), over_ipv4.accept()[0] as accepted:
            assert accepted.getpeername()[0] == "127.0.0.1"


def without_ipv6(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    create = socket.create_server

    def refuse(address: Any, *, family: socket.AddressFamily, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "no IPv6 here")
        return create(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", refuse)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_a_machine_without_ipv6_listens_on_ipv4(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    without_ipv6(monkeypatch, number)
    for host, address in (("localhost", "127.0.0.1"), ("::", "0.0.0.0")):
        with listening(host) as listeners:
            assert described(listeners) == [f"{address}:{listeners[0].getsockname()[1]}"]
    with pytest.raises(Problem, match="can't listen on"):
        listen("::1", 0)


def test_a_port_in_use_on_one_address_is_in_use() -> None:
    """Otherwise the address that a browser chooses would decide which server a page reaches."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Problem, match=f"try --port {port + 1}"):
            listen("localhost", port)
        # The failed attempt has left no socket open.
        if IPV6:
            with listening("::1", port) as listeners:
                assert len(listeners) == 1


def test_another_free_port_is_chosen_where_the_first_is_in_use_on_one_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create, tried = socket.create_server, []

    def refuse(address: Any, **options: Any) -> socket.socket:
        tried.append(address)
        if len(tried) == 2:
            raise OSError(errno.EADDRINUSE, "in use")
        return create(address, **options)

    monkeypatch.setattr(socket, "create_server", refuse)
    with listening("localhost") as listeners:
        assert len({one.getsockname()[1] for one in listeners}) == 1
    assert tried[0][1] == tried[2][1] == 0


@pytest.mark.parametrize("host", ["", " ", "no.such.host.invalid", "a..b", "::g", "x" * 300])
def test_an_invalid_host_is_reported_in_one_line(host: str) -> None:
    with pytest.raises(Problem, match="not an address of this machine"):
        listen(host, 0)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_a_loopback_server_is_reached_at_every_address_but_only_by_loopback_names(
    serve: Callable[..., Server], host: str
) -> None:
    class There(Server):
        @property
        def host(self) -> str:
            return f"{host}:{self.port}"

    server = serve("run", "agents:Echo", "--host", host, kind=There)
    assert "WARNING" not in server.output
    addresses = HOSTS[host][0] if IPV6 else {"127.0.0.1"}
    for address in addresses if host == "localhost" else {host}:
        shown = f"[{address}]" if ":" in address else address
        assert processes.is_healthy(f"http://{shown}:{server.port}/health")
        with socket.create_connection((address, server.port), timeout=5) as peer:
            peer.sendall(b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            assert b"421" in peer.recv(100)


def test_what_is_written_to_an_early_client_is_sent_at_once() -> None:
    with listening("localhost") as listeners:
        for one in listeners:
            with socket.create_connection(one.getsockname()[:2]), one.accept()[0] as accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
