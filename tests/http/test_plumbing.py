"""What every HTTP route has in common: methods, bodies, CORS, rate limits, errors."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from agentws import BearerKeys, Limits, MemoryStore, mount_agent_gateway
from agentws.errors import BadRequest, StorageFull, TooMany, Unavailable
from agentws.protocol import bodies
from agentws.protocol import frames as f
from agentws.testing.faults import FaultyStore
from agentws.testing.virtual import virtual_run
from agentws.transports import http as plumbing
from agentws.transports.rates import EXPENSIVE, REMEMBERED, Paces

from .calling import KEY, SESSION, Echo, client, say, served

URL = f"/sessions/{SESSION}/messages"
MESSAGE = b'{"id":"m1","content":"hello"}'


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("PUT", URL, "GET, POST, OPTIONS"),
        ("DELETE", URL, "GET, POST, OPTIONS"),
        ("GET", "/broadcast", "POST, OPTIONS"),
        ("POST", "/health", "GET, OPTIONS"),
        ("POST", "/", "GET, OPTIONS"),
        ("TRACE", f"/sessions/{SESSION}", "GET, PATCH, DELETE, OPTIONS"),
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
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"]
)
async def test_a_body_with_another_content_type_is_refused(kind: str) -> None:
    async with served(admin_key=KEY) as (_, http):
        headers = {"content-type": kind, "x-api-key": KEY} if kind else {"x-api-key": KEY}
        for method, url in (
            ("POST", URL),
            ("POST", f"/sessions/{SESSION}/cancel"),
            ("POST", f"/sessions/{SESSION}/answers"),
            ("POST", f"/sessions/{SESSION}/tool-results"),
            ("POST", f"/sessions/{SESSION}/push"),
            ("POST", "/broadcast"),
            ("PATCH", f"/sessions/{SESSION}"),
        ):
            response = await http.request(method, url, content=MESSAGE, headers=headers)
            assert response.status_code == 415
            assert response.json()["expected"] == "Content-Type: application/json"


async def test_the_json_content_type_is_matched_without_case_and_parameters() -> None:
    async with served() as (_, http):
        for number, kind in enumerate(("Application/JSON", "application/json; charset=utf-8")):
            body = MESSAGE.replace(b"m1", b"m%d" % number)
            response = await http.post(URL, content=body, headers={"content-type": kind})
            assert response.status_code == 202


async def test_a_body_over_the_limit_is_refused_before_it_is_read_completely() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1000

    app = Starlette()
    gateway = mount_agent_gateway(app, Echo, limits=Limits(max_message_size=10_000))
    chunks = endless()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(chunks), "more_body": True}

    status = await _call(gateway, receive, {"content-type": "application/json"})
    assert status == 413 and read == 11
    await gateway.stop()


async def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    async with served(limits=Limits(max_message_size=200)) as (_, http):
        for size, status in ((200, 202), (201, 413)):
            body = b'{"id":"m1","content":"%b"}' % (b"x" * (size - 24))
            assert len(body) == size
            response = await http.post(
                URL, content=body, headers={"content-type": "application/json"}
            )
            assert response.status_code == status


async def test_a_client_that_disconnects_during_its_body_gets_no_answer() -> None:
    gateway = mount_agent_gateway(Starlette(), Echo)
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    assert await _call(gateway, receive, {"content-type": "application/json"}) is None
    await gateway.stop()


def test_a_body_that_never_ends_times_out() -> None:
    async def work() -> None:
        gateway = mount_agent_gateway(Starlette(), Echo)

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(10)
            return {"type": "http.request", "body": b"", "more_body": True}

        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await _call(gateway, receive, {"content-type": "application/json"}) == 408
        assert loop.time() - began == pytest.approx(plumbing.BODY_TIMEOUT)
        await gateway.stop()

    virtual_run(work())


async def _call(app: Any, receive: Any, headers: dict[str, str]) -> int | None:
    """The status of the response to a POST of a message; ``None`` without a response."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": None,
    }
    await app(scope, receive, send)
    return statuses[0] if statuses else None


BODIES: dict[str, msgspec.json.Decoder[Any]] = {
    URL: msgspec.json.Decoder(f.Send),
    f"/sessions/{SESSION}/answers": msgspec.json.Decoder(f.Answer),
    f"/sessions/{SESSION}/tool-results": msgspec.json.Decoder(f.ToolResult),
    "/broadcast": msgspec.json.Decoder(bodies.Broadcast),
}


