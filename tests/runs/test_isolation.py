"""Isolation of sessions: the interleaved runs of one agent share nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.connect import connect, kind

from .harness import talk


class Recorder:
    """Keeps every context, and yields only while another run is active."""

    def __init__(self) -> None:
        self.contexts: defaultdict[str, list[RunContext]] = defaultdict(list)
        self.histories: defaultdict[str, list[list[str]]] = defaultdict(list)
        self.together = asyncio.Barrier(2)

    async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        self.contexts[ctx.session.id].append(ctx)
        await self.together.wait()
        said = [*(ctx.state or {"said": []})["said"], ctx.text]
        yield e.StateSnapshot({"said": said})
        await self.together.wait()
        ctx.state["said"].append("in place")
        users = [one for one in await ctx.history() if isinstance(one, m.UserMessage)]
        self.histories[ctx.session.id].append([m.text_of(one.content) for one in users])
        yield f"{ctx.session.id} {ctx.run_id}"


async def test_runs_of_different_sessions_share_no_context_history_or_state() -> None:
    recorder = Recorder()
    async with talk(recorder.run) as one, connect(one.gateway) as other:
        clients = {"one": one.client, "other": other}
        for turn in ("first", "second"):
            # The same ids in both sessions: an idempotency key belongs to one session.
            await asyncio.gather(*(c.say(f"{name} {turn}", turn) for name, c in clients.items()))
            answers = await asyncio.gather(*(client.answer() for client in clients.values()))
            for client, answer in zip(clients.values(), answers, strict=True):
                ctx = recorder.contexts[str(client.session)][-1]
                assert answer == f"{client.session} {ctx.run_id}"
        for name, client in clients.items():
            session = str(client.session)
            texts = [f"{name} first", f"{name} second"]
            assert [ctx.text for ctx in recorder.contexts[session]] == texts
            assert recorder.histories[session] == [texts[:1], texts]
            states = [one for one in client.events() if one["type"] == "STATE_SNAPSHOT"]
            assert [state["snapshot"]["said"] for state in states] == [texts[:1], texts]
            mine = {one.run_id for one in recorder.contexts[session]}
            assert {frame["run"] for frame in client.frames if kind(frame)[:3] == "RUN"} == mine
        contexts = [ctx for session in recorder.contexts.values() for ctx in session]
        assert len(recorder.contexts) == 2
        assert len({ctx.run_id for ctx in contexts}) == len({id(ctx) for ctx in contexts}) == 4
        await one.check()
