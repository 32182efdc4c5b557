"""Who may open a session, and act in it, over WebSocket."""

from __future__ import annotations

from typing import Any

import pytest

from agentws import Identity
from agentws.testing.agents import Call, Script
from agentws.testing.connect import Client

from .callers import KEYS, end_of, mine
from .conftest import Make


async def test_the_owner_may_open_its_session(make: Make) -> None:
    async with make(Script("fine"), authenticate=KEYS) as world:
        client = await mine(world)
        assert client.frames[0]["identity"] == "ann"
        other = await world.join(client, token="key-a")
        assert (await other.receive())["resume"] == "snapshot"


async def test_a_foreign_session_is_refused_like_one_that_does_not_exist(make: Make) -> None:
    """Refused before any replay; a deleted session gives the same answer."""
    async with make(Script("fine"), authenticate=KEYS) as world:
        client = await mine(world)
        deleted = await mine(world)
        gateway = world.gateways[0]
        await gateway.delete(await gateway.sessions.find(str(deleted.session)))
        said = []
        for query in (
            f"session={client.session}",
            f"session={client.session}&after={client.position}",
            f"session={client.session}&after=other.1.0000000000000000",
            f"session={deleted.session}",
        ):
            foreign = await world.client(query, token="key-b")
            closed = await end_of(foreign)
            said.append((closed.code, closed.reason, foreign.frames))
        assert all(one == said[0] for one in said)
        assert said[0][0] == 4403
        assert "private" not in str(said)


async def test_an_anonymous_session_is_open_to_everybody_who_knows_its_id(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        other = await world.join(client)
        assert (await other.receive())["type"] == "welcome"


async def test_an_identity_is_never_taken_from_a_frame(make: Make) -> None:
    seen = []

    async def look(ctx: Any) -> None:
        seen.append(ctx.identity)

    async with make(Script(Call(look)), authenticate=KEYS) as world:
        client = await world.client(token="key-b")
        frame = {"identity": "root", "owner": "root", "role": "admin", "metadata": {"user": "root"}}
        await client.ask({"type": "send", "id": "m1", "content": "x", **frame})
        await client.until("RUN_FINISHED")
        assert [one.id for one in seen] == ["bob"]


async def test_authorize_is_asked_for_every_action(make: Make) -> None:
    def readers(identity: Identity | None, info: Any, action: str) -> bool:
        return identity is not None and (identity.id == info.owner or action == "read")

    script = Script("fine")
    async with make(script, authenticate=KEYS, authorize=readers) as world:
        client = await mine(world)
        reader = await world.join(client, token="key-b")
        assert (await reader.receive())["resume"] == "snapshot"
        for frame in (
            {"type": "send", "id": "1", "content": "x"},
            {"type": "cancel", "id": "2"},
            {"type": "withdraw", "id": "3", "message": "m1"},
            {"type": "answer", "id": "4", "interrupt": "i"},
            {"type": "command", "id": "5", "name": "clear"},
            {"type": "send", "id": "6", "content": "/clear"},
        ):
            assert (await reader.ask(frame))["code"] == "forbidden"
        assert len(script.runs) == 1


@pytest.mark.parametrize("answer", [None, 1, "yes", {"ok": True}])
async def test_authorize_allows_by_returning_true_and_nothing_else(make: Make, answer: Any) -> None:
    async with make(Script("fine"), authorize=lambda *_: answer) as world:
        client = await world.client()
        assert (await end_of(client)).code == 4403


@pytest.mark.parametrize(
    "session",
    [
        "short",
        "x" * 129,
        "an id with spaces",
        "ses_/../../etc/passwd",
        "ses_0123456789abcde\u00e9",
    ],
)
async def test_a_session_id_of_an_invalid_form_is_refused(make: Make, session: str) -> None:
    async with make(Script("fine")) as world:
        client = Client(world.apps[0])
        client.session = session
        await client.open()
        world.clients.append(client)
        closed = await end_of(client)
        assert closed.code == 4400
        assert "16 to 128" in str(client.frames) or client.frames[-1]["type"] == "bye"


async def test_an_unknown_agent_is_refused(make: Make) -> None:
    async with make({"one": Script("fine")}) as world:
        client = await world.client("agent=two")
        assert (await end_of(client)).code == 4400
