"""The routes of commands: the queue, cancel, answers, tool results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext
from agentws.protocol.events import RunFinished
from agentws.protocol.messages import Interrupt, InterruptOutcome
from agentws.testing.agents import Gate, Script
from agentws.testing.contract_base import eventually

from .calling import SESSION, answered, say, served

pytestmark = pytest.mark.usefixtures("nodes")


async def test_the_queue_is_edited_and_moved() -> None:
    gate = Gate()
    script = Script(gate)
    async with served(script, alone=True) as (_, http):
        for number, text in enumerate(["one", "two", "three"]):
            await say(http, text, f"m{number}")
        await gate.reached()
        url = f"/sessions/{SESSION}/queue"
        edit = {"message": "m1", "content": "edited", "id": "e1"}
        edited = await http.post(f"{url}/edit", json=edit)
        assert (edited.status_code, edited.json()["reply"]) == (202, "e1")
        moved = await http.post(f"{url}/promote", json={"message": "m2"})
        assert moved.status_code == 202
        page = (await http.get(f"/sessions/{SESSION}/messages")).json()
        assert [one["content"] for one in page["queued"]] == ["three", "edited"]
        for body, status in (({**edit, "message": "m0"}, 404), ({**edit, "content": " "}, 400)):
            assert (await http.post(f"{url}/edit", json=body)).status_code == status
        gate.open()
        await answered(http)


async def test_a_run_can_be_cancelled() -> None:
    gate = Gate()
    async with served(Script("partial ", gate)) as (_, http):
        await say(http, "go")
        await gate.reached()
        url = f"/sessions/{SESSION}/cancel"
        assert (await http.get(f"/sessions/{SESSION}")).json()["running"] is True
        response = await http.post(url, json={"message": "m1", "id": "c1"})
        assert response.status_code == 202 and response.json()["reply"] == "c1"
        messages = await answered(http)
        assert messages[-1]["content"] == "partial "
        assert messages[-1]["metadata"]["agentws"]["status"] == "cancelled"
        late = await http.post(url, headers={"content-type": "application/json"})
        assert late.status_code == 202


async def test_an_agents_question_can_be_answered_once() -> None:
    question = Interrupt(id="int_1", reason="approval")
    finished = RunFinished("", "", outcome=InterruptOutcome([question]))
    # The run that the answer starts asks the same question again, maybe before the next line.
    async with served(Script(finished), alone=True) as (_, http):
        await say(http, "go")
        await answered(http)
        url = f"/sessions/{SESSION}/answers"
        body = {"interrupt": "int_1", "payload": {"ok": True}}
        first = await http.post(url, json=body)
        assert first.status_code == 202
        again = await http.post(url, json=body)
        assert again.json() == {**first.json(), "duplicate": True}
        other = await http.post(url, json={"interrupt": "int_1", "status": "cancelled"})
        assert other.status_code == 409 and other.json()["code"] == "already_answered"
        unknown = await http.post(url, json={"interrupt": "int_2"})
        assert unknown.status_code == 404


async def test_a_clients_tool_gets_its_result_once() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield f"It is {await ctx.client_tool('clock')}."

    async with served(agent) as (_, http):
        await say(http, "go")
        (call,) = (await answered(http))[-1]["toolCalls"]
        url = f"/sessions/{SESSION}/tool-results"
        body = {"toolCallId": call["id"], "content": "noon"}
        first = await http.post(url, json=body)
        assert first.status_code == 202
        again = await http.post(url, json=body)
        assert again.json() == {**first.json(), "duplicate": True}
        other = await http.post(url, json={"toolCallId": call["id"], "error": "broken"})
        assert other.status_code == 409 and other.json()["code"] == "already_answered"
        assert (await http.post(url, json={"toolCallId": call["id"]})).status_code == 400
        unknown = await http.post(url, json={"toolCallId": "call_0", "content": "x"})
        assert unknown.status_code == 404
        assert (await answered(http))[-1]["content"] == "It is noon."


async def test_a_client_without_a_stream_sees_the_open_questions_and_answers() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield f"A {await ctx.ask('Which size?', choices=['small', 'large'])} one, then."

    async with served(agent, alone=True) as (_, http):
        url = f"/sessions/{SESSION}"

        async def page() -> dict[str, Any]:
            found: dict[str, Any] = (await http.get(f"{url}/messages")).json()
            return found

        async def goes_on() -> bool:
            messages = (await page())["messages"]
            return bool(messages[1:]) and messages[-1]["content"] == "A small one, then."

        async def asked() -> bool:
            return "interrupts" in await page()

        await say(http, "A shirt, please", "m1")
        await eventually(asked)
        (question,) = (await page())["interrupts"]
        assert question["message"] == "Which size?"
        answer = {"interrupt": question["id"], "payload": "small"}
        assert (await http.post(f"{url}/answers", json=answer)).status_code == 202
        await eventually(goes_on)
        assert "interrupts" not in await page()
