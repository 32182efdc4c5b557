"""The routes of the chat page and its files."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

import pytest

from agentws.transports.page import policy

from .calling import served

WEB = Path(str(files("agentws") / "web"))
NAMES = sorted(
    path.relative_to(WEB).as_posix()
    for path in WEB.rglob("*")
    if path.suffix in (".js", ".css", ".svg")
)
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


async def test_the_content_security_policy_allows_only_the_pages_own_files() -> None:
    async with served() as (_, http):
        response = await http.get("/", headers={"host": "testserver:8000"})
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        rules = dict(
            part.split(" ", 1) for part in response.headers["content-security-policy"].split("; ")
        )
        assert rules["connect-src"] == "'self' ws://testserver:8000 wss://testserver:8000"
        assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == "'self'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["x; script-src *", "a b", "a,b", "x'", ""])
def test_a_malformed_host_can_not_inject_into_the_policy(host: str) -> None:
    """The guard refuses a malformed Host before; this is a second line of defence."""
    assert "connect-src 'self';" in policy(host)


async def test_every_file_that_the_page_links_to_is_served() -> None:
    async with served(prefix="/agent") as (_, http):
        page = (await http.get("/agent/")).text
        named = re.findall(r'(?:href|src)="([^"#]+)"', page)
        assert named
        for name in named:
            assert (await http.get(f"/agent/{name}")).status_code == 200


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_is_served_with_its_content_type(name: str) -> None:
    async with served() as (_, http):
        response = await http.get(f"/web/{name}")
        assert response.content == (WEB / name).read_bytes()
        assert response.headers["content-type"].startswith(KINDS[Path(name).suffix])
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_file_with_a_matching_etag_is_not_sent_again() -> None:
    async with served() as (_, http):
        for url in ("/", "/web/client.js"):
            first = await http.get(url)
            tag = first.headers["etag"]
            assert first.headers["cache-control"] == "no-cache"
            for tags in (tag, f"W/{tag}", f'"other", {tag}', "*"):
                again = await http.get(url, headers={"if-none-match": tags})
                assert again.status_code == 304 and again.content == b""
                assert again.headers["etag"] == tag
            changed = await http.get(url, headers={"if-none-match": '"other"'})
            assert changed.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "../__init__.py",
        "..%2f__init__.py",
        "%2e%2e/__init__.py",
        "page/../../__init__.py",
        "page/..%5c..%5c__init__.py",
        "%2fetc/passwd",
        "/etc/passwd",
        "client.js%00.css",
        "client.js/",
        "page",
        "page/",
        "",
        "index.html",
        "nothing.js",
    ],
)
async def test_path_traversal_is_not_found(path: str) -> None:
    async with served() as (gateway, _):
        status = await _status(gateway, f"/web/{path}")
        assert status == 404


async def _status(app: object, target: str) -> int:
    """The status for a raw target, which an HTTP client would normalize before sending."""
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, int]) -> None:
        statuses.append(message.get("status", 0))

    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(target),
        "raw_path": target.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
        "client": None,
    }
    await app(scope, receive, send)  # type: ignore[operator]
    return statuses[0]


async def test_the_prefix_without_a_slash_redirects_to_the_page() -> None:
    async with served(prefix="/my/agent") as (_, http):
        response = await http.get("/my/agent?session=ses_0123456789abcdef")
        assert response.status_code == 307
        assert response.headers["location"] == "agent/?session=ses_0123456789abcdef"
        url = response.url.join(response.headers["location"])
        assert (await http.get(url)).status_code == 200


async def test_client_js_redirects_to_where_its_imports_resolve() -> None:
    async with served(prefix="/agent") as (_, http):
        response = await http.get("/agent/client.js")
        assert response.status_code == 307
        url = response.url.join(response.headers["location"])
        assert str(url).endswith("/agent/web/client.js")
        assert (await http.get(url)).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/agent"])
async def test_the_page_can_be_turned_off(prefix: str) -> None:
    async with served(prefix=prefix, page=False) as (_, http):
        for url in ("/", "/web/client.js", "/client.js"):
            assert (await http.get(prefix + url)).status_code == 404
        assert (await http.get(f"{prefix}/health")).status_code == 200
