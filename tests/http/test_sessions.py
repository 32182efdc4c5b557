"""The routes of one session: rename, retention, delete; and who may use them, and when."""

from __future__ import annotations

import pytest

from agentws import Limits

from .calling import ANN, BOB, KEYS, POLL, SESSION, answered, client, say, served

pytestmark = pytest.mark.usefixtures("nodes")


async def test_a_session_can_be_renamed() -> None:
    async with served(alone=True) as (gateway, http):
        await say(http, "hello")
        await answered(http)
        url = f"/sessions/{SESSION}"
        before = (await http.get(url)).json()["position"]
        response = await http.patch(url, json={"title": "Trip", "metadata": {"pinned": True}})
        assert response.status_code == 200
        assert response.json()["title"] == "Trip"
        assert (await http.patch(url, json={"metadata": {}})).json()["title"] == "Trip"
        poll = await http.get(f"{url}/events?after={before}", headers=POLL)
        updates = [frame["event"] for frame in poll.json()["events"]]
        assert [one["type"] for one in updates] == ["session.updated"] * 2
        assert updates[0]["title"] == "Trip"
        changes: list[object] = [{}, {"title": 7}, {"title": None}, {"title": "x" * 201}]
        for bad in [*changes, {"metadata": []}]:
            assert (await http.patch(url, json=bad)).status_code == 400


async def test_the_retention_of_a_session_can_be_changed() -> None:
    limits = Limits(session_retention=1000)
    async with served(limits=limits) as (_, http):
        await say(http, "hello")
        await answered(http)
        url = f"/sessions/{SESSION}"
        assert "retention" not in (await http.get(url)).json()
        assert (await http.patch(url, json={"retention": 500})).json()["retention"] == 500
        assert (await http.patch(url, json={"title": "Trip"})).json()["retention"] == 500
        assert "retention" not in (await http.patch(url, json={"retention": None})).json()
        refused: list[object] = [0, -5, "500", [], True]
        for bad in refused:
            assert (await http.patch(url, json={"retention": bad})).status_code == 400
        response = await http.patch(url, json={"retention": 1001})
        assert response.status_code == 400 and "1000" in response.json()["expected"]
        assert "retention" not in (await http.get(url)).json()


async def test_the_id_of_a_deleted_session_can_not_be_used_again() -> None:
    async with served(alone=True) as (_, http):
        await say(http, "hello")
        await answered(http)
        url = f"/sessions/{SESSION}"
        response = await http.delete(url)
        assert response.status_code == 204 and response.content == b""
        for response in (await http.get(url), await http.delete(url), await say(http, "again")):
            assert response.status_code == 403


async def test_a_foreign_session_is_refused_like_an_unknown_one() -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        ann, bob = client(gateway, **ANN), client(gateway, **BOB)
        await say(ann, "hello")
        await answered(ann)
        for method, suffix, body in (
            ("GET", "", None),
            ("PATCH", "", {"title": "mine"}),
            ("DELETE", "", None),
            ("GET", "/messages", None),
            ("GET", "/events", None),
            ("POST", "/cancel", {}),
            ("POST", "/answers", {"interrupt": "int_1"}),
            ("POST", "/tool-results", {"toolCallId": "call_1", "content": "x"}),
            ("POST", "/queue/edit", {"message": "m1", "content": "x"}),
            ("POST", "/queue/promote", {"message": "m1"}),
        ):
            foreign = await bob.request(method, f"/sessions/{SESSION}{suffix}", json=body)
            unknown = await bob.request(method, f"/sessions/ses_nobody_has_it{suffix}", json=body)
            assert foreign.status_code == unknown.status_code == 403
            assert foreign.json() == unknown.json()
        assert (await say(bob, "hello")).status_code == 403
        assert (await ann.get(f"/sessions/{SESSION}")).status_code == 200


async def test_a_draining_node_refuses_new_work() -> None:
    async with served(alone=True) as (gateway, http):
        await say(http, "hello")
        await answered(http)
        await gateway.drain()
        for response in (
            await say(http, "more", "m2"),
            await say(http, "/help", "m3"),
            await http.get(f"/sessions/{SESSION}/events"),
            await http.post(f"/sessions/{SESSION}/answers", json={"interrupt": "int_1"}),
        ):
            assert response.status_code == 503 and response.json()["code"] == "draining"
            assert response.headers["retry-after"] == "1"
        assert (await http.get(f"/sessions/{SESSION}/messages")).status_code == 200
        await gateway.stop()
        assert (await http.get(f"/sessions/{SESSION}/messages")).status_code == 503
