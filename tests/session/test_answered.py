"""The answered questions of a session, on the pages of its conversation."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.answered import LONGEST, MOST, Answer, AnsweredQuestion, newest_of
from agentws.protocol.sizes import ANSWERED
from agentws.sessions.pages import Page
from agentws.sessions.session import Session
from tests.session.test_session import a_run, session_of

SHOWN = m.Interrupt("int_1", "input_required", message="Which size?")


async def asked(session: Session, number: int, *questions: m.Interrupt) -> None:
    """Appends a run that ends with these questions."""
    run, question = f"run_{number}", m.UserMessage(f"m{number}", f"question {number}")
    given = m.RunAgentInput(session.id, run, [question])
    events: list[e.Event] = [
        e.RunStarted(session.id, run, None, None, given),
        e.RunFinished(session.id, run, None, m.InterruptOutcome(list(questions))),
    ]
    await session.append(events, run=run)


async def answered(session: Session, number: int, answer: e.InterruptAnswered) -> None:
    """Appends the answer, and the run that resumes with it."""
    await session.append([answer])
    run = f"run_{number}"
    resume = [m.ResumeEntry(answer.interrupt_id, answer.status)]
    given = m.RunAgentInput(session.id, run, [], resume=resume)
    events: list[e.Event] = [
        e.RunStarted(session.id, run, None, None, given),
        e.TextMessageStart(f"a{number}"),
        e.TextMessageContent(message_id=f"a{number}", delta="thanks"),
        e.TextMessageEnd(f"a{number}"),
        e.RunFinished(session.id, run),
    ]
    await session.append(events, run=run)


async def newest(session: Session, *, messages: int = 10) -> Page:
    return await session.page_before(session.head.seq + 1, messages=messages)


async def one_answer(payload: Any, *, message: str = "Which size?") -> AnsweredQuestion:
    session = await session_of(MemoryStore())
    await asked(session, 1, msgspec.structs.replace(SHOWN, message=message))
    await answered(session, 2, e.InterruptAnswered("int_1", "resolved", payload))
    (one,) = (await newest(session)).answered
    return one


async def test_a_page_says_what_was_asked_and_who_answered() -> None:
    session = await session_of(MemoryStore())
    call = m.Interrupt("int_1", "tool_call", message="May I?", tool_call_id="c1")
    await asked(session, 1, call)
    await answered(session, 2, e.InterruptAnswered("int_1", "resolved", {"approved": True}, "ann"))
    answer = Answer("resolved", {"approved": True}, "ann")
    expected = AnsweredQuestion("int_1", "tool_call", answer, "May I?", "run_1", "c1", "m1")
    assert (await newest(session)).answered == [expected]


async def test_an_expired_question_says_so() -> None:
    session = await session_of(MemoryStore())
    await asked(session, 1, SHOWN)
    told = {"agentws": {"expired": True}}
    await answered(session, 2, e.InterruptAnswered("int_1", "cancelled", metadata=told))
    (one,) = (await newest(session)).answered
    assert one.answer == Answer("cancelled", expired=True)


async def test_an_open_question_and_the_call_of_a_client_are_not_listed() -> None:
    session = await session_of(MemoryStore())
    await asked(session, 1, SHOWN, m.Interrupt("call_1", m.CLIENT_TOOL, tool_call_id="call_1"))
    await answered(session, 2, e.InterruptAnswered("call_1", "resolved", {"content": "here"}))
    assert (await newest(session)).answered == []


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ("small", "small"),
        ("x" * LONGEST, "x" * LONGEST),
        ("🙂" * 2 * LONGEST, "🙂" * (LONGEST - 1) + "…"),
        ({"size": 4}, {"size": 4}),
        ({"size": "x" * LONGEST}, None),
        ({"approved": True, "editedArgs": {"size": "x" * LONGEST}}, {"approved": True}),
        ([1] * LONGEST, None),
        (None, None),
    ],
    ids=["text", "the longest text", "long text", "value", "large", "approval", "list", "none"],
)
async def test_a_large_answer_is_shortened_or_left_out(payload: Any, shown: Any) -> None:
    assert (await one_answer(payload)).answer.payload == shown


async def test_a_long_question_is_shortened() -> None:
    one = await one_answer("small", message="why? " * LONGEST)
    assert one.message is not None
    assert len(one.message) == LONGEST


def test_only_the_newest_are_kept_and_all_together_are_small() -> None:
    many = [AnsweredQuestion(f"int_{number}", "x", Answer("resolved")) for number in range(200)]
    assert newest_of(many) == many[-MOST:]
    large = [msgspec.structs.replace(one, message="é" * LONGEST) for one in many]
    kept = newest_of(large)
    assert kept == large[-len(kept) :]
    assert ANSWERED - 1200 < len(msgspec.json.encode(kept)) <= ANSWERED + 2 * len(kept)


@pytest.mark.parametrize("seed", range(10))
async def test_every_answered_question_is_on_exactly_one_page(seed: int) -> None:
    chance = random.Random(seed)
    session = await session_of(MemoryStore())
    said: list[str] = []
    for number in range(0, 60, 2):
        if chance.random() < 0.5:
            await a_run(session, number, "words")
            continue
        await asked(session, number, msgspec.structs.replace(SHOWN, id=f"int_{number}"))
        answer = e.InterruptAnswered(f"int_{number}", "resolved", number)
        await answered(session, number + 1, answer)
        said.append(f"int_{number}")
    found: list[str] = []
    before: int | None = session.head.seq + 1
    while before is not None:
        page = await session.page_before(before, messages=chance.randint(2, 9))
        shown = {message.id for message in page.messages}
        assert all(one.after in shown for one in page.answered)
        found = [one.id for one in page.answered] + found
        before = page.before
    assert found == said


async def test_questions_from_before_the_history_was_cleared_are_not_listed() -> None:
    session = await session_of(MemoryStore())
    await asked(session, 1, SHOWN)
    await answered(session, 2, e.InterruptAnswered("int_1", "resolved", "small"))
    await session.append([e.HistoryCleared()])
    await a_run(session, 3, "words")
    assert (await newest(session)).answered == []
