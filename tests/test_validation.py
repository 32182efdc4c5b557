"""Invalid values of the host's own code raise TypeError and never reach a log."""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.applications import Starlette

from agentws import (
    Agent,
    AgentGateway,
    Command,
    CommandContext,
    Identity,
    RunContext,
    SQLiteStore,
    mount_agent_gateway,
    tool,
)
from agentws.agents.output import Output
from agentws.errors import BadRequest, NotFound
from agentws.protocol import events as e
from agentws.protocol.events import SessionUpdated
from agentws.store import SessionInfo
from agentws.testing.agents import Script, Yield
from agentws.testing.connect import connect, kind, running
from agentws.testing.oracle import read_log
from tests.runs.harness import talk


def named(value: object) -> str:
    """An id that is the same in every process: without the addresses of objects."""
    return re.sub(r" at 0x\w+", "", str(value))[:60]


class Plain(enum.Enum):
    """Is no text, though its value is."""

    NAME = "name"


NOTICES: list[dict[str, Any]] = [
    {"content": 42},
    {"content": None},
    {"content": b"bytes"},
    {"content": "lone \ud800"},
    {"content": "zero \x00"},
    {"content": "hi", "level": "fatal"},
    {"content": "hi", "level": None},
    {"content": "hi", "metadata": {"x": object()}},
    {"content": "hi", "metadata": {"x": float("nan")}},
    {"content": "hi", "metadata": ["a list"]},
]


@pytest.mark.parametrize("given", NOTICES, ids=named)
async def test_pushing_an_invalid_notice_raises_type_error_and_appends_nothing(
    given: dict[str, Any],
) -> None:
    async with talk(Script("fine")) as one:
        for say in (one.gateway.session(one.session).push, one.gateway.broadcast):
            with pytest.raises(TypeError, match="expected content: str, level: 'info', 'warning'"):
                await say(**given)
        assert (await read_log(one.store, one.session))[1] == []
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"
        await one.check()


@pytest.mark.parametrize(
    "given",
    [
        {"title": 42, "metadata": None},
        {"title": "\ud800", "metadata": None},
        {"title": b"bytes", "metadata": None},
        {"title": UUID(int=7), "metadata": None},
        {"title": Plain.NAME, "metadata": None},
        {"title": "fine", "metadata": {"x": object()}},
        {"title": None, "metadata": "text"},
    ],
    ids=named,
)
async def test_renaming_to_an_invalid_title_or_metadata_raises_type_error(
    given: dict[str, Any],
) -> None:
    async with talk(Script("fine")) as one:
        session = await one.gateway.sessions.find(one.session)
        with pytest.raises(TypeError, match="expected title: str or None"):
            await one.gateway.change_session(session, **given)
        assert (await one.store.info(one.session)).title is None
        assert (await read_log(one.store, one.session))[1] == []


