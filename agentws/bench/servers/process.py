"""A server of the benchmark as a child process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import msgspec

from .. import resources
from .variants import Variant

START_SECONDS = 30.0
END_SECONDS = 30.0


class ServerProcess:
    """A running server: `async with ServerProcess(variant, options, cores=cores) as server`.

    It may run on these cores only. The block ends the process and removes its files; so does a
    start that fails.
    """

    def __init__(self, variant: Variant, options: dict[str, Any], *, cores: Sequence[int]) -> None:
        self.variant = variant
        self.port = 0
        self.pid = 0
        self._options = options
        self._cores = cores
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
        resources.pin(self.pid, *self._cores)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        if not line:
            raise RuntimeError(f"the {self.variant.name} server did not start")
        self.port = int(line)
        # It listens before it serves: an answer means that its start-up is done.
        await asyncio.wait_for(self.request("GET", "/health"), START_SECONDS)

    async def _end(self) -> None:
        try:
            if self._process is not None and "workers" in self._options:
                # Its workers would outlive a supervisor that is killed.
                self.signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await self.ended()
            if self._process is not None:
                # Killed: a graceful shutdown of ten thousand connections would take long.
                self.signal(signal.SIGKILL)
                await self._process.wait()
        finally:
            if self._directory is not None:
                self._directory.cleanup()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process; does nothing once it has ended."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> None:
        """Returns once the process has ended. Raises TimeoutError."""
        assert self._process is not None
        await asyncio.wait_for(self._process.wait(), END_SECONDS)

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
