"""``POST /ask``: a message in, the answer streamed out, with nothing but an HTTP client."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import pytest

from agentws import AgentError, Limits, MemoryStore, RunContext
from agentws.protocol.events import RunFinished
from agentws.protocol.messages import Interrupt, InterruptOutcome
from agentws.store import Store
from agentws.testing.agents import Gate, Script
from agentws.testing.faults import WrappedStore

from .asking import FORM, TEXT, Ask, ask
from .calling import SESSION, answered, client, served

pytestmark = pytest.mark.usefixtures("nodes")
T = TypeVar("T")


class CountingStore(WrappedStore):
    """Counts the calls of each method of the store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.counts: Counter[str] = Counter()

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        self.counts[operation] += 1
        return await call()


def kinds(response: httpx2.Response) -> list[str]:
    """The type of every line of an answer."""
    frames = map(json.loads, response.text.splitlines())
    return [frame.get("event", frame)["type"] for frame in frames]


async def test_an_answer_is_json_lines_from_the_acceptance_to_the_terminal_event() -> None:
    async with served() as (_, http):
        response = await ask(http, "hello world")
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/x-ndjson; charset=utf-8"
        found = kinds(response)
        assert (found[0], found[1], found[-1]) == ("accepted", "RUN_STARTED", "RUN_FINISHED")
        said = [
            json.loads(line).get("event", {}).get("delta")
            for line in response.text.split("\n")[:-1]
        ]
        assert "".join(filter(None, said)) == "hello world "
        assert all("id" in json.loads(line) for line in response.text.splitlines()[1:])


async def test_an_answer_is_bare_text_for_a_client_that_accepts_that() -> None:
    async with served() as (_, http):
        response = await ask(http, "hello world", headers=TEXT)
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.text == "hello world \n"


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        (["text/plain, */*"], True),
        (["Text/Plain; charset=utf-8"], True),
        (["text/*"], True),
        (["text/html", "text/plain"], True),
        (["application/x-ndjson;q=0.1, text/plain"], True),
        (["text/html, text/plain;q=0.5"], True),
        (["*/*;q=0.5, text/plain;q=0.6"], True),
        (["text/plain;q=0, */*"], False),
        (["text/plain; Q=0.100, application/*"], False),
        (["text/plain;q=0"], False),
        (["*/*"], False),
        (["*/*", "image/png"], False),
        (["image/png"], False),
        (["", ";q=1,,/;=", "text/"], False),
        (["application/x-ndjson, text/plain"], False),
        ([], False),
    ],
)
async def test_the_accept_header_chooses_the_form_of_the_answer(
    accept: list[str], text: bool
) -> None:
    async with served() as (_, http):
        del http.headers["accept"]
        headers = [("content-type", FORM), *(("accept", one) for one in accept)]
        response = await http.post("/ask", content="hello", headers=headers)
        assert (response.text == "hello \n") is text
        assert response.headers["content-type"].startswith("text/plain") is text


@pytest.mark.parametrize("kind", [FORM, "text/plain", "Text/Plain; charset=utf-8"])
async def test_a_text_body_is_the_message_unchanged(kind: str) -> None:
    async with served() as (_, http):
        headers = {"content-type": kind, **TEXT}
        response = await http.post("/ask", content="a=1&b=%20+ä", headers=headers)
        assert response.text == "a=1&b=%20+ä \n"


async def test_a_json_body_may_have_every_member_of_a_message() -> None:
    async with served() as (_, http):
        body = {"content": "hello", "id": "m1", "session": SESSION, "metadata": {"page": "/x"}}
        response = await ask(http, body)
        assert response.headers["agentws-session"] == SESSION
        assert json.loads(response.text.splitlines()[0])["reply"] == "m1"
        (question, _) = await answered(http)
        assert question == {
            "role": "user",
            "id": "m1",
            "content": "hello",
            "metadata": {"page": "/x"},
        }


async def test_a_new_session_is_named_in_a_header_and_can_be_continued() -> None:
    async with served() as (_, http):
        first = await ask(http, "one")
        session = first.headers["agentws-session"]
        assert (await ask(http, "two", params={"session": session})).status_code == 200
        headers = {"agentws-session": session}
        assert (await ask(http, "three", headers=headers)).headers["agentws-session"] == session
        messages = await answered(http, session=session)
        assert [one["content"] for one in messages if one["role"] == "user"] == [
            "one",
            "two",
            "three",
        ]


