"""Topics over HTTP: streams (SSE), polls, posts and notices by ``POST /broadcast``."""

from __future__ import annotations

from typing import Any

import pytest

from agentws import Limits
from agentws.errors import NotFound
from agentws.testing.connect import connect
from tests.http.calling import POLL, Stream, client

from .stage import ADMIN, nodes

URL = "/topics/orders/events"


async def test_a_stream_gets_what_was_posted_and_what_is_posted_later() -> None:
    async with nodes() as [gateway], client(gateway) as http:
        first = await gateway.topic("orders").post("one")
        async with Stream(gateway, URL) as stream:
            answer = await stream.next()
            assert (answer.name, answer.id) == ("subscribed", None)
            assert (answer.data["topic"], answer.data["resume"]) == ("orders", "snapshot")
            one = await stream.next()
            assert one.id == one.data["id"] == first and one.data["topic"] == "orders"
            body = {"content": "now", "topic": "orders"}
            reached = await http.post("/broadcast", json=body, headers=ADMIN)
            assert reached.json() == {"reached": 1, "nodes": 1}
            notice = await stream.next()
            assert (notice.name, notice.data["topic"]) == ("notice", "orders")
            last = await gateway.topic("orders").post("two")
            assert (await stream.next()).id == last
        async with Stream(gateway, URL, last_event_id=first) as stream:
            assert (await stream.next()).data["resume"] == "replay"
            assert (await stream.next()).id == last
        assert gateway.feeds.audience("orders") == ()


async def test_a_stream_whose_place_was_trimmed_ends_and_begins_again_with_a_snapshot() -> None:
    limits = Limits(topic_posts=4, tail_size=100)
    async with nodes(limits=limits) as [gateway]:
        async with Stream(gateway, URL) as stream:
            await gateway.topic("orders").post("first")
            await stream.until("notice.posted")
            stream.pause()
            for number in range(20):
                await gateway.topic("orders").post(f"{number:02} " + "x" * 100)
            stream.resume()
            assert (await stream.until("bye"))[-1].data["retryable"] is True
            last = stream.last_id
        async with Stream(gateway, URL, last_event_id=last or "") as stream:
            assert (await stream.next()).data["reason"] == "trimmed"
            assert (await stream.next()).data["event"]["content"][:2] in ("15", "16")


async def test_a_poll_gets_the_posts_after_its_position() -> None:
    async with nodes() as [gateway], client(gateway) as http:
        await gateway.topic("orders").post("one")
        page = (await http.get(URL, headers=POLL)).json()
        assert (page["resume"], page["reason"]) == ("snapshot", "no_position")
        assert [one["event"]["content"] for one in page["events"]] == ["one"]
        assert page["events"][0]["topic"] == "orders"
        last = await gateway.topic("orders").post("two")
        query = {"after": page["position"], "wait": 5}
        page = (await http.get(URL, headers=POLL, params=query)).json()
        assert (page["resume"], page["position"]) == ("replay", last)
        assert [one["event"]["content"] for one in page["events"]] == ["two"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("secret", 403, "forbidden"), ("no%20name", 400, "bad_request")],
)
async def test_a_topic_that_may_not_be_followed_is_refused(
    name: str, status: int, code: str
) -> None:
    async with nodes() as [gateway], client(gateway) as http:
        for headers in ({}, POLL):
            response = await http.get(f"/topics/{name}/events", headers=headers)
            assert (response.status_code, response.json()["code"]) == (status, code)
        with pytest.raises(NotFound):
            await gateway.store.info("topic:secret")


async def test_without_permission_from_the_host_there_are_no_topics() -> None:
    async with nodes(may_subscribe=None) as [gateway], client(gateway) as http:
        assert (await http.get(URL)).status_code == 501


async def test_a_stream_counts_as_a_connection() -> None:
    async with nodes(limits=Limits(max_connections=1)) as [gateway], client(gateway) as http:
        async with Stream(gateway, URL):
            assert gateway.stats()["total_connections"] == 1
            assert (await http.get(URL)).status_code == 503
        async with Stream(gateway, URL) as again:
            assert again.status == 200


async def test_a_drain_ends_a_stream_and_refuses_the_next() -> None:
    async with nodes() as [gateway], client(gateway) as http:
        async with Stream(gateway, URL) as stream:
            await gateway.drain()
            assert (await stream.until("bye"))[-1].data["retryable"] is True
            assert await stream.ended()
        assert (await http.get(URL)).status_code == 503


async def post(http: Any, body: dict[str, Any], **headers: str) -> Any:
    return await http.post("/broadcast", json=body, headers={**ADMIN, **headers})


async def test_a_durable_broadcast_is_posted_to_the_topic_once_per_key() -> None:
    body = {"content": "one", "topic": "orders", "durable": True, "metadata": {"n": 1}}
    async with nodes(2) as [gateway, other], client(gateway) as http, client(other) as far:
        first = await post(http, body, **{"idempotency-key": "k1"})
        assert first.status_code == 200 and list(first.json()) == ["position"]
        again = await post(far, body, **{"idempotency-key": "k1"})
        assert again.json() == {"position": first.json()["position"], "duplicate": True}
        changed = await post(far, {**body, "content": "two"}, **{"idempotency-key": "k1"})
        assert (changed.status_code, changed.json()["code"]) == (409, "idempotency_conflict")
        assert (await post(far, body)).json()["position"] != first.json()["position"]
        page = (await http.get(URL, headers=POLL)).json()
        assert [one["event"]["content"] for one in page["events"]] == ["one", "one"]


async def test_a_notice_to_a_topic_reaches_only_its_subscribers_on_every_node() -> None:
    async with nodes(2) as [gateway, other], client(gateway) as http:
        async with connect(gateway) as near, connect(other) as far, connect(other) as nobody:
            for one in (near, far):
                await one.subscribe("orders")
            await nobody.until("welcome")
            await post(http, {"content": "now", "topic": "orders", "level": "error"})
            for one in (near, far):
                notice = await one.until("notice")
                assert (notice["topic"], notice["level"]) == ("orders", "error")
            assert not [one for one in await nobody.settle() if one["type"] == "notice"]
        page = (await http.get(URL, headers=POLL)).json()
        assert page["events"] == []


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"durable": True}, None),
        ({"topic": "orders"}, "k1"),
        ({}, "k1"),
        ({"topic": "orders", "durable": True}, "x" * 129),
        ({"topic": "a b", "durable": True}, None),
        ({"topic": "orders", "durable": "yes"}, None),
    ],
)
async def test_an_invalid_post_is_refused(body: dict[str, Any], key: str | None) -> None:
    async with nodes() as [gateway], client(gateway) as http:
        headers = {} if key is None else {"idempotency-key": key}
        response = await post(http, {"content": "x", **body}, **headers)
        assert (response.status_code, response.json()["code"]) == (400, "bad_request")