async def test_session_metadata_changed_in_place_by_an_agent_is_not_stored() -> None:
    async def say_hello(ctx: CommandContext, args: str) -> str:
        spoil(ctx.session)
        return "hello"

    def spoil(session: SessionInfo) -> None:
        assert session.metadata == {"tags": ["a"]}
        session.metadata["tags"].append(object())

    class Spoiling(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            spoil(ctx.session)
            yield "fine"

        def commands(self) -> list[Command]:
            return [Command("hello", "Says hello", say_hello)]

    async with talk(Spoiling) as one:
        session = await one.gateway.sessions.find(one.session)
        await one.gateway.change_session(session, title=None, metadata={"tags": ["a"]})
        await one.client.say("/hello", "c1")
        assert (await one.client.until("notice"))["content"] == "hello"
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"
        await one.check()
        for info in (session.info, await one.store.info(one.session)):
            assert info.metadata == {"tags": ["a"]}


@pytest.mark.parametrize("given", ["ada", Identity("ada"), {"sub": "ada"}, True], ids=repr)
@pytest.mark.parametrize("option", ["authenticate", "authorize"])
def test_an_authenticate_or_authorize_that_is_not_callable_raises_type_error(
    option: str, given: Any
) -> None:
    with pytest.raises(TypeError, match=f"{option} is {type(given).__name__}; expected a callable"):
        AgentGateway(None, **{option: given})


class Safe(str):
    """Like the safe strings of template engines."""


class Word(enum.StrEnum):
    HI = "hi"


@pytest.mark.parametrize("text", [Safe("hi"), Word.HI], ids=repr)
async def test_a_str_subclass_is_stored_as_a_plain_str(text: str) -> None:
    async with talk(Script("fine")) as one:
        session = await one.gateway.sessions.find(one.session)
        await one.gateway.change_session(session, title=text, metadata={"of": [text]})
        await one.gateway.session(one.session).push(text, metadata={"of": [text]})
        await one.gateway.broadcast(text, metadata={"of": [text]})
        posted = (await one.client.until("notice.posted"))["event"]
        assert (posted["content"], posted["metadata"]) == ("hi", {"of": ["hi"]})
        notice = await one.client.until("notice")
        assert (notice["content"], notice["metadata"]) == ("hi", {"of": ["hi"]})
        assert session.info.metadata == {"of": ["hi"]}
        for info in (session.info, await one.store.info(one.session)):
            assert (info.title, type(info.title)) == ("hi", str)
        await one.check()


@pytest.mark.parametrize("name", [Safe("hi"), Word.HI], ids=repr)
async def test_names_and_ids_of_the_host_may_be_str_subclasses(name: str, tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chat.sqlite3")
    async with talk({name: Script("fine")}, store=store) as one:
        await one.client.say("go", "m1", agent="hi")
        assert await one.client.answer() == "fine"
        first = await one.gateway.topic(name).post("posted", key=name)
        assert await one.gateway.topic("hi").post("posted", key="hi") == first
        assert await one.gateway.topic(name).notify("shown") == 0
        await one.gateway.session(Safe(one.session)).push("pushed")
        assert (await one.client.until("notice.posted"))["event"]["content"] == "pushed"
        await one.check()


async def test_the_name_of_a_node_may_be_a_str_subclass() -> None:
    app = Starlette()
    gateway = mount_agent_gateway(app, Script("fine"), node=Safe("web-1"))
    async with running(app), connect(app) as client:
        await client.until("welcome")
        assert await gateway.broadcast("hi") == 1
        assert (await client.until("notice"))["content"] == "hi"


async def test_what_commands_and_tools_return_may_be_str_subclasses() -> None:
    @tool
    async def look() -> str:
        """Looks."""
        return Safe("found")

    @tool
    async def read(page: str) -> dict[str, str]:
        """Reads."""
        return {"title": Safe(page), "of": page}

    class Looking(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield await ctx.call(look)
            yield str(await ctx.call(read, page=Safe("it")))

        def commands(self) -> list[Command]:
            async def say(ctx: CommandContext, args: str) -> str:
                return Safe("said")

            return [Command(Safe("say"), Safe("Says it"), say)]

    async with talk(Looking) as one:
        await one.client.say("/say", "c1")
        assert (await one.client.until("notice"))["content"] == "said"
        await one.client.say("/help", "c2")
        assert "/say \u2014 Says it" in (await one.client.until("notice"))["content"]
        await one.client.say("go", "m1")
        assert await one.client.answer() == "found{'title': 'it', 'of': 'it'}"
        results = [one for one in one.client.events() if one["type"] == "TOOL_CALL_RESULT"]
        assert results[-1]["content"] == '{"title":"it","of":"it"}'
        await one.check()


async def test_events_of_an_agent_may_have_str_subclasses() -> None:
    """As libraries return: the text of a model's message, of a page, of an array."""
    text, id = Safe("hi"), Safe("an-id")

    class Other(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
            yield e.TextMessageStart(Safe("other"))
            yield e.TextMessageContent(message_id=Safe("other"), delta=text)

    class Speaking(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
            ctx.reason(text)
            ctx.set_state({text: [text]})
            ctx.patch_state([{"op": "add", "path": Safe("/hi/-"), "value": text}])
            ctx.cite(Safe("https://example.com/"), text)
            ctx.show(Safe("chart"), {"title": text}, id=id)
            yield text
            yield e.TextMessageStart(id, name=text, metadata={text: text})
            yield e.TextMessageContent(message_id=id, delta=text)
            yield e.TextMessageContent(message_id=id, delta=" there")
            yield e.TextMessageEnd(id)
            yield e.ToolCallStart(Safe("call"), text)
            yield e.ToolCallArgs(tool_call_id=Safe("call"), delta="{}")
            yield e.ToolCallEnd(Safe("call"))
            yield await ctx.delegate("other", text)
            yield e.RunFinished("t", "r", {"result": text})

    async with talk({"speaking": Speaking, "other": Other}) as one:
        await one.client.say("go", "m1")
        terminal = (await one.terminal())["event"]
        assert (terminal["type"], terminal["result"]) == ("RUN_FINISHED", {"result": "hi"})
        fold = await one.check()
        assert fold.state == {"hi": ["hi", "hi"]}
        assert [type(part) for part in fold.state["hi"]] == [str, str]
        messages = await one.gateway.session(one.session).messages()
        assert messages == fold.messages
        assert type(messages[-2].id) is str


async def test_bytes_beside_a_str_subclass_are_refused() -> None:
    content: Any = b"bytes"
    event = e.ToolCallResult("r", Safe("c"), content)
    async with talk(Script(Yield(e.ToolCallStart("c", "look"), event))) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["code"] == "invalid_event"
        await one.check()


async def test_ids_of_the_host_that_no_store_can_have_are_not_found(tmp_path: Path) -> None:
    async with talk(Script("fine"), store=SQLiteStore(tmp_path / "chat.sqlite3")) as one:
        for id in ("lone \ud800", "zero \x00"):
            with pytest.raises(NotFound):
                await one.gateway.session(id).push("hi")
            with pytest.raises(BadRequest, match="not valid"):
                await one.gateway.topic("orders").post("hi", key=id)


async def test_metadata_changed_by_the_host_after_a_rename_stays_as_stored() -> None:
    async with talk(Script("fine")) as one:
        session = await one.gateway.sessions.find(one.session)
        metadata: dict[str, Any] = {"tags": ["a"], "pair": (1, 2)}
        await one.gateway.change_session(session, title=None, metadata=metadata)
        metadata["tags"].append(object())
        for info in (session.info, await one.store.info(one.session)):
            assert info.metadata == {"tags": ["a"], "pair": [1, 2]}


async def test_metadata_changed_by_an_agent_after_it_yielded_stays_as_stored() -> None:
    metadata: dict[str, Any] = {"tags": ["a"]}

    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        yield SessionUpdated("a title", metadata=metadata)
        metadata["tags"].append(object())
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"
        await one.check()
        for info in (
            (await one.gateway.sessions.find(one.session)).info,
            await one.store.info(one.session),
        ):
            assert info.metadata == {"tags": ["a"]}


@pytest.mark.parametrize(
    "id", [None, True, 1.5, b"ada", {"sub": "ada"}, "\ud800", "a\x00", "\u00e4" * 513], ids=repr
)
def test_an_identity_with_an_id_of_another_type_raises_type_error(id: Any) -> None:
    with pytest.raises(TypeError, match="the id of an identity"):
        Identity(id)


def test_an_identity_may_have_1024_bytes_and_no_more() -> None:
    assert len(Identity("a" * 1024).id) == 1024
    with pytest.raises(TypeError, match="1025 bytes; expected 1024 at most, and no token"):
        Identity("a" * 1025)


@pytest.mark.parametrize("claims", [None, "admin", ["admin"]])
def test_claims_that_are_not_a_mapping_raise_type_error(claims: Any) -> None:
    with pytest.raises(TypeError, match="expected a mapping"):
        Identity("ada", claims)


async def _say_hello(ctx: Any, args: str) -> str:
    return "hello"


COMMANDS: list[tuple[Any, str]] = [
    (None, "commands returned NoneType; expected a list of Command"),
    ({"hello": _say_hello}, "commands returned dict; expected a list of Command"),
    ([("hello", "Says hello", _say_hello)], "commands returned tuple in its list"),
    ([Command(1, "Says hello", _say_hello)], "the command 1 is not valid"),  # type: ignore[arg-type]
    ([Command("hello", None, _say_hello)], "the command 'hello' is not valid"),  # type: ignore[arg-type]
    ([Command("hello", "Says hello", None)], "the command 'hello' is not valid"),  # type: ignore[arg-type]
    ([Command("/hello", "Says hello", _say_hello)], "the command '/hello' can't be typed"),
    ([Command("say hello", "Says hello", _say_hello)], "the command 'say hello' can't be typed"),
    ([Command("", "Says hello", _say_hello)], "the command '' can't be typed"),
]


def speaking(commands: Callable[[], Any]) -> type[Agent]:
    class Speaking(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield "fine"

        def commands(self) -> Any:
            return commands()

    return Speaking


@pytest.mark.parametrize(("made", "said"), COMMANDS, ids=named)
async def test_invalid_commands_of_an_agent_are_logged_and_refused_as_agent_error(
    made: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with talk(speaking(lambda: made)) as one:
        for text in ("/hello", "/help", "/other"):
            refused = await one.client.say(text, f"c{text}")
            assert (kind(refused), refused["code"]) == ("error", "agent_error")
        assert said in caplog.text
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"
        await one.check()


async def test_an_agents_commands_may_be_a_generator() -> None:
    async with talk(
        speaking(lambda: (one for one in [Command("hello", "Says hello", _say_hello)]))
    ) as one:
        await one.client.say("/hello", "c1")
        assert (await one.client.until("notice"))["content"] == "hello"
        await one.check()
