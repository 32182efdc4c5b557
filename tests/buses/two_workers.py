"""Two worker processes on one SQLite file, with a viewer of the same session on each.

``python -m tests.buses.two_workers`` measures how much later the viewer on the other worker sees
the pieces of an answer, and what an idle worker costs, with the default bus and without it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from agentws.bench.resources import cpu_seconds
from tests.processes import Server

HERE = Path(__file__).parent
SESSION = "a-session-with-two-viewers"


@contextmanager
def two_workers(
    folder: Path, bus: str = "default", *, poll: float = 1.0
) -> Iterator[tuple[Server, Server]]:
    database = str(folder / "chat.sqlite3")

    def worker(name: str) -> Server:
        arguments = ("worker.py", database, "{port}", bus, str(poll))
        return Server(*arguments, folder=HERE, output_file=folder / name)

    with worker("first.txt") as first, worker("second.txt") as second:
        yield first, second
        for each in (first, second):
            assert each.stop() in (0, -signal.SIGTERM), each.output
            assert "Traceback" not in each.output, each.output


class Seen(NamedTuple):
    """A frame with an event, and when it came."""

    seq: int
    kind: str
    at: float


def viewer(worker: Server) -> connect:
    url = f"ws://{worker.host}/ws/chat?session={SESSION}"
    return connect(url, subprotocols=[Subprotocol("agentws.v1")])


async def frames_until(
    websocket: ClientConnection, last: str
) -> list[tuple[float, dict[str, Any]]]:
    """All frames and their times, through the first one whose event or type is ``last``."""
    frames: list[tuple[float, dict[str, Any]]] = []
    while True:
        message = json.loads(await websocket.recv())
        now = asyncio.get_running_loop().time()
        for frame in message if isinstance(message, list) else [message]:
            frames.append((now, frame))
            if last in (frame.get("type"), frame.get("event", {}).get("type")):
                return frames


async def view(websocket: ClientConnection) -> list[Seen]:
    """The events of one run."""
    return [
        Seen(int(frame["id"].split(".")[1]), frame["event"]["type"], at)
        for at, frame in await frames_until(websocket, "RUN_FINISHED")
        if "event" in frame
    ]


async def one_answer(owner: Server, other: Server) -> tuple[list[Seen], list[Seen]]:
    """What the viewers on the worker that runs the agent and on the other one see of one run."""
    async with viewer(owner) as near, viewer(other) as far:
        await frames_until(near, "welcome")
        await frames_until(far, "welcome")
        await near.send(json.dumps({"type": "send", "id": "m1", "content": "go"}))
        async with asyncio.timeout(30):
            return tuple(await asyncio.gather(view(near), view(far)))  # type: ignore[return-value]


def extra_seconds(near: list[Seen], far: list[Seen]) -> list[float]:
    """For each event: how much later the far viewer had it, alone or merged with later ones."""
    return [
        next(one.at for one in far if one.seq >= event.seq) - event.at
        for event in near
        if event.kind == "TEXT_MESSAGE_CONTENT"
    ]


async def idle_share(workers: tuple[Server, Server], seconds: float) -> float:
    """The share of one core that an idle worker uses."""
    pids = [worker.process.pid for worker in workers]
    before = sum(map(cpu_seconds, pids))
    await asyncio.sleep(seconds)
    return (sum(map(cpu_seconds, pids)) - before) / seconds / len(pids)


async def measure(bus: str, seconds: float) -> str:
    with tempfile.TemporaryDirectory() as folder, two_workers(Path(folder), bus) as workers:
        near, far = await one_answer(*workers)
        extra = extra_seconds(near, far)
        idle = await idle_share(workers, seconds)
    late = statistics.quantiles(extra, n=20)[-1]
    return (
        f"{bus:8} extra latency of {len(extra)} pieces: median {statistics.median(extra) * 1e3:.2f}"
        f" ms, 95 % {late * 1e3:.2f} ms, the end {(far[-1].at - near[-1].at) * 1e3:.2f} ms; "
        f"idle: {idle:.3%} of a core"
    )


async def main() -> None:
    for bus in ("local", "default", "local", "default"):
        print(await measure(bus, seconds=10.0), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
