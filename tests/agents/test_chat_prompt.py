"""Properties of the prompt that is made of a conversation."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws.agents.prompt import (
    NO_RESULT,
    STOPPED,
    UNANSWERED,
    approximate_tokens,
    enough_history,
    newest_turns,
    prompt,
    well_formed,
)
from agentws.agents.run_context import RunContext
from agentws.protocol.messages import (
    AssistantMessage,
    ContentPart,
    FunctionCall,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UrlSource,
    UserMessage,
)
from agentws.store import SessionInfo

texts = st.text(max_size=60)
calls = st.sampled_from("abcd")


def assistant(text: str, called: list[str]) -> Message:
    function = FunctionCall(name="f", arguments="{}")
    tool_calls = [ToolCall(id=call, function=function) for call in called]
    return AssistantMessage(id="a", content=text or None, tool_calls=tool_calls or None)


messages = st.one_of(
    st.builds(lambda text: UserMessage(id="u", content=text), texts),
    st.builds(assistant, texts, st.lists(calls, max_size=3, unique=True)),
    st.builds(
        lambda text, call: ToolMessage(id="t", content=text, tool_call_id=call), texts, calls
    ),
    st.builds(lambda text: SystemMessage(id="s", content=text), texts),
)
conversations = st.lists(messages, max_size=30)
budgets = st.integers(min_value=0, max_value=300)


def cost(conversation: list[Message]) -> int:
    return sum(map(approximate_tokens, conversation))


@given(conversations, budgets)
def test_the_newest_part_of_the_conversation_is_kept(
    conversation: list[Message], budget: int
) -> None:
    kept = newest_turns(conversation, budget=budget)
    assert kept == conversation[len(conversation) - len(kept) :]


@given(conversations, budgets)
def test_only_whole_turns_are_kept(conversation: list[Message], budget: int) -> None:
    kept = newest_turns(conversation, budget=budget)
    assert len(kept) == len(conversation) or isinstance(kept[0], UserMessage)


@given(conversations, budgets)
def test_the_budget_holds_except_for_the_turn_to_be_answered(
    conversation: list[Message], budget: int
) -> None:
    kept = newest_turns(conversation, budget=budget)
    turns = sum(isinstance(message, UserMessage) for message in kept[1:]) + bool(kept)
    assert cost(kept) <= budget or turns <= 1


@given(conversations, budgets)
def test_no_turn_that_fits_is_left_out(conversation: list[Message], budget: int) -> None:
    kept = newest_turns(conversation, budget=budget)
    rest = conversation[: len(conversation) - len(kept)]
    starts = [i for i, message in enumerate(rest) if isinstance(message, UserMessage)]
    turn = rest[starts[-1] :] if starts else rest
    assert not rest or cost(turn + kept) > budget


@given(conversations)
def test_the_message_to_be_answered_is_always_in_the_prompt(conversation: list[Message]) -> None:
    asked = UserMessage(id="last", content="x" * 1000)
    assert newest_turns([*conversation, asked], budget=0) == [asked]


@given(conversations)
def test_every_call_is_directly_followed_by_its_one_result(conversation: list[Message]) -> None:
    owed: list[str] = []
    for message in well_formed(conversation):
        if isinstance(message, ToolMessage):
            assert owed and owed.pop(0) == message.tool_call_id
            continue
        assert not owed
        if isinstance(message, AssistantMessage):
            owed = [call.id for call in message.tool_calls or ()]
    assert not owed


def is_text(message: Message) -> bool:
    return isinstance(message, AssistantMessage) and not message.tool_calls


@given(conversations)
def test_well_formed_changes_only_tool_results_and_the_place_of_texts(
    conversation: list[Message],
) -> None:
    def others(of: list[Message], texts: bool) -> list[Message]:
        said = [message for message in of if not isinstance(message, ToolMessage)]
        return [message for message in said if is_text(message) is texts]

    shown = well_formed(conversation)
    assert others(shown, texts=False) == others(conversation, texts=False)
    assert others(shown, texts=True) == others(conversation, texts=True)


@given(conversations)
def test_a_result_is_the_last_message_where_it_was(conversation: list[Message]) -> None:
    answered = [*conversation, ASKED, assistant("", ["a"]), assistant("I look.", [])]
    shown = well_formed([*answered, ToolMessage(id="t", content="noon", tool_call_id="a")])
    assert [type(one) for one in shown[-4:]] == [
        UserMessage,
        AssistantMessage,
        AssistantMessage,
        ToolMessage,
    ]


@given(conversations)
def test_a_well_formed_conversation_is_unchanged(conversation: list[Message]) -> None:
    once = well_formed(conversation)
    assert well_formed(once) == once


@given(conversations, budgets)
def test_the_prompt_of_a_partly_read_history_is_that_of_the_whole(
    conversation: list[Message], budget: int
) -> None:
    asked = [*conversation, UserMessage(id="last", content="Well?")]
    newest = ended(enough_history(context(asked, []), budget=budget))
    assert prompt(newest, budget=budget) == prompt(asked, budget=budget)


def test_images_and_files_count_in_the_budget() -> None:
    image = ImagePart(UrlSource("https://example.com/cat.png"))
    plain = approximate_tokens(UserMessage(id="u", content=[TextPart(text="Look")]))
    both: list[ContentPart] = [TextPart(text="Look"), image]
    shown = approximate_tokens(UserMessage(id="u", content=both))
    metadata = {"attachments": ["file_1", "file_2"]}
    attached = approximate_tokens(UserMessage(id="u", content="Look", metadata=metadata))
    assert shown > plain + 1000 and attached > plain + 2000


def test_a_long_conversation_is_not_read_whole() -> None:
    limits: list[int | None] = []
    asked: list[Message] = [UserMessage(id=f"m{n}", content="word " * 20) for n in range(10_000)]
    ended(enough_history(context(asked, limits), budget=5_000))
    assert limits == [64, 128, 256]


def ended(reading: Coroutine[Any, Any, list[Message]]) -> list[Message]:
    """The result of a coroutine that never waits."""
    with pytest.raises(StopIteration) as done:
        reading.send(None)
    messages: list[Message] = done.value.value
    return messages


def context(asked: list[Message], limits: list[int | None]) -> RunContext:
    """A context with that conversation; ``limits`` collects the limits of the reads."""

    async def history(limit: int | None) -> list[Message]:
        limits.append(limit)
        return asked if limit is None else asked[-limit:]

    session = SessionInfo(id="a-session-of-this-test", agent="agent", created=0.0, updated=0.0)
    last = UserMessage(id="last", content="Well?")
    return RunContext(
        message=last, session=session, run_id="run_1", agent="agent", identity=None, history=history
    )


def test_a_tool_call_without_a_result_gets_one_that_says_so() -> None:
    last = UserMessage(id="u", content="and now?")
    shown = well_formed([UserMessage(id="u", content="go"), assistant("", ["a"]), last])
    assert isinstance(shown[2], ToolMessage)
    assert (shown[2].tool_call_id, shown[2].content, shown[3]) == ("a", NO_RESULT, last)


def test_tool_calls_with_the_same_id_get_their_results_in_order() -> None:
    def result(text: str) -> Message:
        return ToolMessage(id="t", content=text, tool_call_id="a")

    turn: list[Message] = [
        UserMessage(id="u", content="go"),
        assistant("", ["a"]),
        result("first"),
        assistant("", ["a"]),
        result("second"),
        assistant("", ["a"]),
    ]
    shown = [one.content for one in well_formed(turn) if isinstance(one, ToolMessage)]
    assert shown == ["first", "second", NO_RESULT]


ASKED = UserMessage(id="u", content="Well?")


def said(text: str | None, status: str) -> Message:
    return AssistantMessage(id="a", content=text, metadata={"agentws": {"status": status}})


def test_a_cancelled_answer_is_marked_for_the_model() -> None:
    answers = [said("Once upon", "cancelled"), said(None, "error")]
    assert [message.content for message in prompt([*answers, ASKED], budget=1000)] == [
        f"Once upon\n\n{STOPPED['cancelled']}",
        STOPPED["error"],
        "Well?",
    ]


def test_a_message_without_an_answer_is_marked_for_the_model() -> None:
    metadata = {"agentws": {"status": "cancelled"}}
    parts: list[ContentPart] = [TextPart(text="Hi")]
    asked: list[Message] = [
        UserMessage(id="1", content="Hello", metadata=metadata),
        UserMessage(id="2", content=parts, metadata=metadata),
        UserMessage(id="3", content="Hello?", metadata=metadata),
    ]
    note = UNANSWERED["cancelled"]
    assert [message.content for message in prompt(asked, budget=1000)] == [
        f"Hello\n\n{note}",
        [*parts, TextPart(text=note)],
        "Hello?",
    ]


def test_a_complete_answer_is_not_marked() -> None:
    whole: list[Message] = [
        said("The end.", "complete"),
        AssistantMessage(id="a", content="Hi", metadata={"agentws": "of another kind"}),
        AssistantMessage(id="a", content="Hi"),
        ASKED,
    ]
    assert prompt(whole, budget=1000) == whole


@given(conversations, budgets)
def test_a_prompt_is_well_formed_and_ends_with_the_message_to_be_answered(
    conversation: list[Message], budget: int
) -> None:
    shown = prompt([*conversation, ASKED], budget=budget)
    assert shown[-1] == ASKED
    assert well_formed(shown) == shown
