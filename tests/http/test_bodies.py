"""The bodies of HTTP requests: their type, size and shape, whatever the route."""

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
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from agentws import Limits, MemoryFileStore, mount_agent_gateway
from agentws.errors import BadRequest
from agentws.protocol import bodies
from agentws.protocol import frames as f
from agentws.testing.connect import running
from agentws.testing.virtual import virtual_run
from agentws.transports import http as plumbing

from .calling import KEY, SESSION, Echo, client, served

URL = f"/sessions/{SESSION}/messages"
MESSAGE = b'{"id":"m1","content":"hello"}'


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


class BodyLimit:
    """A host's own limit: a middleware that raises while the body is received."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def limited() -> Any:
            message = await receive()
            if len(message.get("body", b"")) > 1000:
                raise HTTPException(413)
            return message

        await self._app(scope, limited, send)


async def test_a_body_over_a_limit_of_the_host_is_too_large(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Starlette(middleware=[Middleware(BodyLimit)])
    mount_agent_gateway(app, Echo, files=MemoryFileStore())
    body = b'{"id":"m1","content":"%b"}' % (b"x" * 2000)
    form = {"file": ("a.txt", b"x" * 2000)}
    async with running(app), client(app) as http:
        for answer in (
            await http.post(URL, content=body, headers={"content-type": "application/json"}),
            await http.post(f"/files?session={SESSION}", files=form),
        ):
            assert answer.status_code == 413
            assert (answer.json()["code"], answer.json()["retryable"]) == ("too_large", False)
    assert not [one for one in caplog.records if one.exc_info]


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
