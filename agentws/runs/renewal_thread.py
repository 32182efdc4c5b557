"""The thread that renews the leases of a node whose agents may block the event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from ..errors import AgentwsError
from ..sessions.held import HeldLease
from ..store import LeaseRenewer

logger: Final = logging.getLogger("agentws.run")


class RenewalThread:
    """Renews the leases given to :meth:`hold`, every ``every`` seconds for ``ttl`` seconds.

    Only while the event loop has ticked within ``max_stall`` seconds: a process that hangs must
    lose its leases. Without leases the thread waits and costs nothing. ``lost`` is called on the
    event loop with the leases that the store has given to others.
    """

    def __init__(
        self,
        renewer: LeaseRenewer,
        *,
        node: str,
        ttl: float,
        every: float,
        max_stall: float,
        lost: Callable[[Sequence[HeldLease]], None],
    ) -> None:
        self._renewer = renewer
        self._node = node
        self._ttl = ttl
        self._every = every
        self._max_stall = max_stall
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._ticked = time.monotonic()
        self._stalled = False
        """Whether the stall that goes on was logged."""
        self._held: set[HeldLease] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # A daemon thread, so that a program that never stops its gateway can exit.
        self._thread = threading.Thread(target=self._run, name="agentws-leases", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<RenewalThread leases={len(self._held)}>"

    # On the event loop

    def tick(self) -> None:
        """The event loop is alive. Called regularly."""
        self._ticked = time.monotonic()

    def hold(self, held: HeldLease) -> None:
        """Renews this lease from now on."""
        self.tick()
        with self._changed:
            first = not self._held
            self._held.add(held)
            if first:
                self._changed.notify()

    def drop(self, held: HeldLease) -> None:
        """Renews it no longer."""
        with self._changed:
            self._held.discard(held)

    def close(self) -> None:
        """Ends the thread, at the latest after the renewal in progress. Also from another loop."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    async def aclose(self) -> None:
        """:meth:`close`; returns when the thread has ended."""
        self.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._ttl / 2):
                await asyncio.shield(self._ended)

    # In the thread

    def _run(self) -> None:
        try:
            while self._wait():
                self._renew()
        finally:
            with suppress(Exception):
                self._renewer.close()
            self._post(self._end)

    def _wait(self) -> bool:
        """Waits until renewals are due. False when the thread is to end."""
        with self._changed:
            while not (self._held or self._closing):
                self._changed.wait()
            # Notified meanwhile only to end: leases that come now are newer than these.
            self._changed.wait_for(lambda: self._closing, timeout=self._every)
            return not (self._closing or self._loop.is_closed())

    def _renew(self) -> None:
        with self._changed:
            held = tuple(self._held)
        if not held or not self._loop_lives():
            return
        asked_at = time.monotonic()
        try:
            ids = [one.lease.session for one in held]
            kept = set(self._renewer.renew(self._node, ids, ttl=self._ttl))
        except AgentwsError as error:
            logger.warning("leases were not renewed: %s", error)
            return
        except Exception:
            logger.exception("leases were not renewed")
            return
        for one in held:
            if one.lease.session in kept:
                one.extend(asked_at=asked_at, ttl=self._ttl)
        if gone := [one for one in held if one.lease.session not in kept]:
            self._post(self._lost, gone)

    def _loop_lives(self) -> bool:
        """Whether the event loop ticks, or has only stalled for a time that is allowed."""
        stalled = time.monotonic() - self._ticked
        if stalled < self._ttl / 2:
            self._stalled = False
        elif not self._stalled:
            self._stalled = True
            logger.warning(
                "the event loop is blocked for %.1f s; leases are kept for %g s:\n%s",
                stalled,
                self._max_stall,
                self._stack(),
            )
        return stalled < self._max_stall

    def _stack(self) -> str:
        """What the event loop's thread does now."""
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame))

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        # Nobody waits on a closed loop.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)
