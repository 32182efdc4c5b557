"""Polling while the log grows: an outdated answer does not mean that the log was lost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from agentws import Limits
from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.sessions.registry import Sessions
from agentws.sessions.session import Session


class SharedStore(MemoryStore):
    """A store that other processes may write to; an append comes between a query and its answer."""

    scope = "host"
    session: Session

    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        answer = await super().heads(sessions)
        await self.session.append([e.NoticePosted("meanwhile", "info")])
        return answer


class Follower:
    def __init__(self) -> None:
        self.rung = 0
        self.was_lost = False

    def ring(self) -> None:
        self.rung += 1

    def lost(self) -> None:
        self.was_lost = True


async def test_an_append_during_a_poll_does_not_invalidate_the_session() -> None:
    store = SharedStore()
    sessions = Sessions(store=store, bus=LocalBus(), limits=Limits(), clock=time.time)
    sessions.on_open = lambda session: None
    store.session, _ = await sessions.enter(None, owner=None, agent="default")
    follower = Follower()
    store.session.follow(follower)
    await sessions.poll()
    assert follower.rung == 1 and not follower.was_lost
    assert sessions.needs_polling
    await sessions.aclose()
