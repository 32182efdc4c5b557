"""What ``POST /ask`` refuses: bodies, queries, origins, callers, a node that is full or drains."""

from __future__ import annotations

import pytest

from agentws import BearerKeys, Limits

from .asking import FORM, ask
from .calling import SESSION, Stream, answered, client, served

pytestmark = pytest.mark.usefixtures("nodes")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", FORM, 400),
        (b" \n", "text/plain", 400),
        (b"\xff", "text/plain", 400),
        (b"a\x00b", "text/plain", 400),
        (b"{", "application/json", 400),
        (b'{"content":1}', "application/json", 400),
        (b'{"content":"x","id":""}', "application/json", 400),
        (b'{"content":"x","session":"short"}', "application/json", 400),
        (b"x", "multipart/form-data", 415),
        (b"x" * 70_000, "text/plain", 413),
    ],
)
async def test_a_bad_body_is_refused_with_a_status(body: bytes, kind: str, status: int) -> None:
    async with served(limits=Limits(max_message_size=65_536)) as (_, http):
        response = await http.post("/ask", content=body, headers={"content-type": kind})
        assert response.status_code == status
        assert response.json()["message"]


@pytest.mark.parametrize("query", ["id=", "id=%00", f"id={'x' * 129}", "session=%00", "agent=%00"])
async def test_a_bad_query_is_refused(query: str) -> None:
    async with served() as (_, http):
        response = await ask(http, "hello", params=query)
        assert (response.status_code, response.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_another_method_is_refused(method: str) -> None:
    async with served() as (_, http):
        response = await http.request(method, "/ask")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST, OPTIONS"


async def test_a_page_must_send_json_so_that_other_origins_need_a_preflight() -> None:
    async with served(allowed_origins=["*"]) as (_, http):
        for origin in ("http://testserver", "https://other.example", "null"):
            for kind in (FORM, "text/plain"):
                headers = {"origin": origin, "content-type": kind}
                refused = await http.post("/ask", content="hello", headers=headers)
                assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media")
                assert refused.json()["expected"] == "Content-Type: application/json"
            allowed = await ask(http, {"content": "hello"}, headers={"origin": origin})
            assert allowed.status_code == 200


async def test_a_page_of_a_foreign_origin_is_refused() -> None:
    async with served() as (_, http):
        for origin in ("https://evil.example", "null"):
            response = await ask(http, "hello", headers={"origin": origin})
            assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_a_foreign_session_or_missing_credentials_are_refused() -> None:
    keys = BearerKeys({"a": "ann", "b": "bob"})
    async with served(authenticate=keys) as (gateway, http):
        assert (await ask(http, "hello")).status_code == 401
        ann, bob = (
            client(gateway, authorization="Bearer a"),
            client(gateway, authorization="Bearer b"),
        )
        session = (await ask(ann, "hello")).headers["agentws-session"]
        foreign = await ask(bob, "hello", params={"session": session})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")


async def test_a_client_over_the_message_rate_gets_429_with_retry_after() -> None:
    async with served(limits=Limits(message_rate=0.1, message_burst=1), alone=True) as (_, http):
        assert (await ask(http, "one")).status_code == 200
        refused = await ask(http, "two")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")


async def test_a_message_is_not_appended_when_the_connection_limit_is_reached() -> None:
    async with served(limits=Limits(max_connections=1), alone=True) as (gateway, http):
        await ask(http, "one", params={"session": SESSION})
        async with Stream(gateway, f"/sessions/{SESSION}/events"):
            refused = await ask(http, "two", params={"session": SESSION})
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert len(await answered(http)) == 2


async def test_a_draining_node_refuses_a_message() -> None:
    async with served(alone=True) as (gateway, http):
        await gateway.drain()
        response = await ask(http, "hello")
        assert (response.status_code, response.json()["code"]) == (503, "draining")
