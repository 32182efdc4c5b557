"""A gateway over an SQLite file: what was said is found soon after, also by another node."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette

from agentws import BearerKeys, Limits, SQLiteStore, mount_agent_gateway
from agentws.testing.connect import connect, running
from agentws.testing.contract_base import eventually
from tests.http.calling import Echo, client

from .conftest import another_program

KEYS = BearerKeys({"ann-key": "ann"})
ANN = {"authorization": "Bearer ann-key"}


async def test_what_was_said_is_found_a_moment_later_on_every_node(path: Path) -> None:
    apps = [Starlette(), Starlette()]
    for app in apps:
        mount_agent_gateway(
            app,
            Echo,
            store=SQLiteStore(path),
            authenticate=KEYS,
            limits=Limits(poll_interval=0.1, read_rate=1e6, read_burst=10**6),
        )
    async with running(apps[0]), running(apps[1]):
        async with connect(apps[0], token="ann-key") as talking:
            await talking.say("Where is my invoice?", "m1")
            await talking.answer()
        async with client(apps[1], **ANN) as http:

            async def found() -> bool:
                page = (await http.get("/sessions", params={"query": "invo where"})).json()
                ids = [one["id"] for one in page["sessions"]]
                return ids == [talking.session] and indexed(path)

            assert await eventually(found)
            assert (await http.delete(f"/sessions/{talking.session}")).status_code == 204
            page = (await http.get("/sessions", params={"query": "invoice"})).json()
            assert page == {"sessions": []}


def indexed(path: Path) -> bool:
    """Whether the messages are in the index, besides the title."""
    with another_program(path) as connection:
        rows = connection.execute("SELECT count(*) FROM passage WHERE seq > 0").fetchone()
    return bool(rows[0])
