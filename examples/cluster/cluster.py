"""Two nodes, Redis and a proxy on this machine. `python cluster.py`, then open the page.

Needs redis-server and haproxy, from your distribution or a package manager, and
`pip install "agentws[redis]"`. `--store sqlite:PATH`, or any other store that processes can share,
takes the place of Redis: nothing else changes.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALL = "apt-get install {0}, dnf install {0}, or brew install {0}"


class Stopped(Exception):
    """A part could not be started, or has ended."""


def programs(*needed: str) -> dict[str, str]:
    """The paths of these programs; says what to install if there is none."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
    found = {name: shutil.which(name, path=path) for name in needed}
    missing = [name for name, where in found.items() if where is None]
    if missing:
        packages = " ".join("redis" if name == "redis-server" else name for name in missing)
        raise Stopped(f"{' and '.join(missing)} not found: {INSTALL.format(packages)}")
    return {name: where for name, where in found.items() if where}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(*command: str, env: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until the end of the block, and then ends by SIGTERM, as in a deployment."""
    # A session of its own: Ctrl-C ends this script, which then ends its processes in order.
    running = subprocess.Popen(command, cwd=HERE, env={**os.environ, **env}, start_new_session=True)
    try:
        yield running
    finally:
        running.terminate()
        running.wait()


def wait_for(port: int, path: str | None, running: subprocess.Popen[bytes]) -> None:
    """Returns when the port accepts connections, or the path answers 200."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and running.poll() is None:
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            else:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Stopped(f"{running.args!r} did not start")


class Node:
    """One `agentws run`, which is started again when it ends."""

    def __init__(self, name: str, store: str) -> None:
        self.name = name
        self.port = free_port()
        self._stack = ExitStack()
        self._command = [sys.executable, "-m", "agentws.cli", "run", "agents:Counter"]
        self._command += ["--store", store, "--port", str(self.port)]

    def start(self) -> None:
        self._stack.close()
        running = self._stack.enter_context(process(*self._command, env={"NODE": self.name}))
        wait_for(self.port, "/readyz", running)
        self.running = running
        print(f"node {self.name}     127.0.0.1:{self.port}, process {running.pid}", flush=True)

    def __enter__(self) -> "Node":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


@contextmanager
def redis(program: str, folder: Path) -> Iterator[str]:
    """A Redis that writes what it acknowledges to an append-only file; gives its URL."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"--port": str(port), "--bind": "127.0.0.1", "--dir": str(folder), "--save": ""}
    settings |= {"--appendonly": "yes", "--maxmemory-policy": "noeviction"}
    settings |= {"--loglevel": "warning"}
    with process(program, *(part for pair in settings.items() for part in pair)) as running:
        wait_for(port, None, running)
        print(f"redis      127.0.0.1:{port}, data in {folder}", flush=True)
        yield f"redis://127.0.0.1:{port}/0"


def run(store: str | None, port: int, data: Path) -> None:
    """Returns never: it raises Stopped, or KeyboardInterrupt."""
    found = programs("haproxy", *(["redis-server"] if store is None else []))
    with ExitStack() as opened:
        if store is None:
            store = opened.enter_context(redis(found["redis-server"], data))
        nodes = [opened.enter_context(Node(name, store)) for name in ("a", "b")]
        env = {f"NODE_{node.name.upper()}": f"127.0.0.1:{node.port}" for node in nodes}
        env["BIND"] = f"127.0.0.1:{port}"
        config = str(HERE / "haproxy.cfg")
        proxy = opened.enter_context(process(found["haproxy"], "-db", "-f", config, env=env))
        wait_for(port, "/readyz", proxy)
        print(f"page       http://127.0.0.1:{port}/", flush=True)
        print(f"try        kill -9 {nodes[0].running.pid}, in the middle of an answer", flush=True)
        print("stop       Ctrl-C", flush=True)
        while proxy.poll() is None:
            time.sleep(0.5)
            for node in nodes:
                if node.running.poll() is not None:
                    node.start()
    raise Stopped("the proxy has ended")


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Two nodes, Redis and a proxy.")
    parser.add_argument("--store", help="instead of a Redis of its own: what `agentws run` takes")
    parser.add_argument(
        "--port", type=int, default=8000, help="of the proxy (8000); 0 takes a free one"
    )
    parser.add_argument("--data", type=Path, default=HERE / ".data", help="the folder of Redis")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    try:
        run(options.store, options.port or free_port(), options.data)
    except KeyboardInterrupt:
        return 0
    except Stopped as why:
        print(why, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