async def test_a_repeated_id_gets_the_same_answer() -> None:
    async with served() as (_, http):
        body = {"content": "hello", "id": "m1", "session": SESSION}
        first, second = await ask(http, body), await ask(http, body)
        assert first.text.splitlines()[1:] == second.text.splitlines()[1:]
        assert json.loads(second.text.splitlines()[0])["duplicate"]
        again = await ask(http, "hello", params={"id": "m1", "session": SESSION}, headers=TEXT)
        assert again.text == "hello \n"
        assert len(await answered(http)) == 2
        other = await ask(http, {**body, "content": "other"})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_an_old_answer_is_read_without_the_log_after_it() -> None:
    store = CountingStore(MemoryStore())
    limits = Limits(tail_size=1, message_burst=1000)
    async with served(store=store, alone=True, limits=limits) as (_, http):
        for number in range(60):
            await ask(http, "hello", params={"session": SESSION, "id": f"m{number}"})
        store.counts.clear()
        again = await ask(http, "hello", params={"session": SESSION, "id": "m0"}, headers=TEXT)
        assert again.text == "hello \n"
        assert store.counts["read"] == 1


async def test_an_answer_streams_while_it_is_written() -> None:
    gate = Gate()
    async with served(Script("Hello\n", gate, "world")) as (gateway, http):
        async with Ask(gateway, b"Hi", accept="text/plain") as asked:
            assert await asked.line() == "Hello"
            gate.open()
            assert await asked.lines() == ["world"]


async def test_a_queued_message_gets_its_own_answer_and_no_other() -> None:
    gate = Gate()

    async def agent(ctx: Any) -> AsyncIterator[str]:
        await gate.wait()
        yield ctx.text

    async with served(agent, alone=True) as (gateway, http):
        query = f"?session={SESSION}"
        async with (
            Ask(gateway, b"first", query=query, accept="text/plain") as first,
            Ask(gateway, b"second", query=query, accept="text/plain") as second,
            Ask(gateway, b"third", query=query) as third,
        ):
            gate.open()
            assert await first.lines() == ["first"]
            assert await second.lines() == ["second"]
            frames = [json.loads(line) for line in await third.lines()]
            assert len({frame["run"] for frame in frames[1:]}) == 1
            assert [f["event"]["delta"] for f in frames[1:] if "delta" in f["event"]] == ["third"]


async def test_a_client_that_disconnects_does_not_stop_the_run() -> None:
    gate = Gate()
    async with served(Script("Hello ", gate, "world")) as (gateway, http):
        async with Ask(gateway, b"Hi", query=f"?session={SESSION}", accept="text/plain") as asked:
            assert asked.status == 200
        gate.open()
        assert (await answered(http))[-1]["content"] == "Hello world"


async def test_an_agent_that_fails_ends_the_answer_with_its_error() -> None:
    async def agent(ctx: Any) -> AsyncIterator[str]:
        yield "Well"
        raise AgentError("No luck.")

    async with served(agent) as (_, http):
        last = json.loads((await ask(http, "Hi")).text.splitlines()[-1])["event"]
        assert (last["type"], last["code"], last["message"]) == (
            "RUN_ERROR",
            "agent_error",
            "No luck.",
        )
        assert (await ask(http, "Hi", headers=TEXT)).text == "Well\n[agent_error: No luck.]\n"


async def test_a_stopped_answer_ends_with_a_line_that_says_so() -> None:
    gate = Gate()
    async with served(Script("Hello", gate)) as (gateway, http):
        async with Ask(gateway, b"Hi", query=f"?session={SESSION}", accept="text/plain") as asked:
            await gate.reached()
            await http.post(f"/sessions/{SESSION}/cancel", json={})
            assert (await asked.lines())[-1] == "[The answer was stopped.]"


async def test_withdrawing_a_queued_message_ends_its_answer() -> None:
    gate = Gate()
    async with served(Script(gate), alone=True) as (gateway, http):
        query = f"?session={SESSION}"
        async with (
            Ask(gateway, b"first", query=query),
            Ask(gateway, b"second", query=f"{query}&id=m2", accept="text/plain") as text,
        ):
            async with Ask(gateway, b"second", query=f"{query}&id=m2") as lines:
                await http.post(f"/sessions/{SESSION}/cancel", json={"message": "m2"})
                assert await text.lines() == [
                    "[The message was taken back before it was answered.]"
                ]
                assert json.loads((await lines.lines())[-1])["event"]["type"] == "message.withdrawn"
            gate.open()