def is_valid(url: str, body: bytes) -> bool:
    """Whether the random body has the shape that this route takes."""
    try:
        bodies.read_json(BODIES[url], body)
    except BadRequest:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@example(body=MESSAGE)
def test_random_bodies_are_refused_as_bad_requests(body: bytes) -> None:
    async def work() -> None:
        async with served(admin_key=KEY) as (_, http):
            headers = {"content-type": "application/json", "x-api-key": KEY}
            for url in BODIES:
                response = await http.post(url, content=body, headers=headers)
                if is_valid(url, body):
                    assert response.status_code < 500
                    continue
                assert response.status_code in (400, 403)
                assert response.json().keys() >= {"code", "message", "retryable"}

    virtual_run(work())


# Rate limits


async def test_a_caller_over_the_message_rate_gets_429_with_retry_after() -> None:
    limits = Limits(message_rate=0.5, message_burst=3)
    async with served(limits=limits) as (_, http):
        statuses = [(await say(http, "/help", f"m{number}")).status_code for number in range(4)]
        assert statuses == [200, 200, 200, 429]
        response = await say(http, "/help")
        assert 1 <= int(response.headers["retry-after"]) <= 2
        assert response.json()["retryAfter"] > 0
        assert (await http.get("/stats")).status_code == 200


async def test_reads_are_rate_limited_by_what_they_cost() -> None:
    keys = BearerKeys({"ann": "ann", "bob": "bob"})
    limits = Limits(read_rate=0.5, read_burst=2 * EXPENSIVE + 3)
    async with served(authenticate=keys, limits=limits) as (gateway, _):
        ann, bob = (client(gateway, authorization=f"Bearer {key}") for key in ("ann", "bob"))
        session = "ses_of_ann_0123456789"
        assert (await say(ann, "/help", session=session)).status_code == 200
        for path in ("/sessions?query=words", f"/sessions/{session}/export"):
            assert (await ann.get(path)).status_code == 200
        for path in ("", "/messages", "/state"):
            assert (await ann.get(f"/sessions/{session}{path}")).status_code == 200
        refused = await ann.get("/sessions")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
        assert int(refused.headers["retry-after"]) <= 2
        # What is no read, and what others do.
        polled = {"accept": "application/json"}
        assert (await ann.get(f"/sessions/{session}/events", headers=polled)).status_code == 200
        assert (await say(ann, "/help", session=session)).status_code == 200
        assert (await ann.get("/health")).status_code == 200
        assert (await bob.get("/sessions?query=words")).status_code == 200


async def test_each_caller_has_its_own_rate_limit() -> None:
    keys = BearerKeys({"ann": "ann", "bob": "bob"})
    limits = Limits(message_rate=0.001, message_burst=1)
    async with served(authenticate=keys, limits=limits) as (gateway, _):
        for key in ("ann", "bob"):
            http = client(gateway, authorization=f"Bearer {key}")
            url = f"ses_of_{key}_0123456789"
            assert (await say(http, "/help", session=url)).status_code == 200
            assert (await say(http, "/help", session=url)).status_code == 429


async def test_body_bytes_are_rate_limited() -> None:
    limits = Limits(byte_rate=1.0, max_message_size=1000)
    async with served(limits=limits) as (_, http):
        assert (await say(http, "/help " + "x" * 800, "m1")).status_code == 200
        assert (await say(http, "/help " + "x" * 800, "m2")).status_code == 429


async def test_the_number_of_remembered_callers_is_bounded() -> None:
    paces = Paces(Limits())
    for number in range(REMEMBERED + 10):
        paces.count(f"address {number}")
    assert repr(paces) == f"<Paces callers={REMEMBERED}>"


@pytest.mark.parametrize("rate", [3.0, 7.0, 300.0, 900.0])
def test_a_caller_that_waits_as_long_as_it_is_told_is_not_refused_again(rate: float) -> None:
    async def call_twice() -> None:
        paces = Paces(Limits(message_rate=rate, message_burst=1))
        paces.count("address")
        with pytest.raises(TooMany) as refused:
            paces.count("address")
        assert refused.value.retry_after is not None
        await asyncio.sleep(refused.value.retry_after)
        paces.count("address")

    virtual_run(call_twice())


# CORS

