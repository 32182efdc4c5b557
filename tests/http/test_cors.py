"""What other origins may do and read over HTTP (CORS)."""

from __future__ import annotations

from agentws import BearerKeys

from .calling import SESSION, served

URL = f"/sessions/{SESSION}/messages"
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
        assert given["access-control-allow-methods"] == "GET, POST, HEAD, OPTIONS"
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
        assert response.headers["allow"] == "GET, POST, HEAD, OPTIONS"
