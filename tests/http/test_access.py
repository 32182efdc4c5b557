"""Access to every HTTP route: missing and wrong credentials, foreign origins and hosts."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Route

from agentws import BearerKeys, Identity, Limits, mount_agent_gateway
from agentws.transports.http import Operation
from agentws.transports.routes import operations

from .calling import KEY, POLL, SESSION, Echo, Stream, client, say, served

OPEN = {"/", "/ws/chat", "/health", "/livez", "/readyz", "/web/{path:path}", "/client.js"}
"""Public routes; every other one needs credentials if authentication is configured."""
ADMIN = {"/broadcast", "/sessions/{id}/push"}


def every_operation() -> list[Operation]:
    app = Starlette()
    return operations(mount_agent_gateway(app, Echo), prefix="", page=True)


EVERY = [pytest.param(one, id=f"{one.method} {one.path}") for one in every_operation()]
GUARDED = [param for param in EVERY if param.values[0].path not in OPEN]  # type: ignore[union-attr]
ADMINS = [param for param in EVERY if param.values[0].path in ADMIN]  # type: ignore[union-attr]


def address(operation: Operation) -> str:
    path = operation.path.replace("{id}", SESSION).replace("{path:path}", "client.js")
    return re.sub(r"\{\w+(:\w+)?\}", "anything", path)


def test_every_route_is_an_operation() -> None:
    app = Starlette()
    mount_agent_gateway(app, Echo)
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert paths == {one.path for one in every_operation()}


@pytest.mark.parametrize("operation", GUARDED)
async def test_a_protected_route_without_valid_credentials_answers_401(
    operation: Operation,
) -> None:
    async with served(authenticate=BearerKeys({"k": "ann"}), admin_key=KEY) as (_, http):
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic azo="}):
            response = await http.request(operation.method, address(operation), headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["code"] == "unauthenticated"


@pytest.mark.parametrize("operation", ADMINS)
@pytest.mark.parametrize("presented", [None, "", "wrong", KEY[:-1], KEY + "x", "ann-key", "ÿ"])
async def test_admin_routes_refuse_any_other_key(
    operation: Operation, presented: str | None
) -> None:
    keys = BearerKeys({"ann-key": "ann"})
    async with served(authenticate=keys, admin_key=KEY) as (gateway, http):
        await say(client(gateway, authorization="Bearer ann-key"), "hello")
        body = {"content": "x"}
        for name, scheme in (("authorization", "Bearer "), ("x-api-key", "")):
            value = f"{scheme}{presented}".encode("latin-1")
            headers = [] if presented is None else [(name.encode(), value)]
            response = await http.post(address(operation), json=body, headers=headers)
            assert response.status_code == 401
        for name in ("key", "admin_key", "api_key", "token", "x-api-key", "authorization"):
            response = await http.post(address(operation), json=body, params={name: KEY})
            assert response.status_code == 401


@pytest.mark.parametrize("operation", ADMINS)
@pytest.mark.parametrize("admin_key", [None, ""])
async def test_admin_routes_are_not_found_without_a_configured_admin_key(
    operation: Operation, admin_key: str | None
) -> None:
    async with served(admin_key=admin_key) as (_, http):
        for headers in ({}, {"x-api-key": ""}, {"authorization": "Bearer x"}):
            response = await http.post(address(operation), json={"content": "x"}, headers=headers)
            assert response.status_code == 404
            assert "admin_key" in response.json()["expected"]


@pytest.mark.parametrize("operation", ADMINS)
async def test_the_admin_key_is_accepted_in_both_headers(operation: Operation) -> None:
    async with served(admin_key=KEY) as (_, http):
        await say(http, "hello")
        for headers in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
            response = await http.post(address(operation), json={"content": "x"}, headers=headers)
            assert response.status_code == 200


async def test_attempts_at_the_admin_key_are_rate_limited() -> None:
    limits = Limits(message_rate=0.001, message_burst=5)
    async with served(admin_key=KEY, limits=limits) as (_, http):
        codes = [
            (await http.post("/broadcast", headers={"x-api-key": f"{n}"})).status_code
            for n in range(7)
        ]
        assert codes == [401] * 5 + [429] * 2
        right = await http.post("/broadcast", headers={"x-api-key": KEY}, json={"content": "x"})
        assert right.status_code == 429


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
async def test_attempts_at_the_admin_key_are_rate_limited_on_stats_too(header: str) -> None:
    """/stats accepts callers and the admin: guesses at the admin key must be limited here too."""
    scheme = "Bearer " if header == "authorization" else ""
    limits = Limits(message_rate=0.001, message_burst=5)
    keys = BearerKeys({"ann-key": "ann"})
    async with served(admin_key=KEY, authenticate=keys, limits=limits) as (_, http):
        for key, codes in ((None, [401] * 5 + [429] * 2), (KEY, [429])):
            tried = [
                await http.get("/stats", headers={header: f"{scheme}{key or number}"})
                for number in range(len(codes))
            ]
            assert [one.status_code for one in tried] == codes


async def test_attempts_at_callers_keys_are_rate_limited() -> None:
    limits = Limits(message_rate=0.001, message_burst=5)
    keys = BearerKeys({"ann-key": "ann"})
    async with served(authenticate=keys, limits=limits) as (_, http):
        codes = [
            (await http.get("/sessions", headers={"authorization": f"Bearer {n}"})).status_code
            for n in range(7)
        ]
        assert codes == [401] * 5 + [429] * 2
        right = await http.get("/sessions", headers={"authorization": "Bearer ann-key"})
        assert right.status_code == 429 and float(right.headers["retry-after"]) >= 1


async def test_the_admin_may_read_stats_when_authentication_is_configured() -> None:
    keys = BearerKeys({"ann-key": "ann"})
    async with served(authenticate=keys, admin_key=KEY) as (_, http):
        for headers in ({"x-api-key": KEY}, {"authorization": "Bearer ann-key"}):
            assert (await http.get("/stats", headers=headers)).status_code == 200


@pytest.mark.parametrize("operation", EVERY)
async def test_every_route_refuses_a_foreign_origin(operation: Operation) -> None:
    async with served(admin_key=KEY) as (_, http):
        headers = {"origin": "https://evil.example", "x-api-key": KEY}
        for method in (operation.method, "OPTIONS"):
            response = await http.request(method, address(operation), headers=headers)
            assert response.status_code == 403
            assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("operation", EVERY)
async def test_every_route_refuses_a_foreign_host(operation: Operation) -> None:
    async with served(admin_key=KEY, allowed_hosts=["good.example"]) as (_, http):
        for host in ("evil.example", "good.example.evil.example", ""):
            response = await http.request(
                operation.method, address(operation), headers={"host": host}
            )
            assert response.status_code == 421
        good = await http.get("/health", headers={"host": "good.example:8000"})
        assert good.status_code == 200


MALFORMED = [
    *("[", "[::1", "[::g]", "[127.0.0.1]", "::1", "testserver:x", "testserver:99999", ":8000"),
    *(
        "evil@testserver",
        "me:pw@testserver",
        "test server",
        "testserver/path",
        "testserver..",
        ".testserver",
        ".",
    ),
    *("testserver?x", "testserver#x", "testserver, evil", "test\tserver", "test\x00server", "é"),
    *("testserver\\evil", "http://testserver", "%74estserver"),
]


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("allowed_hosts", [None, ["*"]], ids=["by default", "any"])
async def test_every_route_refuses_a_malformed_host(
    operation: Operation, allowed_hosts: list[str] | None
) -> None:
    async with served(admin_key=KEY, allowed_hosts=allowed_hosts) as (_, http):
        sent = [[(b"host", host.encode("latin-1"))] for host in MALFORMED]
        for headers in (*sent, [(b"host", b"testserver")] * 2, [(b"Host", b"a"), (b"host", b"b")]):
            response = await http.request(operation.method, address(operation), headers=headers)
            assert (response.status_code, response.json()["code"]) == (400, "bad_request"), headers


@pytest.mark.parametrize(
    ("version", "status"), [("1.1", 400), ("1.0", 200), ("2", 200), ("3", 200)]
)
async def test_a_missing_host_header_is_refused_in_http_1_1_only(version: str, status: int) -> None:
    """HTTP/1.0 does not require it; in HTTP/2 and later it is a pseudo-header."""
    async with served(alone=True) as (gateway, _):
        stream = Stream(gateway, "/health")
        stream.scope["http_version"] = version
        stream.scope["headers"] = []
        async with stream:
            assert stream.status == status


@pytest.mark.parametrize("origin", ["http://[x", "http://testserver:99999", "http://[::1"])
async def test_a_malformed_origin_is_refused(origin: str) -> None:
    async with served() as (_, http):
        response = await http.get("/health", headers={"origin": origin})
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


# The host's authenticate and authorize


def refusing(status: int) -> object:
    def authenticate(connection: HTTPConnection) -> str:
        raise HTTPException(status)

    return authenticate


@pytest.mark.parametrize(("raised", "answered"), [(401, 401), (403, 403), (418, 500)])
async def test_an_http_exception_of_authenticate_is_a_refusal_with_its_status(
    raised: int, answered: int
) -> None:
    async with served(authenticate=refusing(raised)) as (_, http):
        response = await http.get("/sessions")
        assert response.status_code == answered
        assert response.json()["code"] in ("unauthenticated", "forbidden", "internal")


@pytest.mark.parametrize("raised", [401, 403, 404])
async def test_an_http_exception_of_authorize_denies_as_false_does(raised: int) -> None:
    async def deny(identity: object, asked: object, action: str = "read") -> bool:
        raise HTTPException(raised, "There is such a thing.")

    async with served(authorize=deny, may_subscribe=deny) as (gateway, http):
        await gateway.sessions.enter(SESSION, owner=None, agent="agent")
        unknown = await http.get("/sessions/ses_ffffffffffffffff/messages")
        known = await http.get(f"/sessions/{SESSION}/messages")
        assert (known.status_code, known.json()) == (403, unknown.json())
        topic = await http.get("/topics/orders/events", headers=POLL)
        assert topic.json()["message"] == "You may not follow this topic."


async def test_another_http_exception_of_authorize_is_a_server_error() -> None:
    def fail(identity: object, asked: object, action: str = "read") -> bool:
        raise HTTPException(503)

    async with served(authorize=fail, may_subscribe=fail) as (gateway, http):
        await gateway.sessions.enter(SESSION, owner=None, agent="agent")
        for url in (f"/sessions/{SESSION}/messages", "/topics/orders/events"):
            assert (await http.get(url, headers=POLL)).status_code == 500


async def test_an_error_in_authenticate_is_logged_and_not_revealed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def authenticate(connection: HTTPConnection) -> str:
        raise ValueError("the password is 1234")

    async with served(authenticate=authenticate) as (_, http):
        response = await http.get("/sessions")
        assert response.status_code == 500
        assert response.json() == {
            "code": "internal",
            "message": "Something went wrong.",
            "retryable": True,
        }
    assert "the password is 1234" in caplog.text


@pytest.mark.parametrize("answer", [None, "", Identity(""), 0, False])
async def test_an_empty_identity_is_refused(answer: object) -> None:
    async with served(authenticate=lambda connection: answer) as (_, http):
        assert (await http.get("/sessions")).status_code == 401


@pytest.mark.parametrize("answer", [object(), {"sub": "ada"}, {}, True, b"ada"])
async def test_an_authenticate_that_returns_no_identity_is_a_logged_server_error(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(authenticate=lambda connection: answer) as (_, http):
        assert (await http.get("/sessions")).status_code == 500
    assert "expected an Identity, or its id as a str, an int or a UUID" in caplog.text


async def test_authorize_decides_about_every_action() -> None:
    asked: list[tuple[str, str]] = []

    async def authorize(identity: object, info: object, action: str) -> bool:
        asked.append((info.id, action))  # type: ignore[attr-defined]
        return action == "read"

    async with served(authorize=authorize) as (gateway, http):
        await gateway.enter(SESSION, identity=None, agent=None)
        url = f"/sessions/{SESSION}"
        assert (await http.get(url)).status_code == 200
        assert (await say(http, "hello")).status_code == 403
        assert (await http.patch(url, json={"title": "x"})).status_code == 403
        assert (await http.post(f"{url}/cancel", json={})).status_code == 403
        assert (await http.delete(url)).status_code == 403
        assert (SESSION, "delete") in asked and (SESSION, "write") in asked
