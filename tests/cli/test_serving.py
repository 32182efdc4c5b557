"""``agentws run`` and ``demo`` as processes."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentws.cli import main
from agentws.client import ConnectionChange, RunFailed, connect
from agentws.errors import Unauthenticated
from agentws.protocol import events as e
from tests.processes import wait_until

from .conftest import Server

Serve = Callable[..., Server]


def chat_url(server: Server) -> str:
    return f"{server.url}ws/chat"


async def test_an_agent_is_served_at_the_address_of_the_start_up_message(serve: Serve) -> None:
    server = serve("run", "agents:Echo")
    assert server.url in server.output and chat_url(server).replace("http", "ws") in server.output
    assert "WARNING" not in server.output
    async with connect(chat_url(server)) as chat:
        assert await chat.ask("hello there") == "hello there "
    assert server.interrupt() == 0
    assert "Traceback" not in server.output


async def test_every_option_works_as_a_flag_and_as_a_variable(serve: Serve) -> None:
    by_flag = [
        "--prefix", "/api", "--admin-key", "admin", "--api-key", "k1=ann", "--api-key", "k=2=bob",
        "--agent-name", "helper", "--allowed-origin", "https://example.com", "--host", "0.0.0.0",
    ]  # fmt: skip
    by_variable = {
        "AGENTWS_PREFIX": "/api",
        "AGENTWS_ADMIN_KEY": "admin",
        "AGENTWS_API_KEY": "k1=ann, k=2=bob",
        "AGENTWS_AGENT_NAME": "helper",
        "AGENTWS_ALLOWED_ORIGIN": "https://example.com",
        "AGENTWS_HOST": "0.0.0.0",
    }
    for server in (Prefixed(serve, *by_flag), Prefixed(serve, **by_variable)):
        async with connect(server.chat, token="k=2") as chat:
            assert chat.welcome is not None
            assert (chat.welcome.identity, chat.welcome.agent) == ("bob", "helper")
            assert await asyncio.to_thread(server.broadcast, "admin") == 1
        with pytest.raises(Unauthenticated):
            async with connect(server.chat):
                raise AssertionError("came in")
        with pytest.raises(urllib.error.HTTPError):
            server.broadcast("wrong")
        assert "WARNING" not in server.output


SERVICE_LINKS = {
    "AGENTWS_SERVICE_HOST": "10.0.0.11",
    "AGENTWS_SERVICE_PORT": "80",
    "AGENTWS_SERVICE_PORT_HTTP": "80",
    "AGENTWS_PORT": "tcp://10.0.0.11:80",
    "AGENTWS_PORT_80_TCP": "tcp://10.0.0.11:80",
    "AGENTWS_PORT_80_TCP_PROTO": "tcp",
    "AGENTWS_PORT_80_TCP_PORT": "80",
    "AGENTWS_PORT_80_TCP_ADDR": "10.0.0.11",
    "AGENTWS_REDIS_SERVICE_HOST": "10.0.0.12",
    "AGENTWS_REDIS_PORT": "tcp://10.0.0.12:6379",
    "AGENTWS_REDIS_PORT_6379_UDP": "udp://10.0.0.12:6379",
}
"""The variables that Kubernetes sets for Services named ``agentws`` and ``agentws-redis``."""


async def test_the_service_links_of_kubernetes_do_not_keep_the_server_from_starting(
    serve: Serve,
) -> None:
    server = serve("run", "agents:Echo", **SERVICE_LINKS)
    async with connect(chat_url(server)) as chat:
        assert await chat.ask("hi") == "hi "


class Prefixed:
    """A server under ``/api``, with its health check."""

    def __init__(self, serve: Serve, *arguments: str, **env: str) -> None:
        class Under(Server):
            path = "api/"

        self._server = serve("run", "agents:Echo", *arguments, kind=Under, **env)
        self.chat = f"{self._server.url}ws/chat"

    @property
    def output(self) -> str:
        return self._server.output

    def broadcast(self, key: str) -> int:
        request = urllib.request.Request(
            f"{self._server.url}broadcast",
            data=json.dumps({"content": "hello"}).encode(),
            headers={"Content-Type": "application/json", "X-API-Key": key},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
            return int(next(value for value in answer.values() if isinstance(value, int)))


def test_a_reachable_host_without_keys_causes_a_warning(serve: Serve) -> None:
    server = serve("run", "agents:Echo", "--host", "0.0.0.0")
    assert "WARNING" in server.output and "--api-key" in server.output


def test_a_host_that_resolves_to_the_loopback_is_shown_as_its_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine's own name often resolves to the loopback; the gateway would refuse it."""
    monkeypatch.setattr("agentws.cli.serve.Server.run", lambda self, sockets: None)
    for host in ("127.1", "127.0.0.1"):
        main(["demo", "--host", host, "--port", "0"])
        said = capsys.readouterr().err
        assert "page       http://127.0.0.1:" in said
        assert "WARNING" not in said and "listens on" not in said


