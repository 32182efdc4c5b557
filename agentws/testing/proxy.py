"""A TCP proxy with faults, between clients and a server, or between a node and its store.

::

    async with FaultProxy(server_port) as proxy:
        chat = agentws.client.connect(f"ws://127.0.0.1:{proxy.port}/")
        ...
        proxy.blackhole()   # connections stay open, and nothing arrives any more
        proxy.heal()        # what was held back arrives
        proxy.reset()       # every connection breaks with a TCP reset

It needs no privileges: a fault is what the proxy does with what it has read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Final, Literal, Self

__all__ = ["Direction", "FaultProxy"]

Direction = Literal["up", "down", "both"]
"""``up`` is from the client to the server, ``down`` from the server to the client."""

_READ: Final = 64 * 1024
"""The bytes of one read, which is what one direction of a connection holds at most."""
_ABORTIVE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: the close of the socket is a reset."""


class FaultProxy:
    """Forwards connections to ``host:port``, with the faults that a test switches on.

    A context manager, which listens on a free port of 127.0.0.1 while it is entered; then
    ``port`` is known. Faults apply to open connections and to later ones, until :meth:`heal`.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        """Where connections lead to. A change applies to later connections."""
        self.port = 0
        self.accepted = 0
        """How many connections were made so far."""
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._faults()

    def _faults(self) -> None:
        self.delay = 0.0
        """Seconds for which every read is held back before it is passed on."""
        self.rate: float | None = None
        """Bytes per second and direction; ``None``: as fast as possible."""
        self.chunk: int | None = None
        """Bytes of one write, such as 1; ``None``: as they were read."""
        self.refusing = False
        """Whether new connections are reset at once, as by a host without that server."""
        self._flows = {"up": asyncio.Event(), "down": asyncio.Event()}
        for flow in self._flows.values():
            flow.set()

    def __repr__(self) -> str:
        return f"<FaultProxy {self.port} to {self.target[0]}:{self.target[1]}>"

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_READ)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        links = [link.task for link in self._links]
        for link in list(self._links):
            link.end()
        if links:
            await asyncio.wait(links)

    # Faults

    def blackhole(self, direction: Direction = "both") -> None:
        """Connections stay open, and nothing arrives in this direction: no data, and no close.

        New connections are accepted and wait, too. ``down`` alone loses acknowledgements: what a
        client sends arrives, and no answer comes back.
        """
        for name, flow in self._flows.items():
            if direction in (name, "both"):
                flow.clear()

    def heal(self) -> None:
        """Ends every fault. What was held back arrives, and closes too."""
        waiting = self._flows
        self._faults()
        for flow in waiting.values():
            flow.set()

    def cut(self) -> None:
        """Closes every connection on both sides (FIN); what is in flight is lost."""
        for link in list(self._links):
            link.end()

    def reset(self) -> None:
        """Breaks every connection on both sides with a TCP reset (RST)."""
        for link in list(self._links):
            link.end(abortive=True)

    def half_open(self) -> None:
        """The server's side of every connection breaks, and its client does not learn of it."""
        for link in list(self._links):
            link.lose_server()

    # Connections

    async def passing(self, direction: Literal["up", "down"]) -> None:
        """Returns when nothing holds this direction back."""
        while not self._flows[direction].is_set():
            await self._flows[direction].wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            _abort(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        link = _Link(self, task, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        except OSError:
            pass
        except asyncio.CancelledError:
            # The link was ended by a fault or by the end of the test; nobody waits for this task.
            pass
        finally:
            self._links.discard(link)
            link.close()


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        proxy: FaultProxy,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.task = task
        self._proxy = proxy
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lost = False

    async def run(self) -> None:
        """Forwards both directions until one of them ends."""
        await self._proxy.passing("up")
        self._server = await asyncio.open_connection(*self._proxy.target, limit=_READ)
        for _, writer in (self._client, self._server):
            # A drain then waits for everything, so a close loses nothing that was passed on.
            writer.transport.set_write_buffer_limits(0)
        pumps = {
            asyncio.create_task(self._pump("up", self._client[0], self._server[1])),
            asyncio.create_task(self._pump("down", self._server[0], self._client[1])),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if self._lost:
                # Until the client gives up, or a fault ends the connection.
                await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self,
        direction: Literal["up", "down"],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        proxy = self._proxy
        while data := await reader.read(_READ):
            await asyncio.sleep(proxy.delay)
            try:
                await self._pass_on(direction, data, writer)
            except OSError:
                # What the client sends on a half-open connection is lost.
                if not self._lost:
                    raise
        await proxy.passing(direction)

    async def _pass_on(
        self, direction: Literal["up", "down"], data: bytes, writer: asyncio.StreamWriter
    ) -> None:
        while data:
            size, rate = self._proxy.chunk or len(data), self._proxy.rate
            if rate is not None:
                size = min(size, max(1, int(rate / 10)))
            piece, data = data[:size], data[size:]
            await asyncio.sleep(0 if rate is None else len(piece) / rate)
            await self._proxy.passing(direction)
            if writer.is_closing():
                raise ConnectionResetError("the other side is gone")
            writer.write(piece)
            await writer.drain()

    def end(self, *, abortive: bool = False) -> None:
        """Closes both sides: with a reset if ``abortive``."""
        for side in (self._client, self._server):
            if side is not None and abortive:
                _abort(side[1])
        self.task.cancel()

    def lose_server(self) -> None:
        if self._server is not None:
            self._lost = True
            _abort(self._server[1])

    def close(self) -> None:
        for side in (self._client, self._server):
            if side is not None:
                side[1].transport.abort()


def _abort(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
    writer.transport.abort()
