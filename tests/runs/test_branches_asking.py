"""Questions of an agent in a conversation that branches."""

from __future__ import annotations

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Hang, Script
from agentws.testing.connect import connect

from .branching import branch, branches_of, refusal, said, served, shown
from .harness import talk


def asking() -> Script:
    question = e.RunFinished("", "", outcome=m.InterruptOutcome([m.Interrupt("q1", "approval")]))
    return Script("fine", named={"go": ["May I?", question], "": ["Thanks."], "hang": [Hang()]})


async def test_a_question_that_goes_out_of_view_is_closed() -> None:
    async with talk(asking()) as one:
        await said(one, "a", "go")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "b"})
        live = [event for event in one.client.events() if event["type"] == "history.branched"]
        assert live[-1]["interrupts"] == ["q1"]
        answer = {"type": "answer", "id": "a1", "interrupt": "q1", "payload": True}
        assert await refusal(one, answer) == "not_found"
        (old, _) = branches_of((await served(one))[2])["ids"]
        await one.client.ask({"type": "switch", "id": "s1", "branch": old})
        assert await shown(one) == ["a", "fine", "go", "May I?"]
        assert await refusal(one, {**answer, "id": "a2"}) == "not_found"
        await one.client.settle()
        fold = await one.check()
        assert fold.outline.is_settled()


async def test_a_question_that_stays_in_view_stays_open() -> None:
    async with talk(asking()) as one:
        await said(one, "go", "b")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "c"})
        await one.client.ask({"type": "answer", "id": "a1", "interrupt": "q1", "payload": True})
        assert await one.client.answer() == "Thanks."
        assert await shown(one) == ["go", "May I?", "c", "fine", "Thanks."]
        await one.check()


async def test_nothing_branches_once_a_run_is_due_to_resume() -> None:
    async with talk(asking(), max_runs=1) as one:
        await said(one, "go")
        async with connect(one.client.app) as other:
            await other.say("hang", "h1")
            await other.until("RUN_STARTED")
            await one.client.ask({"type": "answer", "id": "a1", "interrupt": "q1", "payload": 1})
            frame = {"type": "regenerate", "id": "g1", "message": "m1"}
            assert await refusal(one, frame) == "run_active"
            await other.ask({"type": "cancel", "id": "c1"})
        assert await one.client.answer() == "Thanks."
        await one.check()