GOOD = "https://app.example"


async def test_a_preflight_of_an_allowed_origin_is_granted() -> None:
    async with served(allowed_origins=[GOOD]) as (_, http):
        headers = {
            "origin": GOOD,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type, x-tenant",
        }
        response = await http.options(URL, headers=headers)
        assert response.status_code == 204 and response.content == b""
        given = response.headers
        assert given["access-control-allow-origin"] == GOOD
        assert given["access-control-allow-credentials"] == "true"
        assert given["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert given["access-control-allow-headers"] == "content-type, x-tenant"
        assert int(given["access-control-max-age"]) > 0
        assert {"Origin", "Access-Control-Request-Headers"} <= set(given.get_list("vary"))


async def test_an_allowed_origin_may_read_responses_and_errors() -> None:
    async with served(allowed_origins=[GOOD]) as (_, http):
        for url in ("/stats", "/sessions/ses_nobody_has_it", "/nowhere", "/"):
            response = await http.get(url, headers={"origin": GOOD})
            if url != "/nowhere":
                assert response.headers["access-control-allow-origin"] == GOOD
                assert "Retry-After" in response.headers["access-control-expose-headers"]
                assert response.headers["vary"] == "Origin"


async def test_only_origins_allowed_by_name_may_send_credentials() -> None:
    async with served(allowed_origins=["*", GOOD]) as (_, http):
        for origin, allowed, credentials in (
            ("https://any.example", "*", None),
            ("null", "*", None),
            (GOOD, GOOD, "true"),
        ):
            response = await http.get("/stats", headers={"origin": origin})
            assert response.headers["access-control-allow-origin"] == allowed
            assert response.headers.get("access-control-allow-credentials") == credentials


async def test_the_same_origin_gets_no_cors_headers() -> None:
    async with served() as (_, http):
        response = await http.get("/stats", headers={"origin": "http://testserver"})
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "Origin"


async def test_options_without_a_preflight_lists_the_allowed_methods() -> None:
    async with served(authenticate=BearerKeys({})) as (_, http):
        response = await http.options(URL)
        assert response.status_code == 204
        assert response.headers["allow"] == "GET, POST, OPTIONS"


# Errors


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


WANTED: dict[str, tuple[str, str, str]] = {
    "a message": (
        "POST",
        URL,
        "an object with id, content, optionally with attachments, agent, overlap, metadata",
    ),
    "a cancel": ("POST", f"/sessions/{SESSION}/cancel", "an object optionally with id, run"),
    "an answer": ("POST", f"/sessions/{SESSION}/answers", "an object with interrupt, optionally"),
    "a change": ("PATCH", f"/sessions/{SESSION}", "an object optionally with title, metadata"),
    "a patch": ("PATCH", f"/sessions/{SESSION}/state", "an array of objects"),
    "a push": ("POST", f"/sessions/{SESSION}/push", "an object with content, optionally"),
    "a broadcast": ("POST", "/broadcast", "an object with content, optionally"),
    "a question": ("POST", "/ask", "an object with content, optionally"),
}


@pytest.mark.parametrize("body", [b"null", b"42", b'"text"', b'{"content": 5, "x": [1]}', b"[5]"])
@pytest.mark.parametrize("route", WANTED)
async def test_a_body_that_is_not_valid_is_refused_with_the_members_that_were_expected(
    route: str, body: bytes
) -> None:
    method, url, expected = WANTED[route]
    if route in ("a cancel", "a change") and body.startswith(b"{"):
        return  # Nothing is required, and members that are not known are ignored.
    async with served(admin_key=KEY) as (_, http):
        headers = {"content-type": "application/json", "x-api-key": KEY}
        response = await http.request(method, url, content=body, headers=headers)
        assert response.status_code == 400
        assert response.json()["expected"].startswith(expected)


async def test_a_compressed_body_is_refused() -> None:
    async with served() as (_, http):
        for url, kind in ((URL, "application/json"), ("/ask", "text/plain")):
            headers = {"content-type": kind, "content-encoding": "gzip"}
            response = await http.post(url, content=gzip.compress(MESSAGE), headers=headers)
            assert response.status_code == 415
            assert response.json()["expected"] == "no Content-Encoding"
        plain = {"content-type": "application/json", "content-encoding": "identity"}
        assert (await http.post(URL, content=MESSAGE, headers=plain)).status_code == 202


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
