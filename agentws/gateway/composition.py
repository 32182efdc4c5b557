"""The composition root: makes the parts of a gateway and connects them with each other.

All of them hold tasks, futures and locks of one event loop. A gateway that moves to another loop
makes a new composition and abandons the old one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, suppress
from typing import Final

from ..agents.factory import Agents
from ..attachments.library import Files
from ..bus import Bus
from ..errors import AgentwsError
from ..limits import Limits
from ..runs.engine import Runs
from ..runs.inbox import Inbox
from ..runs.titles import Titles
from ..sessions.compaction import Compactions
from ..sessions.registry import Sessions
from ..sessions.session import Session
from ..sessions.topics import Topics
from ..store import Store
from ..tasks.tasks import Tasks
from ..transports.connections import Connections
from ..transports.feeds import Feeds
from .broadcasts import Broadcasts
from .counting import Counting
from .heartbeats import Heartbeats
from .housekeeping import Housekeeping
from .loop_lag import LoopLag
from .presence import Presence
from .retention import Retention
from .takeovers import Takeovers

logger: Final = logging.getLogger("agentws")

CLEANING_UP: Final = 5.0
"""Seconds that a drain gives cancelled agents, at most: less than a long ``cancel_grace``."""
SETTLING: Final = 2.0
"""Seconds, at the end of a drain, for the store to write the ends of runs and release leases."""
RELEASING: Final = 0.25
"""Seconds between two searches for leases that a draining node can release."""
ABANDONING: Final = 5.0
"""Seconds for a store or a bus to close when the event loop that it was opened on is closed."""


class Composition:
    """The parts of one gateway on one event loop, and the order in which they start and stop."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        files: Files | None,
        agents: Agents,
        limits: Limits,
        node: str,
        instance: str,
    ) -> None:
        self._store = store
        self._bus = bus
        self._files = files
        self._limits = limits
        self.tasks: Final = Tasks()
        self.connections: Final = Connections(limits, self.tasks)
        self.topics: Final = Topics(store=store, bus=bus, limits=limits, clock=time.time)
        self.feeds: Final = Feeds(self.topics, self.tasks)
        self.broadcasts: Final = self._made_broadcasts(node)
        self.sessions: Final = Sessions(store=store, bus=bus, limits=limits, clock=time.time)
        self.presence: Final = Presence(
            sessions=self.sessions, connections=self.connections, node=instance
        )
        self._compactions: Final = Compactions(store, window=limits.replay_window)
        self.runs: Final = Runs(
            store=store,
            agents=agents,
            limits=limits,
            # Not the name: a frozen process that wakes up would share its successor's leases.
            node=instance,
            open_session=self.sessions.find,
            files=files,
            finished=self._run_ended,
        )
        start = self.runs.write_start
        self._titles: Final = Titles(
            store=store, agents=agents, limits=limits, tasks=self.tasks, write_start=start
        )
        self.inbox: Final = Inbox(runs=self.runs, limits=limits, files=files)
        self.sessions.on_open = self._session_opened
        # One bound method for all: every session in memory holds it.
        self._schedule: Final = self.runs.schedule
        self._housekeeping: Final = self._made_housekeeping()
        self.heartbeats: Final = Heartbeats(
            store=store, node=node, instance=instance, counts=self.counts
        )
        self.loop_lag: Final = LoopLag()
        self.takeovers: Final = Takeovers(bus=bus, runs=self.runs, tasks=self.tasks, node=instance)

    def _made_broadcasts(self, node: str) -> Broadcasts:
        return Broadcasts(
            bus=self._bus,
            connections=self.connections,
            feeds=self.feeds,
            counting=Counting(store=self._store, bus=self._bus, node=node),
            tasks=self.tasks,
            node=node,
            max_size=self._limits.max_event_size,
        )

    def counts(self) -> dict[str, int]:
        """What this node counts, without ids of sessions or users."""
        return {
            "active_sessions": self.sessions.followed,
            "total_connections": len(self.connections),
            "sessions_in_memory": len(self.sessions),
            "active_runs": self.runs.running,
            "zombie_agents": self.runs.zombies,
        }

    def _made_housekeeping(self) -> Housekeeping:
        retention = Retention(
            store=self._store,
            sessions=self.sessions,
            limits=self._limits,
            delete=self.delete_session,
        )
        return Housekeeping(
            store=self._store,
            sessions=self.sessions,
            topics=self.topics,
            runs=self.runs,
            compactions=self._compactions,
            retention=retention,
            limits=self._limits,
            files=self._files,
        )

    async def begin(self) -> None:
        """Opens the store and the bus, and starts what runs in the background."""
        try:
            await self._store.open()
            await self._bus.open()
            if self._files is not None:
                await self._files.store.open()
            await self.heartbeats.begin(self.tasks)
        except BaseException:
            await self._close_ports()
            raise
        self.runs.begin()
        self.broadcasts.subscribe()
        self.takeovers.subscribe()
        self._housekeeping.begin(self.tasks)
        self.loop_lag.begin()

    async def drain(self) -> None:
        """Tells clients to reconnect elsewhere, and gives runs ``drain_timeout`` to finish."""
        # Concurrently: a client reads the rest of its answer where it reconnects.
        closing = self.tasks.spawn(self.connections.close_all(), name="closing connections")
        await self._drain_runs()
        self.takeovers.ring()
        await closing
        # Again, for connections that were in their handshake the first time.
        await self.connections.close_all()

    async def _drain_runs(self) -> None:
        limits = self._limits
        cleaning_up = min(limits.cancel_grace, CLEANING_UP)
        drained = asyncio.Event()
        releasing = self.tasks.spawn(self._release_idle(drained), name="releasing leases")
        try:
            async with asyncio.timeout(limits.drain_timeout + cleaning_up + SETTLING):
                await self.runs.drain(grace=limits.drain_timeout)
                drained.set()
                await releasing
        except (AgentwsError, TimeoutError) as error:
            # A run that is still open is an orphaned run: the next lease holder recovers it.
            logger.warning("draining: %s", error or "the store takes too long")
            releasing.cancel()

    async def _release_idle(self, drained: asyncio.Event) -> None:
        """Hands over what this node does not run any more, while other runs go on."""
        while not drained.is_set():
            held = len(self.runs.renewal)
            await self.runs.sweep()
            if len(self.runs.renewal) < held:
                self.takeovers.ring()
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASING):
                    await drained.wait()

    async def close(self) -> None:
        """Closes every part, even if another one fails to close."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._close_ports)
            closing.callback(self.broadcasts.unsubscribe)
            closing.callback(self.takeovers.unsubscribe)
            closing.callback(self.loop_lag.end)
            closing.callback(self.presence.close)
            closing.push_async_callback(self.topics.aclose)
            closing.push_async_callback(self.sessions.aclose)
            # Together: each waits a second for what does not end.
            await asyncio.gather(
                self.tasks.aclose(grace=1.0), self.runs.aclose(), self.heartbeats.leave()
            )

    async def _close_ports(self) -> None:
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._store.close)
            closing.push_async_callback(self._bus.close)
            if self._files is not None:
                closing.push_async_callback(self._files.store.close)

    async def abandon(self) -> None:
        """Closes the ports after their event loop was closed; its tasks will never run again."""
        self.runs.renewal.abandon()
        self.broadcasts.unsubscribe()
        self.topics.abandon()
        self.takeovers.unsubscribe()
        self.sessions.abandon()
        ports = [self._store, self._bus, *(() if self._files is None else [self._files.store])]
        for port in ports:
            try:
                async with asyncio.timeout(ABANDONING):
                    await port.close()
            except Exception as error:
                logger.info("%r could not be closed after its event loop: %r", port, error)

    async def delete_session(self, id: str, *, updated: float | None = None) -> None:
        """Deletes it with its files from the stores, and from the memory of this node.

        The files first: an error or a crash then leaves a session that can be deleted again. And
        once more after it, for a file that was attached meanwhile. With ``updated``, only if it is
        unused since, see :meth:`Store.delete`: a session that is kept keeps its files.
        """
        if updated is None:
            await self._delete_files(id)
        if not await self._store.delete(id, updated=updated):
            return
        await self._delete_files(id)
        self.runs.forget(id)
        self.sessions.evict_deleted(id)

    async def _delete_files(self, session: str) -> None:
        if self._files is not None:
            await self._files.store.delete_session(session)

    def _run_ended(self, session: Session, first: int, last: int, now: float) -> None:
        self._compactions.run_ended(session, first, last, now)
        self._titles.run_ended(session, last)

    def _session_opened(self, session: Session) -> None:
        session.on_outline_change = self._schedule
        self._compactions.loaded(session)
        self.runs.schedule(session)
