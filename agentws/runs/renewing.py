"""The leases of a node: taken, renewed in time, and not used after their local deadline.

An agent that blocks the event loop must not cost its node the leases, so a store may renew them on
a thread. A node that can't reach its store, or that was suspended, must not write when another one
may have taken over: it stops by its own clock, without asking anyone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Final

from ..limits import Limits
from ..sessions.held import HeldLease
from ..sessions.session import Session
from ..store import Lease, Store
from .renewal_thread import RenewalThread

RENEWALS: Final = 5
"""How often a lease is renewed within its ``lease_ttl``: some renewals may fail."""


class Renewal:
    """Takes and renews the leases of one node. ``lost`` is called once for a lease that ends.

    It ends when another node has it, and at its local deadline.
    """

    def __init__(
        self, *, store: Store, node: str, limits: Limits, lost: Callable[[HeldLease], None]
    ) -> None:
        self._store = store
        self.node = node
        self._limits = limits
        self._on_lost = lost
        self._held: dict[str, HeldLease] = {}
        self._thread: RenewalThread | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._held)

    def begin(self) -> None:
        """Begins on this event loop. Called when the store is open."""
        self._held = {}
        renewer = self._store.lease_renewer()
        if renewer is not None and self._thread is None:
            every = self._limits.lease_ttl / RENEWALS
            self._thread = RenewalThread(
                renewer,
                node=self.node,
                ttl=self._limits.lease_ttl,
                every=every,
                # The event loop ticks that often: less would take it for blocked while it works.
                max_stall=max(self._limits.max_loop_stall, 2 * every),
                lost=self._lose_all,
            )

    # One lease

    async def take(self, session: Session) -> Lease | None:
        """Takes the session's lease, ``None`` while another node has it."""
        if session.held is not None:
            # It was lost here, but maybe not in the store. A fencing token is not used twice: what
            # was in flight under it when it was lost must not come after what is appended now.
            await self._store.release(session.held.lease)
            session.held = None
        asked_at, ttl = self._now(), self._ttl
        lease = await self._store.lease(session.id, owner=self.node, ttl=ttl)
        if lease is not None:
            session.held = held = HeldLease(lease, asked_at=asked_at, clock=self._clock())
            self._hold(held)
        return lease

    def _hold(self, held: HeldLease) -> None:
        self._held[held.lease.session] = held
        if self._thread is not None:
            self._thread.hold(held)
        if self._timer is None:
            self._watch()

    def drop(self, session: Session) -> None:
        """Renews the lease of this session no longer."""
        held = self._held.pop(session.id, None)
        if held is not None and self._thread is not None:
            self._thread.drop(held)

    @property
    def _ttl(self) -> float:
        """Seconds for which a lease is taken.

        Without other nodes nobody waits for it to expire: then an agent may block the event loop,
        which renews it, for as long as one with a thread.
        """
        limits, store = self._limits, self._store
        alone = store.immediate and store.exclusive
        return max(limits.lease_ttl, limits.max_loop_stall) if alone else limits.lease_ttl

    # All of them

    async def renew(self) -> None:
        """Renews the leases, or tells the thread that the event loop is alive. Called regularly."""
        if self._thread is not None:
            self._thread.tick()
            return
        held = list(self._held.values())
        if not held:
            return
        asked_at, ttl = self._now(), self._ttl
        ids = [one.lease.session for one in held]
        kept = set(await self._store.renew(self.node, ids, ttl=ttl))
        for one in held:
            if one.lease.session in kept:
                one.extend(asked_at=asked_at, ttl=ttl)
        self._lose_all([one for one in held if one.lease.session not in kept])

    def _lose_all(self, gone: Sequence[HeldLease]) -> None:
        for held in gone:
            # Unless it was released, or taken anew, while the store was asked.
            if self._held.get(held.lease.session) is held:
                del self._held[held.lease.session]
                if self._thread is not None:
                    self._thread.drop(held)
                self._on_lost(held)

    def _watch(self) -> None:
        """Sets the timer to the next local deadline. One timer for all: most are moved forward."""
        self._timer = None
        if self._held:
            delay = max(0.0, min(one.until for one in self._held.values()) - self._now())
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(delay, self._check_deadlines, context=Context())

    def _check_deadlines(self) -> None:
        now = self._now()
        self._lose_all([one for one in self._held.values() if one.until <= now])
        self._watch()

    def _clock(self) -> Callable[[], float]:
        # The thread has no other clock. A loop's clock may be a test's.
        return asyncio.get_running_loop().time if self._thread is None else time.monotonic

    def _now(self) -> float:
        return self._clock()()

    # The end

    def abandon(self) -> None:
        """Ends the thread, if the event loop was closed before :meth:`aclose`."""
        if self._thread is not None:
            self._thread.close()

    async def aclose(self) -> None:
        """Ends the thread and the timer. Returns when nothing is renewed any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held = {}
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.aclose()
