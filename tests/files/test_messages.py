"""Messages with files, and agents that read and make them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from agentws import Agent, AgentGateway, MemoryFileStore, RunContext
from agentws.agents.output import Output
from agentws.attachments.library import SWEEP_MARGIN
from agentws.errors import NotFound, TooLarge
from agentws.files import FileInfo, NewFile, holder_of
from agentws.testing import Hang, Script, connect, kind
from tests.runs.harness import talk

from .calling import (
    ANN,
    BOB,
    OTHER,
    PNG,
    SESSION,
    conversation,
    held,
    put,
    refused,
    send,
    served,
    until_held,
)


class Reader(Agent):
    """Says what it was sent, and what is in it."""

    async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        for file in ctx.attachments:
            async with file.open() as chunks:
                size = sum([len(chunk) async for chunk in chunks])
            yield f"{file.name} {file.type} {size} of {file.size};"
        yield "done"


# Sending


async def test_an_agent_reads_the_files_of_its_message() -> None:
    async with served(Reader) as (_, http):
        one = await put(http, PNG, name="one.png")
        two = await put(http, b"x" * 600_000, name="two.txt")
        done = await send(http, attachments=[one["id"], two["id"], one["id"]])
        assert done.status_code == 202, done.text
        question, answer = await conversation(http)
        assert question["metadata"]["attachments"] == [
            {"id": one["id"], "name": "one.png", "type": "image/png", "size": len(PNG)},
            {"id": two["id"], "name": "two.txt", "type": "text/plain", "size": 600_000},
        ]
        assert question["content"] == "Look"
        expected = (
            f"one.png image/png {len(PNG)} of {len(PNG)};two.txt text/plain 600000 of 600000;"
        )
        assert answer["content"] == expected + "done"


@pytest.mark.parametrize(
    "sent",
    [
        {"attachments": ["file_aaaaaaaaaaaaaaaaaaaaaaaa"]},
        {"attachments": ["../../etc/passwd"]},
        {"metadata": {"attachments": ["file_aaaaaaaaaaaaaaaaaaaaaaaa"]}},
    ],
)
async def test_a_message_with_an_unknown_file_is_not_accepted(sent: dict[str, Any]) -> None:
    async with served(Reader) as (_, http):
        refused(await send(http, **sent), 404, "not_found")
        assert await conversation(http) == []


@pytest.mark.parametrize(
    "sent",
    [
        {"attachments": [""]},
        {"attachments": ["x" * 200]},
        {"metadata": {"attachments": "file_a"}},
        {"metadata": {"attachments": {"id": "file_a"}}},
        {"metadata": {"attachments": [{"id": "file_a", "name": "a", "type": "b", "size": 1}]}},
        {"metadata": {"attachments": ["file_a"]}, "attachments": ["file_a"]},
    ],
)
async def test_attachments_are_a_list_of_ids(sent: dict[str, Any]) -> None:
    async with served(Reader) as (_, http):
        refused(await send(http, **sent), 400, "bad_request")
        assert await conversation(http) == []


async def test_a_message_with_too_many_files_is_not_accepted() -> None:
    async with served(Reader, max_files_per_message=2) as (_, http):
        ids = [(await put(http))["id"] for _ in range(3)]
        error = refused(await send(http, attachments=ids), 400, "bad_request")
        assert error["expected"] == "at most 2"
        assert (await send(http, attachments=ids[:2])).status_code == 202


async def test_a_foreign_file_can_not_be_attached() -> None:
    async with served(Reader, known=True) as (_, http):
        file = await put(http, session=None, headers=ANN)
        refused(await send(http, attachments=[file["id"]], headers=BOB), 404, "not_found")
        bound = await put(http, session=OTHER, headers=ANN)
        for id in (bound["id"], "file_aaaaaaaaaaaaaaaaaaaaaaaa"):
            done = await send(http, session="ses_of_ann_00000000", attachments=[id], headers=ANN)
            refused(done, 404, "not_found")
        done = await send(http, session=OTHER, attachments=[bound["id"], file["id"]], headers=ANN)
        assert done.status_code == 202


async def test_a_file_of_another_session_without_an_owner_can_not_be_attached() -> None:
    async with served(Reader) as (_, http):
        file = await put(http, session=OTHER)
        refused(await send(http, attachments=[file["id"]]), 404, "not_found")


async def test_a_message_that_is_sent_again_is_a_duplicate_though_its_file_is_deleted() -> None:
    async with served(Reader) as (_, http):
        file = await put(http)
        first = await send(http, attachments=[file["id"]])
        await conversation(http)
        await http.delete(f"/files/{file['id']}", params={"session": SESSION})
        again = await send(http, attachments=[file["id"]])
        assert again.json() == {**first.json(), "duplicate": True}
        refused(await send(http, attachments=[]), 409, "idempotency_conflict")


async def test_a_gateway_without_files_refuses_attachments() -> None:
    async with talk(Reader) as here:
        for frame in ({"attachments": ["file_a"]}, {"metadata": {"attachments": ["file_a"]}}):
            await here.client.send({"type": "send", "id": "x1", "content": "Look", **frame})
            error = await here.client.until("error")
            assert (error["code"], error["reply"]) == ("not_supported", "x1")
        (welcome,) = [one for one in here.client.frames if one.get("type") == "welcome"]
        assert set(welcome["limits"]) == {"maxMessageSize", "maxQueued", "messageRate"}
        await here.client.send({"type": "send", "id": "m1", "content": "a", "attachments": []})
        await here.terminal()


async def test_over_websocket_a_refused_file_is_an_error_and_the_connection_lives_on() -> None:
    async with served(Reader) as (gateway, http):
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            welcome = await client.until("welcome")
            limits = welcome["limits"]
            assert limits["maxFileSize"] == 10 * 1024 * 1024
            assert (limits["maxFilesPerMessage"], limits["fileTypes"]) == (10, ["*/*"])
            frame = {"type": "send", "id": "m1", "content": "Look", "attachments": ["file_no"]}
            await client.send(frame)
            error = await client.until("error")
            assert (error["code"], error["reply"]) == ("not_found", "m1")
            file = await put(http)
            await client.send({**frame, "attachments": [file["id"]]})
            await client.until(lambda one: kind(one) == "RUN_FINISHED")
            accepted = [one for one in client.events() if one["type"] == "message.accepted"]
            assert accepted[0]["message"]["metadata"]["attachments"][0]["name"] == "hello.txt"


async def test_the_simple_wire_names_files_in_the_metadata() -> None:
    async with served(Reader) as (gateway, http):
        file = await put(http)
        async with connect(gateway, f"/ws/chat?session={SESSION}", subprotocols=[]) as client:
            sent = {"content": "Look", "metadata": {"attachments": [file["id"]], "mine": 1}}
            await client.send(sent)
            answer = await client.until("text")
            assert answer["content"] == "hello.txt text/plain 5 of 5;done"
            await client.send({"content": "Look", "metadata": {"attachments": ["file_no"]}})
            error = await client.until("error")
            assert error["metadata"]["code"] == "not_found"
        question = (await conversation(http))[0]
        assert question["metadata"]["mine"] == 1


@pytest.mark.parametrize("overlap", ["queue", "reject"])
async def test_a_message_that_is_refused_attaches_no_files(overlap: str) -> None:
    files = MemoryFileStore()
    async with served(Script(Hang()), files=files, max_queued=1) as (gateway, http):
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            await client.say("Begin", id="m0")
            await client.until("RUN_STARTED")
            first, second = [(await put(http))["id"] for _ in range(2)]
            kept = await client.say("Wait", id="m1", attachments=[first])
            assert kept["type"] == "accepted"
            more = {"attachments": [second], "overlap": overlap}
            refusal = await client.say("And wait", id="m2", **more)
            assert refusal["code"] == {"queue": "queue_full", "reject": "run_active"}[overlap]
            assert await files.sessions(second) == []
            again = await client.say("Wait", id="m1", attachments=[first])
            assert again["duplicate"], "of a message that was accepted, though there is no room now"
            edit = {"type": "edit", "id": "m3", "message": "m0", "content": "Not so"}
            assert (await client.ask({**edit, "attachments": [second]}))["code"] == "run_active"
            assert await files.sessions(second) == []
            assert await files.sessions(first) == [SESSION]


@pytest.mark.parametrize("content", ["", "  \n", []], ids=["empty", "blank", "no parts"])
async def test_files_need_no_text(content: Any) -> None:
    async with served(Reader) as (_, http):
        file = await put(http)
        done = await send(http, content=content, attachments=[file["id"]])
        assert done.status_code == 202, done.text
        question, answer = await conversation(http)
        assert question["content"] == content
        assert answer["content"] == "hello.txt text/plain 5 of 5;done"
        refused(await send(http, id="m2", content=content, attachments=[]), 400, "bad_request")
        nothing: dict[str, Any] = {"attachments": []}
        refused(await send(http, id="m2", content=content, metadata=nothing), 400, "bad_request")


@pytest.mark.parametrize(
    "content", [{"content": ""}, {"content": None}, {}], ids=["empty", "null", "absent"]
)
async def test_files_need_no_text_on_the_simple_wire(content: dict[str, Any]) -> None:
    async with served(Reader) as (gateway, http):
        file = await put(http)
        async with connect(gateway, f"/ws/chat?session={SESSION}", subprotocols=[]) as client:
            named = {"metadata": {"attachments": [file["id"]]}}
            await client.send({"type": "text", **content, **named})
            assert (await client.until("text"))["content"] == "hello.txt text/plain 5 of 5;done"
            await client.send({"type": "text", **content, "metadata": {"attachments": []}})
            assert (await client.until("error"))["metadata"]["code"] == "bad_request"


async def test_a_message_with_files_is_no_answer_to_a_question() -> None:
    """The answer would be kept, and the files lost."""

    class Asking(Reader):
        async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
            if not ctx.attachments:
                yield f"You said {await ctx.ask('What is it?')}."
            async for piece in super().run(ctx):
                yield piece

    async with served(Asking) as (gateway, http):
        file = await put(http)
        async with connect(gateway, f"/ws/chat?session={SESSION}", subprotocols=[]) as client:
            await client.send("Guess")
            await client.until("system")
            sent = {"content": "This", "metadata": {"attachments": [file["id"]]}}
            await client.send(sent)
            assert (await client.until("text"))["content"].startswith("hello.txt")
            await client.send("a poem")
            assert "You said a poem." in (await client.until("text"))["content"]


async def test_a_queued_message_may_lose_its_text_but_not_its_files_too() -> None:
    async with served(Script(Hang())) as (gateway, http):
        file = await put(http)
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            await client.say("Begin", id="m0")
            await client.until("RUN_STARTED")
            await client.say("Look", id="m1", attachments=[file["id"]])
            change = {"type": "edit_queued", "message": "m1", "content": ""}
            await client.send({**change, "id": "e1"})
            edited = await client.until("message.edited")
            assert edited["event"]["message"]["metadata"]["attachments"][0]["id"] == file["id"]
            await client.send({**change, "id": "e2", "attachments": []})
            assert (await client.until("error"))["code"] == "bad_request"


async def test_a_question_over_plain_http_has_files() -> None:
    async with served(Reader) as (_, http):
        file = await put(http)
        body = {"content": "Look", "session": SESSION, "attachments": [file["id"]]}
        answer = await http.post("/ask", json=body, headers={"accept": "text/plain"})
        assert answer.text == "hello.txt text/plain 5 of 5;done\n"


# Reading


async def test_an_agent_reads_a_file_as_a_whole_within_a_limit() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        (file,) = ctx.attachments
        assert await file.read(limit=5) == b"Hello"
        with pytest.raises(TooLarge):
            await file.read(limit=4)
        for message in await ctx.history():
            if message.id == ctx.message.id:
                assert [one.id for one in ctx.attachments_of(message)] == [file.id]  # type: ignore[arg-type]
        yield "ok"

    async with served(agent) as (_, http):
        file = await put(http)
        await send(http, attachments=[file["id"]])
        assert (await conversation(http))[1]["content"] == "ok"


async def test_an_agent_that_reads_a_deleted_file_gets_not_found() -> None:
    deleted = asyncio.Event()

    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        await deleted.wait()
        try:
            await ctx.attachments[0].read(limit=10)
        except NotFound as error:
            yield error.code

    async with served(agent) as (_, http):
        file = await put(http)
        await send(http, attachments=[file["id"]])
        await http.delete(f"/files/{file['id']}", params={"session": SESSION})
        deleted.set()
        assert (await conversation(http))[1]["content"] == "not_found"


# The end of files


async def test_deleting_a_session_deletes_its_files() -> None:
    async with served(Reader, known=True) as (gateway, http):
        attached = await put(http, session=None, headers=ANN)
        await put(http, session=SESSION, headers=ANN)
        kept = await put(http, session=None, headers=ANN)
        await send(http, attachments=[attached["id"]], headers=ANN)
        await conversation(http, headers=ANN)
        assert held(gateway) == 3
        assert (await http.delete(f"/sessions/{SESSION}", headers=ANN)).status_code == 204
        assert held(gateway) == 1
        assert (await http.get(f"/files/{kept['id']}", headers=ANN)).status_code == 200


async def test_a_file_that_is_attached_while_its_session_is_deleted_goes_with_it() -> None:
    class Deleting(MemoryFileStore):
        """Another node deletes the session after the file was attached."""

        gateway: AgentGateway

        async def attach(self, ids: Sequence[str], session: str) -> None:
            found = await self.gateway.sessions.find(session)
            await self.gateway.delete(found)
            await super().attach(ids, session)

    store = Deleting()
    async with served(Reader, files=store, known=True) as (gateway, http):
        store.gateway = gateway
        file = await put(http, session=None, headers=ANN)
        other = await put(http, session=None, headers=ANN)
        done = await send(http, attachments=[file["id"]], headers=ANN)
        assert done.status_code in (403, 404), done.text
        assert held(gateway) == 1
        assert (await http.get(f"/files/{other['id']}", headers=ANN)).status_code == 200


async def test_an_expired_session_takes_its_files_with_it() -> None:
    async with served(Reader, session_retention=0.0) as (gateway, http):
        await put(http)
        await until_held(gateway, 0)


async def stored(store: MemoryFileStore, *, age: float) -> FileInfo:
    """A file that was uploaded ``age`` seconds ago."""
    new = NewFile(
        id=f"file_{secrets.token_urlsafe(18)}",
        name="a",
        type="text/plain",
        session=SESSION,
        created=time.time() - age,
    )

    async def data() -> AsyncIterator[bytes]:
        yield b"x"

    return await store.create(new, data())


async def test_a_file_that_no_message_was_sent_with_expires() -> None:
    """It can't be attached any more an hour before a sweep may delete it."""
    store = MemoryFileStore()
    old = await stored(store, age=100.0)
    dead = await stored(store, age=100.0 + SWEEP_MARGIN)
    async with served(Reader, files=store, file_expiry=90.0) as (gateway, http):
        await until_held(gateway, 1)
        assert (await store.info(old.id)).size == 1
        for info in (old, dead):
            refused(await send(http, attachments=[info.id]), 404, "not_found")
        young = await put(http)
        assert (await send(http, attachments=[young["id"]])).status_code == 202
    assert await store.usage(holder_of(None, SESSION))


async def test_an_attached_file_outlives_its_expiry_and_can_be_attached_again() -> None:
    store = MemoryFileStore()
    old = await stored(store, age=100.0 + SWEEP_MARGIN)
    await store.attach([old.id], SESSION)
    async with served(Script(), files=store, file_expiry=90.0) as (_, http):
        assert (await send(http, attachments=[old.id])).status_code == 202
        await asyncio.sleep(0.1)
        assert (await store.info(old.id)).size == 1