async def test_the_sources_of_an_answer_follow_its_text() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        yield f"See [{ctx.cite('https://example.com/', 'A title')}]."

    async with served(agent) as (_, http):
        answer = (await ask(http, "Hi", headers=TEXT)).text
        assert answer == "See [1].\n[1] A title https://example.com/\n"


async def test_an_agents_question_is_the_last_line_of_the_answer() -> None:
    async def agent(ctx: Any) -> AsyncIterator[Any]:
        questions = [Interrupt("int_1", "approval", "Book it?")]
        yield RunFinished(ctx.session.id, ctx.run_id, outcome=InterruptOutcome(questions))

    async with served(agent) as (_, http):
        assert (await ask(http, "Hi", headers=TEXT)).text == "[The agent asks: Book it?]\n"


@pytest.mark.parametrize(
    ("accept", "said"), [("*/*", '"content":"pong"'), ("text/plain", "pong\n")]
)
async def test_a_command_is_answered_at_once(accept: str, said: str) -> None:
    async with served() as (_, http):
        for content in ("ping", "/ping"):
            response = await ask(http, content, headers={"accept": accept})
            assert response.status_code == 200
            assert said in response.text
            assert response.headers["agentws-session"]
        assert "/whoami" in (await ask(http, "/help", headers=TEXT)).text
        unknown = await ask(http, "/unknown")
        assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_command")


class Replaying:
    """A middleware that has read the body, and gives it again whenever the app receives."""

    def __init__(self, app: Any) -> None:
        self.received = 0
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]

        async def again() -> dict[str, Any]:
            self.received += 1
            assert self.received < 1000, "it does not wait: nothing else would run"
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)


async def test_a_middleware_that_replays_the_body_for_ever_does_not_occupy_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as (gateway, _):
        app = Replaying(gateway)
        async with client(app) as http:
            assert (await ask(http, "hello", headers=TEXT)).text == "hello \n"
    assert app.received < 5
    assert caplog.text.count("a middleware repeats the body") == 1


async def test_a_drain_ends_an_active_answer_with_a_draining_line() -> None:
    gate = Gate()
    async with served(Script("Hello\n", gate, "world"), alone=True) as (gateway, _):
        query = f"?session={SESSION}&id=m1"
        async with Ask(gateway, b"Hi", query=query, accept="text/plain") as asked:
            assert await asked.line() == "Hello"
            draining = asyncio.ensure_future(gateway.drain())
            assert (await asked.lines())[-1].startswith("[draining: ")
            gate.open()
            await draining


async def test_a_silent_answer_gets_keepalive_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentws.transports.stream.KEEPALIVE", 0.01)
    gate = Gate()
    async with served(Script(gate, "done"), alone=True) as (gateway, _):
        async with Ask(gateway, b"Hi") as asked:
            while await asked.line() != "":
                pass
            gate.open()
            assert json.loads((await asked.lines())[-1])["event"]["type"] == "RUN_FINISHED"


async def test_a_message_that_steers_is_answered_by_the_rest_of_the_run() -> None:
    gate = Gate()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "before"
        await gate.wait()
        async for message in ctx.steering():
            yield f"took {message.content}"
            break

    async with served(agent, alone=True) as (gateway, _):
        query = f"?session={SESSION}"
        async with Ask(gateway, b"first", query=query) as first:
            await gate.reached()
            body = b'{"content":"left","id":"m2","overlap":"steer"}'
            async with Ask(gateway, body, query=query, content_type="application/json") as steer:
                assert json.loads(await steer.line() or "")["type"] == "accepted"
                gate.open()
                events = [json.loads(line)["event"] for line in await steer.lines()]
            assert [event["type"] for event in events] == [
                "message.steered",
                "TEXT_MESSAGE_START",
                "TEXT_MESSAGE_CONTENT",
                "TEXT_MESSAGE_END",
                "RUN_FINISHED",
            ]
            assert "RUN_FINISHED" in (await first.lines())[-1]
