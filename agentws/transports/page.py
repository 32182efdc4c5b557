"""The routes of the chat page and the browser client, served from the package's files."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from ..errors import NotFound
from .http import Call, Operation

INDEX: Final = "index.html"
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
}
"""Content types by suffix; files with any other suffix are not served."""
_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")
_POLICY: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'{sockets}",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)


class Asset(NamedTuple):
    """A file in memory: its content, its Content-Type and its ETag."""

    content: bytes
    kind: str
    tag: str


class PageRoutes:
    """Serves the page at the prefix and its files below it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._assets: dict[str, Asset] | None = None

    def operations(self) -> list[Operation]:
        found = [
            Operation("GET", "/", self.page, "anyone", "The chat page"),
            Operation("GET", "/web/{path:path}", self.file, "anyone", "A file of the page"),
            Operation("GET", "/client.js", self.client, "anyone", "The browser client"),
        ]
        if self._prefix:
            found.append(Operation("GET", "", self.slash, "anyone", "To the chat page"))
        return found

    async def page(self, call: Call) -> ASGIApp:
        asset = (await self._loaded())[INDEX]
        headers = {
            "content-security-policy": policy(call.request.headers.get("host", "")),
            "cross-origin-opener-policy": "same-origin",
            # The page's URL contains the session's id.
            "referrer-policy": "no-referrer",
            "x-frame-options": "DENY",
        }
        return _serve(call.request, asset, headers)

    async def file(self, call: Call) -> ASGIApp:
        # Looked up in a dict of the existing files, so there is no path traversal.
        path = call.request.path_params["path"]
        asset = (await self._loaded()).get(path)
        if asset is None or path == INDEX:
            raise NotFound()
        return _serve(call.request, asset, {})

    async def client(self, call: Call) -> ASGIApp:
        """Redirects to the folder of the client, where its relative imports resolve."""
        return RedirectResponse("web/client.js", status_code=307)

    async def _loaded(self) -> dict[str, Asset]:
        if self._assets is None:
            self._assets = await asyncio.to_thread(_read_assets)
        return self._assets

    async def slash(self, call: Call) -> ASGIApp:
        """Redirects to the prefix with a trailing slash, which the page's relative URLs need.

        The redirect is relative, as the requested path may contain parameters of the prefix.
        """
        query = call.request.url.query
        name = quote(call.request.scope["path"].rpartition("/")[2], safe="")
        return RedirectResponse(f"{name}/?{query}" if query else f"{name}/", status_code=307)


def policy(host: str) -> str:
    """The page's Content-Security-Policy.

    Older versions of Safari match ``'self'`` with http only, so WebSocket URLs are added.
    """
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return "; ".join(_POLICY).format(sockets=sockets)


def _serve(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    # File names carry no version, so a browser must revalidate its copy each time.
    headers = {**headers, "cache-control": "no-cache", "etag": asset.tag}
    if _is_known(request.headers.get("if-none-match", ""), asset.tag):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers={**headers, "content-type": asset.kind})


def _is_known(tags: str, tag: str) -> bool:
    known = {one.strip().removeprefix("W/") for one in tags.split(",")}
    return tag in known or "*" in known


def _read_assets() -> dict[str, Asset]:
    return dict(_walk(files("agentws") / "web", ""))


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, Asset]]:
    for entry in folder.iterdir():
        kind = _KINDS.get("." + entry.name.rpartition(".")[2])
        if entry.is_dir():
            yield from _walk(entry, f"{path}{entry.name}/")
        elif kind is not None:
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
            yield path + entry.name, Asset(content, kind, tag)