async def test_an_asgi_app_is_served_unchanged(serve: Serve, folder: Path) -> None:
    (folder / "main.py").write_text(
        "from agents import Echo\n"
        "from starlette.applications import Starlette\n"
        "from agentws import mount_agent_gateway\n"
        "app = Starlette()\n"
        "gateway = mount_agent_gateway(app, Echo)\n"
    )
    for name in ("app", "gateway"):
        # Only the app knows the path of its gateway and who may use it.
        server = serve("run", f"main:{name}", "--host", "0.0.0.0")
        assert f"http://localhost:{server.port}/\n" in server.output
        assert not {"WARNING:", "page", "websocket", "--api-key"} & set(server.output.split())
        async with connect(chat_url(server)) as chat:
            assert await chat.ask("hi") == "hi "


async def test_the_demo_needs_no_key(serve: Serve) -> None:
    server = serve("demo")
    assert "offline" in server.output
    async with connect(chat_url(server)) as chat:
        assert "demo agent" in await chat.ask("demo")
        with pytest.raises(RunFailed):
            await chat.ask("error")


@pytest.mark.timeout(120)
async def test_reload_serves_the_changed_file(serve: Serve, folder: Path) -> None:
    server = serve("run", "agents:Echo", "--reload")
    async with connect(chat_url(server)) as chat:
        assert await chat.ask("hi") == "hi "
    agents = folder / "agents.py"
    changed = agents.read_text().replace('yield word + " "', "yield word.upper()")
    async with asyncio.timeout(90):
        # Saved repeatedly: the first time may be before the reloader watches the file.
        while await answer(server) != "HI":
            agents.write_text(changed)
            await asyncio.sleep(2)
    assert server.interrupt() == 0


async def answer(server: Server) -> str:
    async with connect(chat_url(server), connect_timeout=20) as chat:
        return await chat.ask("hi")


async def test_a_chat_survives_a_server_killed_in_the_middle_of_an_answer(serve: Serve) -> None:
    """The chat reconnects and ends consistent: the answer is marked as interrupted, and its text
    is that of the store."""
    server = serve("run", "agents:Echo", "--store", "sqlite:sessions.db")
    chat = connect(chat_url(server))
    watched = chat.watch()
    async with chat:
        assert await chat.ask("before") == "before "
        turn = chat.send("slow")
        shown = 0
        async for event in turn:
            shown += isinstance(event, e.TextMessageContent)
            if shown == 20:
                break
        server.kill()
        wait_until(lambda: server.process.poll() is not None, lambda: server.output)
        later = chat.send("after")
        await asyncio.to_thread(server.start)
        with pytest.raises(RunFailed) as interrupted:
            await turn.text()
        assert interrupted.value.server_code == "interrupted"
        assert interrupted.value.text.startswith("".join(f"{number} " for number in range(20)))
        assert await later.text() == "after "
        said = chat.messages
        session = chat.session
    states = [update.state async for update in watched if isinstance(update, ConnectionChange)]
    assert "reconnecting" in states
    async with connect(chat_url(server), session=session) as again:
        assert again.messages == said
