"""A history with any provider's messages becomes a valid request to another provider."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentws.agents.prompt import NO_RESULT
from agentws.integrations.tool_names import LONGEST_ID, LONGEST_NAME, ToolIds, tool_name
from agentws.protocol.messages import (
    AssistantMessage,
    DeveloperMessage,
    FunctionCall,
    ImagePart,
    Message,
    ReasoningMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UrlSource,
    UserMessage,
)
from agentws.testing.fakellm import FakeLLM

from .wires import WIRES

FITS = re.compile(r"[a-zA-Z0-9_-]+")

ids = st.text(max_size=5) | st.sampled_from(
    ["c1", "c2", "functions.clock:0", "functions_clock:0", "functions.clock:1", "", "x" * 41]
    + ["call|fc_1", "é" * 50, "x" * 40, "y" * 200]
)


def calling(
    *called: str, text: str | None = None, name: str = "clock", arguments: str = "{}"
) -> AssistantMessage:
    function = FunctionCall(name=name, arguments=arguments)
    return AssistantMessage("a", text, [ToolCall(id, function) for id in called] or None)


def result(id: str, content: str = "noon", error: str | None = None) -> ToolMessage:
    return ToolMessage("t", content, id, error)


async def sent(wire: str, *messages: Message) -> list[dict[str, Any]]:
    async with FakeLLM() as fake, WIRES[wire](fake) as llm:
        async for _ in llm.stream(messages):
            pass
    said: list[dict[str, Any]] = fake.requests[0]["messages"]
    return said


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Step = tuple[str, str]
"""A tool call or a result in a request, and its id."""


def steps(messages: Sequence[dict[str, Any]]) -> list[list[Step]]:
    """The calls and results in each message of a request."""
    return [list(_steps(message)) for message in messages]


def _steps(message: dict[str, Any]) -> list[Step]:
    calls = [("call", call["id"]) for call in message.get("tool_calls") or ()]
    if message["role"] == "tool":
        return [("result", message["tool_call_id"])]
    blocks = message["content"] if isinstance(message["content"], list) else []
    for block in blocks:
        if block["type"] == "tool_use":
            calls.append(("call", block["id"]))
        elif block["type"] == "tool_result":
            calls.append(("result", block["tool_use_id"]))
    return calls


def names(messages: Sequence[dict[str, Any]]) -> list[str]:
    found = [call["function"]["name"] for one in messages for call in one.get("tool_calls") or ()]
    for message in messages:
        if isinstance(message["content"], list):
            found += [block["name"] for block in message["content"] if block["type"] == "tool_use"]
    return found


def check_pairs(messages: Sequence[dict[str, Any]]) -> None:
    """Each call has a valid unique id, and exactly one result, right after its message."""
    flat = [step for message in steps(messages) for step in message]
    calls = [id for what, id in flat if what == "call"]
    assert len(set(calls)) == len(calls)
    assert all(FITS.fullmatch(id) and len(id) <= 40 for id in calls)
    owed: list[str] = []
    for what, id in flat:
        if what == "call":
            owed.append(id)
        else:
            assert owed.pop(0) == id
    assert not owed


# What each provider requires, for any history


texts = st.sampled_from(["", " ", "Hi", "\n"])
spoken = st.sampled_from(
    ['{"zone": "UTC"}', "{}", "", '{"zone": "U', "[]", "null", "noon", "{NaN}"]
)
histories = st.lists(
    st.one_of(
        st.builds(lambda text: UserMessage("u", text), texts),
        st.builds(
            lambda called, text, said: calling(*called, text=text, arguments=said),
            st.lists(ids, max_size=3),
            texts,
            spoken,
        ),
        st.builds(result, ids, texts, st.none() | texts),
        st.builds(lambda text: SystemMessage("s", text), texts),
        st.builds(lambda text: DeveloperMessage("d", text), texts),
        st.builds(lambda text: ReasoningMessage("r", text), texts),
    ),
    max_size=10,
)


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Examples of a strategy, for a test that can't run inside a draw."""
    values: list[Any] = []

    @settings(max_examples=count, database=None)
    @given(strategy)
    def draw(value: Any) -> None:
        values.append(value)

    draw()
    return values


