"""``agentws run --workers N``: several processes on one port and one store, each a node."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from agentws.client import Chat, connect
from agentws.protocol.frames import Notice
from tests.processes import wait_until

from .conftest import Server, Terminal

Serve = Callable[..., Server]
Command = Callable[..., subprocess.CompletedProcess[str]]
TWO = ("--workers", "2", "--store", "sqlite:chat.db")

NODES = """
import asyncio, os
from starlette.applications import Starlette
from agentws import Agent, Command, Limits, SQLiteStore, mount_agent_gateway


async def where(ctx, args):
    return str(os.getpid())


class Node(Agent):
    def commands(self):
        return [Command("where", "The process that serves this connection", where)]

    async def run(self, ctx):
        if ctx.text == "slow":
            yield "slow "
            await asyncio.sleep(1)
        yield str(os.getpid())


app = Starlette()
gateway = mount_agent_gateway(
    app, Node, store=SQLiteStore("chat.db"), limits=Limits(lease_ttl=3.0, drain_timeout=20.0)
)
alone = mount_agent_gateway(Starlette(), Node)


async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "as ordered"})
"""


@pytest.fixture(autouse=True)
def nodes(folder: Path) -> None:
    (folder / "nodes.py").write_text(NODES)


def chat_with(server: Server) -> Chat:
    return connect(f"{server.url}ws/chat", connect_timeout=20)


def processes_of(server: Server | Terminal) -> set[int]:
    """The living processes of the server: it leads a process group."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if entry.name.isdecimal() and state != "Z" and int(group) == server.process.pid:
                found.add(int(entry.name))
    return found


@asynccontextmanager
async def on_every_worker(server: Server, count: int) -> AsyncIterator[dict[int, Chat]]:
    """Chats by the process that serves them, one for each of ``count`` workers.

    A command is answered by the worker that it was sent to; a message may be answered by any.
    """
    deadline = time.monotonic() + 30
    async with AsyncExitStack() as opened:
        chats: dict[int, Chat] = {}
        while len(chats) < count:
            assert time.monotonic() < deadline, f"only {list(chats)} serve: {server.output}"
            chat = await opened.enter_async_context(chat_with(server))
            chats[int(await chat.ask("/where"))] = chat
        yield chats


async def test_all_workers_serve_one_port_and_are_announced_once(serve: Serve) -> None:
    server = serve("run", "nodes:Node", *TWO)
    async with on_every_worker(server, 2) as chats:
        assert server.process.pid not in chats
    assert server.output.count("agentws serves") == 1
    assert "workers    2 processes" in server.output
    assert server.interrupt() == 0
    assert "Traceback" not in server.output


async def test_the_number_of_workers_may_come_from_the_environment(serve: Serve) -> None:
    env = {"AGENTWS_WORKERS": "2", "AGENTWS_STORE": "sqlite:chat.db"}
    async with on_every_worker(serve("run", "nodes:Node", **env), 2):
        pass


async def test_one_worker_serves_in_the_process_of_the_command(serve: Serve) -> None:
    server = serve("run", "nodes:Node", "--workers", "1")
    async with chat_with(server) as chat:
        assert await chat.ask("which") == str(server.process.pid)
    assert "workers" not in server.output
    assert server.stop() == -signal.SIGTERM


async def test_a_killed_worker_is_replaced_and_its_session_continues(serve: Serve) -> None:
    server = serve("run", "nodes:app", "--workers", "2")
    async with on_every_worker(server, 2) as chats:
        killed, survivor = chats
        os.kill(killed, signal.SIGKILL)
        # The run waits for the lease of the killed node to expire.
        assert int(await chats[killed].ask("which")) != killed
        assert int(await chats[survivor].ask("/where")) == survivor
    async with on_every_worker(server, 2) as after:
        assert killed not in after and survivor in after
    assert f"Worker [{killed}] ended unexpectedly (SIGKILL)" in server.output


