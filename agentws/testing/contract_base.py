"""Fixtures and helpers that the parts of the store contract share."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from ..protocol.codec import Record
from ..store import Key, Lease, SessionInfo, Store
from .needs import pytest

T = TypeVar("T")

EPOCH = "e1"


class StoreFixtures:
    """The fixtures of the store contract. Override ``store``, and ``peer`` if it can be shared."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def store(self) -> Store:
        """An open store. Override it with an async fixture that yields it and closes it."""
        raise NotImplementedError("override the fixture `store`")

    @pytest.fixture
    async def peer(self, store: Store) -> Store:
        """A second open store over the same data, if two nodes can share it."""
        return store


def a_session(*, owner: str | None = None, updated: float = 1000.0) -> SessionInfo:
    """A session with a new id, so that the suite can run against a store that is not empty."""
    id = f"s_{secrets.token_urlsafe(12)}"
    return SessionInfo(id=id, owner=owner, agent="default", created=1000.0, updated=updated)


async def begin(store: Store, *, epoch: str = EPOCH) -> str:
    """Creates a session and returns its id."""
    info, made = await store.create(a_session(), epoch=epoch)
    assert made
    return info.id


def event(name: object) -> bytes:
    return b'{"event":{"type":"CUSTOM","name":"%b","value":1}}' % str(name).encode()


def events(*names: object) -> list[bytes]:
    return [event(name) for name in names]


async def filled(store: Store, count: int) -> tuple[str, list[Record]]:
    """Creates a session with ``count`` events; returns its id and their records."""
    session = await begin(store)
    done = await store.append(session, events(*range(1, count + 1)))
    return session, list(done.records)


def every_call(store: Store, session: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """A call of each method of the store, by its name. The last one deletes the session."""
    lease = Lease(session, "a", f"{EPOCH}:1", 60)
    return {
        "ping": store.ping,
        "create": lambda: store.create(a_session(), epoch=EPOCH),
        "info": lambda: store.info(session),
        "load": lambda: store.load(session),
        "update": lambda: store.update(session, title="x"),
        "sessions": lambda: store.sessions(owner="nobody"),
        "maintain": store.maintain,
        "stale": lambda: store.stale(retention=None),
        "append": lambda: store.append(session, [event(1)]),
        "find": lambda: store.find(session, Key("k", "d")),
        "head": lambda: store.head(session),
        "heads": lambda: store.heads([session]),
        "read": lambda: store.read(session),
        "read_back": lambda: store.read_back(session, before=1),
        "compact": lambda: store.compact(session, first=1, last=1, records=[]),
        "lease": lambda: store.lease(session, owner="a", ttl=60),
        "renew": lambda: store.renew("a", [session], ttl=60),
        "release": lambda: store.release(lease),
        "unsettled": lambda: store.unsettled(limit=1),
        "delete": lambda: store.delete(session),
    }


async def outside_a_task(call: Callable[[], Awaitable[object]]) -> None:
    """Runs ``call`` in a callback of the loop. It must end without waiting for anything."""
    done = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            next(call().__await__())
        except StopIteration:
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_exception(AssertionError("an immediate store waited for something"))

    asyncio.get_running_loop().call_soon(run)
    await done


async def everything(store: Store, session: str) -> list[Record]:
    """The whole log, page by page."""
    head = (await store.head(session)).position
    records: list[Record] = []
    page = await store.read(session, limit=7)
    while page:
        records += page
        after = msgspec.structs.replace(head, seq=page[-1].seq, tag=page[-1].tag)
        page = await store.read(session, after=after, limit=7)
    return records


async def eventually(poll: Callable[[], Awaitable[T | None]], *, within: float = 10.0) -> T:
    """Polls until ``poll`` returns a true value; raises AssertionError after ``within``."""
    deadline = time.monotonic() + within
    while not (found := await poll()):
        assert time.monotonic() < deadline, f"not within {within} seconds"
        await asyncio.sleep(0.01)
    return found