async def test_any_history_becomes_a_valid_request(wire: str, soak: float) -> None:
    check = {"openai": check_openai, "anthropic": check_anthropic}[wire]
    async with FakeLLM() as fake, WIRES[wire](fake) as llm:
        for history in drawn(histories, max(1, int(200 * soak))):
            async for _ in llm.stream(history):
                pass
            check(fake.requests.pop())


def check_openai(request: dict[str, Any]) -> None:
    check_pairs(request["messages"])
    for before, after in itertools.pairwise(request["messages"]):
        assert before["role"] != after["role"] or before["role"] in ("system", "tool")
    for message in request["messages"]:
        calls = message.get("tool_calls")
        assert calls or isinstance(message["content"], str)
        assert message["role"] == "tool" or (message["content"] or "x").strip()
        assert message["content"] or calls or message["role"] == "tool"
        assert calls is None or calls
        for call in calls or ():
            assert isinstance(json.loads(call["function"]["arguments"]), dict)


def check_anthropic(request: dict[str, Any]) -> None:
    messages = request["messages"]
    check_pairs(messages)
    assert request.get("system", "x").strip()
    roles = [message["role"] for message in messages]
    assert roles[0] == roles[-1] == "user"
    assert all(one != two for one, two in zip(roles, roles[1:], strict=False))
    for message in messages:
        blocks = message["content"]
        assert blocks
        kinds = [block["type"] for block in blocks]
        results = kinds.count("tool_result")
        assert kinds[:results] == ["tool_result"] * results
        for block in blocks:
            assert block["type"] != "text" or block["text"].strip()
            assert block["type"] != "tool_result" or block["content"] or not block["is_error"]


# Ids and names


async def test_an_id_of_another_provider_is_mapped_with_its_result(wire: str) -> None:
    messages = await sent(
        wire,
        UserMessage("1", "What time is it?"),
        calling("functions.clock:0", "call_1"),
        result("functions.clock:0"),
        result("call_1"),
        UserMessage("2", "And now?"),
    )
    (called, answered) = [step for step in steps(messages) if step][:2]
    mapped = called[0][1]
    assert mapped.startswith("functions_clock_0_")
    assert called == [("call", mapped), ("call", "call_1")]
    assert answered[0] == ("result", mapped)
    check_pairs(messages)


async def test_a_mapped_id_is_the_same_in_every_request(wire: str) -> None:
    begun: list[Message] = [
        UserMessage("1", "What time is it?"),
        calling("functions.clock:0"),
        result("functions.clock:0"),
        UserMessage("2", "And now?"),
    ]
    later = [*begun, calling("functions.clock:1"), result("functions.clock:1")]
    first, second = steps(await sent(wire, *begun)), steps(await sent(wire, *later))
    assert [step for step in second if step][:2] == [step for step in first if step][:2]


async def test_an_id_of_two_calls_is_mapped_to_two_ids(wire: str) -> None:
    messages = await sent(
        wire,
        UserMessage("1", "What time is it?"),
        calling("functions.clock:0"),
        result("functions.clock:0", "noon"),
        calling("functions.clock:0"),
        result("functions.clock:0", "one"),
        UserMessage("2", "And now?"),
        calling("functions.clock:0"),
        UserMessage("3", "And now?"),
    )
    check_pairs(messages)
    said = [text for text in ("noon", "one", NO_RESULT) if f"'{text}'" in str(messages)]
    assert said == ["noon", "one", NO_RESULT]


async def test_an_invalid_tool_name_is_mapped_to_a_valid_one(wire: str) -> None:
    given_names = ["mcp.files/read", "clock", "café", "", "::", "x" * 65]
    history: list[Message] = [UserMessage("1", "Read it.")]
    for number, name in enumerate(given_names):
        history += [calling(f"c{number}", name=name), result(f"c{number}")]
    mapped = names(await sent(wire, *history, UserMessage("2", "Thanks")))
    assert mapped[:3] == ["mcp_files_read", "clock", "caf_"]
    assert all(FITS.fullmatch(name) and len(name) <= 64 for name in mapped)
    assert len(set(mapped)) == len(given_names)