async def test_a_shutdown_drains_every_worker_and_leaves_no_process(serve: Serve) -> None:
    server = serve("run", "nodes:app", "--workers", "2")
    async with on_every_worker(server, 2) as chats:
        sessions = [chat.session for chat in chats.values()]
        turns = [chat.send("slow") for chat in chats.values()]
        for turn in turns:
            async for _ in turn:
                break
        assert len(processes_of(server)) > 2
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.process.wait, 30)
        assert server.process.returncode == -signal.SIGTERM
    wait_until(lambda: not processes_of(server), lambda: str(processes_of(server)))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    assert "Traceback" not in server.output
    # The runs had the time of the drain to finish.
    server.start()
    for session in sessions:
        async with connect(f"{server.url}ws/chat", session=session) as chat:
            assert any(f"slow {pid}" in str(chat.messages[-1]) for pid in chats)


async def test_workers_stop_when_their_supervisor_is_killed(serve: Serve) -> None:
    server = serve("run", "nodes:app", "--workers", "2")
    async with on_every_worker(server, 2):
        server.process.kill()
    wait_until(lambda: not processes_of(server), lambda: str(processes_of(server)))


async def test_a_hangup_replaces_the_workers_one_by_one(serve: Serve) -> None:
    server = serve("run", "nodes:app", "--workers", "2")
    async with on_every_worker(server, 2) as before:
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not processes_of(server) & set(before), lambda: server.output)
        async with on_every_worker(server, 2) as after:
            assert not set(before) & set(after)
        for chat in before.values():
            assert int(await chat.ask("which")) in after
    assert "Traceback" not in server.output and "ended unexpectedly" not in server.output


async def test_a_broadcast_reaches_the_clients_of_every_worker(serve: Serve) -> None:
    server = serve("run", "nodes:Node", *TWO, "--admin-key", "admin")
    async with on_every_worker(server, 2) as chats:
        watched = [chat.watch() for chat in chats.values()]
        await asyncio.to_thread(server.broadcast, "hello everybody", key="admin")
        async with asyncio.timeout(10):
            for updates in watched:
                async for update in updates:
                    if isinstance(update, Notice) and update.content == "hello everybody":
                        break


def test_ctrl_c_during_the_start_ends_all_workers_without_a_traceback(
    terminal: Callable[..., Terminal], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal sends SIGINT to all processes, also to those that still import their modules."""
    monkeypatch.chdir(folder)
    screen = terminal("run", "nodes:app", "--workers", "2", "--port", "0")
    screen.see("stop       Ctrl-C")
    wait_until(lambda: len(processes_of(screen)) > 1, lambda: screen.shown)
    screen.type("\x03")
    assert screen.wait() == 0
    assert "Traceback" not in screen.rest()


async def test_a_log_line_names_its_worker(serve: Serve, folder: Path) -> None:
    (folder / "chatty.py").write_text(
        "import logging, os\n"
        "async def agent(ctx):\n"
        "    logging.getLogger('agentws').warning('as ordered')\n"
        "    yield str(os.getpid())\n"
    )
    server = serve("run", "chatty:agent", *TWO)
    async with chat_with(server) as chat:
        pid = await chat.ask("which")
    assert f"[{pid}] as ordered" in server.output


def test_workers_that_can_not_start_end_the_server_with_its_exit_code(command: Command) -> None:
    done = command("run", "nodes:failing", "--workers", "2", "--port", "0")
    assert done.returncode == 3
    assert done.stderr.count("before it served; stopping") == 1


def test_a_port_in_use_is_reported_once(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = command("run", "nodes:app", "--workers", "2", "--port", str(port))
    assert done.returncode == 3
    assert done.stderr.count("can't listen on") == 1 and "Traceback" not in done.stderr


def test_workers_need_a_store_that_processes_share(command: Command) -> None:
    for arguments in (["demo"], ["run", "nodes:Node"], ["run", "nodes:alone"]):
        done = command(*arguments, "--workers", "2")
        assert done.returncode == 2
        assert "--workers 2 needs a store that its processes share" in done.stderr
        assert "sqlite" in done.stderr.lower() and "Traceback" not in done.stderr
