"""The store contract, model-based: after random steps the store equals a simple model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ..errors import AgentwsError, Fenced, IdempotencyConflict, PositionLost, VersionConflict
from ..protocol.codec import Record
from ..protocol.position import GENESIS, Position, chain
from ..store import Head, Key, Settled, Store
from .contract_base import EPOCH, StoreFixtures, begin, event
from .needs import hypothesis

st = hypothesis.strategies

Outcome = object


@dataclass
class LogModel:
    """The simplest log that keeps the contract; a store is compared with it."""

    kept: list[Record] = field(default_factory=list)
    history: list[Position] = field(default_factory=lambda: [Position(EPOCH, 0, GENESIS)])
    keys: dict[str, tuple[str, Position]] = field(default_factory=dict)
    settled: Settled = Settled()
    version: int = 0
    fence: int = 0
    holder: str | None = None

    def append(
        self,
        datas: list[bytes],
        key: Key | None,
        fence: str | None,
        settled: Settled | None,
        expect: int | None,
        commutes: bool,
    ) -> Outcome:
        if fence is not None and fence != f"{EPOCH}:{self.fence}":
            return Fenced
        if key is not None and key.id in self.keys:
            digest, position = self.keys[key.id]
            return position if digest == key.digest else IdempotencyConflict
        if expect is not None and not self.version <= expect <= self.history[-1].seq:
            return VersionConflict
        for data in datas:
            last = self.history[-1]
            seq = last.seq + 1
            record = Record(seq, chain(last.tag, seq, data), data)
            self.kept.append(record)
            self.history.append(Position(EPOCH, record.seq, record.tag))
            self.version = self.version if commutes else seq
        if key is not None:
            self.keys[key.id] = (key.digest, self.history[-1])
        if settled is not None and settled.seq >= self.settled.seq:
            self.settled = settled
        return self.history[-1]

    def read(self, after: Position, limit: int) -> Outcome:
        reason = self._lost(after)
        if reason is not None:
            return reason
        return [record for record in self.kept if record.seq > after.seq][:limit]

    def _lost(self, after: Position) -> str | None:
        if after.epoch != EPOCH:
            return "epoch"
        if after.seq > self.history[-1].seq:
            return "future"
        if after.seq == 0:
            return None
        there = [record for record in self.kept if record.seq == after.seq]
        if not there:
            return "compacted"
        return None if there[0].tag == after.tag else "diverged"

    def compact(self, first: int, last: int, records: Sequence[Record]) -> None:
        others = [record for record in self.kept if not first <= record.seq <= last]
        self.kept = sorted([*others, *records])

    def lease(self, owner: str) -> Outcome:
        if self.holder not in (None, owner):
            return None
        if self.holder is None:
            self.fence += 1
        self.holder = owner
        return f"{EPOCH}:{self.fence}"


_seqs = st.integers(0, 12)
_keys = st.none() | st.builds(Key, st.sampled_from("kl"), st.sampled_from("de"))
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.integers(0, 4),
            _keys,
            st.none() | st.integers(0, 1),
            st.none() | st.builds(Settled, st.integers(0, 8), st.sampled_from([b"", b"x", b"y"])),
            st.none() | st.none() | st.integers(-1, 6),
            st.booleans(),
        ),
        st.tuples(
            st.just("read"),
            _seqs,
            st.sampled_from([EPOCH, EPOCH, EPOCH, "e0"]),
            st.booleans(),
            st.integers(1, 5),
        ),
        st.tuples(st.just("read_back"), _seqs, st.integers(1, 5)),
        st.tuples(st.just("compact"), _seqs, _seqs, st.sets(_seqs)),
        st.tuples(st.just("lease"), st.sampled_from("ab")),
        st.tuples(st.just("release"), st.sampled_from("ab")),
    ),
    min_size=8,
    max_size=30,
)


class ModelRules(StoreFixtures):
    """Random steps; the result of each is compared with the model's."""

    @hypothesis.settings(
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        # One store serves all examples: each makes its own session. The suite is inherited.
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,
            hypothesis.HealthCheck.differing_executors,
            hypothesis.HealthCheck.too_slow,
        ],
    )
    @hypothesis.given(steps=STEPS)
    async def test_random_steps_have_the_same_results_as_in_the_model(
        self, store: Store, steps: list[tuple[object, ...]]
    ) -> None:
        session, model = await begin(store), LogModel()
        comparison = _Comparison(store, session, model)
        await comparison.append(6, None, None, None, None, False)
        for name, *arguments in steps:
            await getattr(comparison, str(name))(*arguments)
            # A read that changed the log is found after the next step.
            if name not in ("read", "read_back"):
                await comparison.check()
        await comparison.check()


@dataclass
class _Comparison:
    """Executes each step in the store and in the model, and compares the results."""

    store: Store
    session: str
    model: LogModel
    written: int = 0

    async def check(self) -> None:
        head = Head(self.model.history[-1], self.model.settled)
        assert await self.store.head(self.session) == head
        assert list(await self.store.read(self.session)) == self.model.kept

    async def append(
        self,
        count: int,
        key: Key | None,
        back: int | None,
        settled: Settled | None,
        behind: int | None,
        commutes: bool,
    ) -> None:
        datas = [event(self.written + n) for n in range(count)]
        self.written += count
        fence = None if back is None else f"{EPOCH}:{self.model.fence - back}"
        expect = None if behind is None else self.model.history[-1].seq - behind
        wanted = self.model.append(datas, key, fence, settled, expect, commutes)
        found: Outcome
        try:
            done = await self.store.append(
                self.session,
                datas,
                key=key,
                fence=fence,
                settled=settled,
                expect=expect,
                commutes=commutes,
            )
            found = done.position
        except AgentwsError as error:
            found = type(error)
        assert found == wanted

    async def read(self, seq: int, epoch: str, honest: bool, limit: int) -> None:
        known = self.model.history[min(seq, len(self.model.history) - 1)]
        after = msgspec.structs.replace(known, seq=seq, epoch=epoch)
        if not honest and seq:
            after = msgspec.structs.replace(after, tag="0123456789abcdef")
        found: Outcome
        try:
            found = list(await self.store.read(self.session, after=after, limit=limit))
        except PositionLost as lost:
            found = lost.reason
        assert found == self.model.read(after, limit)

    async def read_back(self, before: int, limit: int) -> None:
        found = await self.store.read_back(self.session, before=before, limit=limit)
        below = [record for record in self.model.kept if record.seq < before]
        assert list(found) == below[-limit:]

    async def compact(self, first: int, last: int, seqs: set[int]) -> None:
        records = [
            msgspec.structs.replace(record, data=event(f"folded {record.seq}"))
            for record in self.model.kept
            if first <= record.seq <= last and record.seq in seqs
        ]
        self.model.compact(first, last, records)
        await self.store.compact(self.session, first=first, last=last, records=records)

    async def lease(self, owner: str) -> None:
        lease = await self.store.lease(self.session, owner=owner, ttl=600)
        assert (lease and lease.fence) == self.model.lease(owner)

    async def release(self, owner: str) -> None:
        lease = await self.store.lease(self.session, owner=owner, ttl=600)
        assert (lease and lease.fence) == self.model.lease(owner)
        if lease is not None:
            await self.store.release(lease)
            self.model.holder = None