@given(st.lists(ids, max_size=12))
def test_mapped_ids_are_valid_and_unique(called: list[str]) -> None:
    mapped = mapping(called)
    assert len(set(mapped)) == len(called)
    for id, given_id in zip(called, mapped, strict=True):
        assert FITS.fullmatch(given_id) and len(given_id) <= LONGEST_ID
        if FITS.fullmatch(id) and len(id) <= LONGEST_ID and called.count(id) == 1:
            assert given_id == id


@given(st.lists(ids, max_size=12))
def test_a_mapped_id_never_equals_the_id_of_another_call(called: list[str]) -> None:
    """Even if the id of the other call was chosen to collide."""
    made = mapping(called)
    assert len(set(mapping([*called, *made]))) == len(called) + len(made)


def mapping(called: list[str]) -> list[str]:
    made = ToolIds([calling(id) for id in called])
    return [made.of_call(id) for id in called]


@given(st.text(max_size=100))
def test_a_valid_tool_name_is_unchanged(name: str) -> None:
    mapped = tool_name(name)
    assert FITS.fullmatch(mapped) and len(mapped) <= LONGEST_NAME
    assert tool_name(mapped) == mapped
    if FITS.fullmatch(name) and len(name) <= LONGEST_NAME:
        assert mapped == name


HALF = '{"zone": "Eur'
ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ('{"zone": "UTC", "at": 9007199254740993}', {"zone": "UTC", "at": 9007199254740993}),
    (' {"a": [1, {"b": null}]} ', {"a": [1, {"b": None}]}),
    *((text, {}) for text in ("", HALF, "[]", "5", "null", '"UTC"', "{} {}", '{"a": NaN}')),
    ('{"a": "\\ud83d"}', {}),
    ('{"a":' * 5_000, {}),
]


@pytest.mark.parametrize(("said", "read"), ARGUMENTS, ids=lambda value: str(value)[:30])
async def test_arguments_that_are_not_an_object_are_left_out(
    wire: str, said: str, read: dict[str, Any]
) -> None:
    """For example those of a call that was stopped in the middle."""
    history: list[Message] = [UserMessage("1", "Go"), calling("c1", arguments=said)]
    messages = await sent(wire, *history, UserMessage("2", "And?"))
    if wire == "anthropic":
        assert messages[1]["content"][0]["input"] == read
    else:
        (call,) = messages[1]["tool_calls"]
        assert call["function"]["arguments"] == (said if read else "{}")


def test_many_calls_with_the_same_id_take_linear_time() -> None:
    """Some servers give every call the same id, or none."""
    made = mapping(["functions.clock:0"] * 20_000)
    assert len(set(made)) == 20_000


# Messages of the same role


async def test_messages_of_the_user_without_an_answer_between_are_one() -> None:
    picture = ImagePart(UrlSource("https://example.com/cat.png"))
    said: list[Message] = [
        UserMessage("1", "One"),
        UserMessage("2", "Two"),
        calling(text="Three"),
        calling("c1", text="Four"),
        result("c1"),
        UserMessage("3", "Five"),
        UserMessage("4", [picture]),
    ]
    asked = await sent("openai", *said)
    assert [one["role"] for one in asked] == ["user", "assistant", "tool", "user"]
    assert [one["content"] for one in asked[:2]] == ["One\n\nTwo", "Three\n\nFour"]
    assert [part["type"] for part in asked[3]["content"]] == ["text", "image_url"]


# Messages without text


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
async def test_an_empty_message_is_not_dropped(wire: str, text: str) -> None:
    (message,) = await sent(wire, UserMessage("1", text))
    assert "[An empty message.]" in str(message["content"])


async def test_a_result_without_text_is_sent_as_empty_text(wire: str) -> None:
    history: list[Message] = [UserMessage("1", "Go"), calling("c1"), result("c1", "")]
    messages = await sent(wire, *history, UserMessage("2", "And?"))
    found = messages[2]["content"] if wire == "openai" else messages[2]["content"][0]["content"]
    assert found == ""


async def test_the_last_message_of_a_request_to_anthropic_is_the_users() -> None:
    messages = await sent("anthropic", UserMessage("1", "Hi"), calling(text="Hello! "))
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
