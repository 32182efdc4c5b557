"""What every HTTP route has in common: methods, headers, queries, errors."""

from __future__ import annotations

import pytest

from agentws import MemoryStore
from agentws.errors import StorageFull, Unavailable
from agentws.testing.faults import FaultyStore

from .calling import KEY, SESSION, say, served

URL = f"/sessions/{SESSION}/messages"


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("PUT", URL, "GET, POST, HEAD, OPTIONS"),
        ("DELETE", URL, "GET, POST, HEAD, OPTIONS"),
        ("GET", "/broadcast", "POST, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("TRACE", f"/sessions/{SESSION}", "GET, PATCH, DELETE, HEAD, OPTIONS"),
    ],
)
async def test_an_unsupported_method_is_refused_with_the_allowed_ones(
    method: str, url: str, allowed: str
) -> None:
    async with served(admin_key=KEY) as (_, http):
        response = await http.request(method, url)
        assert response.status_code == 405
        assert response.headers["allow"] == response.json()["expected"] == allowed


async def test_head_is_answered_like_get() -> None:
    async with served() as (_, http):
        for url in ("/", "/health", "/stats"):
            assert (await http.head(url)).status_code == 200


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(Unavailable, "unavailable", 503), (StorageFull, "storage_full", 503)],
)
async def test_an_error_of_the_store_is_answered_retryably(
    error: type[Exception], code: str, status: int
) -> None:
    store = FaultyStore(MemoryStore())
    async with served(store=store) as (_, http):
        store.fail("create", times=1, error=error)
        response = await say(http, "hello")
        assert response.status_code == status
        assert response.json()["code"] == code and response.json()["retryable"] is True
        assert (await say(http, "hello")).status_code == 202


async def test_an_unexpected_exception_is_logged_and_not_revealed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FaultyStore(MemoryStore())
    async with served(store=store) as (_, http):
        store.fail("create", times=1, error=lambda: ValueError("secret dsn"))
        response = await say(http, "hello")
        assert response.status_code == 500
        assert response.json()["code"] == "internal" and "secret" not in response.text
    assert "secret dsn" in caplog.text


async def test_responses_are_not_cached_and_not_sniffed() -> None:
    async with served() as (_, http):
        for response in (await http.get("/stats"), await http.get("/sessions/unknown")):
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["content-type"] == "application/json"


async def test_two_origins_are_refused_even_if_the_first_one_is_allowed() -> None:
    async with served() as (_, http):
        own = ("origin", "http://testserver")
        assert (await http.get("/health", headers=[own])).status_code == 200
        for second in (own, ("origin", "https://evil.example")):
            response = await http.get("/health", headers=[own, second])
            assert response.status_code == 400
            assert response.json()["message"] == "There is more than one Origin header."


async def test_a_handshake_that_has_lost_its_headers_is_told_so() -> None:
    async with served() as (_, http):
        response = await http.get("/ws/chat")
        assert response.status_code == 400
        assert "Upgrade: websocket" in response.json()["expected"]


@pytest.mark.parametrize("wait", ["1_0", "١", "nan", "1e999", "-1", "0x1", ""])
async def test_only_a_plain_number_of_seconds_is_a_wait(wait: str) -> None:
    async with served() as (_, http):
        await say(http, "hello")
        response = await http.get(
            f"/sessions/{SESSION}/events",
            params={"wait": wait},
            headers={"accept": "application/json"},
        )
        assert response.status_code == 400
        assert response.json()["expected"] == "a number from 0"
