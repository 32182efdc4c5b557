"""A server of the benchmark as a child process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from types import TracebackType
from typing import Any

import msgspec

from . import measure
from .variants import Variant

START_SECONDS = 30.0


class ServerProcess:
    """A running server: `async with ServerProcess(variant, options, core=core) as server`.

    The block ends the process and removes its files; so does a start that fails.
    """

    def __init__(self, variant: Variant, options: dict[str, Any], *, core: int) -> None:
        self.variant = variant
        self.port = 0
        self.pid = 0
        self._options = options
        self._core = core
        self._process: asyncio.subprocess.Process | None = None
        # Made here: the server is killed and could not remove it.
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    async def __aenter__(self) -> ServerProcess:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    async def _start(self) -> None:
        if self._options.get("store") == "sqlite":
            self._directory = tempfile.TemporaryDirectory(prefix="agentws-bench-")
        encoded = msgspec.json.encode(self._options).decode()
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agentws.bench.servers"),
            *(self.variant.app, self.variant.server, encoded),
            *([self._directory.name] if self._directory else []),
            stdout=asyncio.subprocess.PIPE,
        )
        self.pid = process.pid
        measure.pin(self.pid, self._core)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        if not line:
            raise RuntimeError(f"the {self.variant.name} server did not start")
        self.port = int(line)
        # It listens before it serves: an answer means that its start-up is done.
        await asyncio.wait_for(self.request("GET", "/health"), START_SECONDS)

    async def _end(self) -> None:
        try:
            if self._process is not None:
                # Killed: a graceful shutdown of ten thousand connections would take long.
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        finally:
            if self._directory is not None:
                self._directory.cleanup()

    async def request(self, method: str, path: str) -> bytes:
        """One HTTP request; returns the body of the response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: close",
            "Content-Length: 0",
        ]
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        await writer.wait_closed()
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"{method} {path}: {head.decode('latin-1')}")
        return answer
