"""The response with a file: ranges, validators, and headers under which no browser runs it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..files import FileInfo, FileStore

BINARY: Final = "application/octet-stream"
_SHOWN: Final = re.compile(
    r"(?:audio|video)/[\w.+-]+|image/(?!svg)[\w.+-]+|application/pdf|text/plain"
)
"""Types that a page may show; everything else is served as bytes. HTML, SVG and XML can hold
scripts."""
_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[^A-Za-z0-9 ._()-]")


class Span(NamedTuple):
    """A part of a file: from ``start`` up to ``stop``, exclusive."""

    start: int
    stop: int


_NO_SPAN: Final = Span(0, 0)


def file_response(request: Request, info: FileInfo, store: FileStore) -> Response:
    """The file, or the part that a single ``Range`` asks for; 304 if the client has it.

    Several ranges at once are answered with the whole file, which HTTP allows.
    """
    headers = _headers(info)
    if _is_known(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    span = _span(request, info.size, headers["etag"])
    if span == _NO_SPAN:
        unsatisfied = {**headers, "content-range": f"bytes */{info.size}", "content-length": "0"}
        return Response(status_code=416, headers=unsatisfied)
    # Also for a range that is the whole file: players ask for that to learn if they may seek.
    status, part = (200, Span(0, info.size)) if span is None else (206, span)
    headers["content-length"] = str(part.stop - part.start)
    if span is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{info.size}"
    headers["content-type"] = info.type if _SHOWN.fullmatch(info.type) else BINARY
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    chunks = store.read(info.id, start=part.start, stop=part.stop)
    return StreamingResponse(_closing(chunks), status_code=status, headers=headers)


def _headers(info: FileInfo) -> dict[str, str]:
    return {
        "accept-ranges": "bytes",
        # A shared cache does not know whose file it is; a browser asks again each time.
        "cache-control": "private, no-cache",
        "content-disposition": _disposition(info.name),
        "content-security-policy": "sandbox; default-src 'none'",
        "cross-origin-resource-policy": "same-site",
        "etag": f'"{info.sha256[:32]}"',
        "referrer-policy": "no-referrer",
    }


def _disposition(name: str) -> str:
    """RFC 6266: a plain name for old clients, and the exact one in UTF-8."""
    plain, exact = _PLAIN.sub("_", name), quote(name, safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"


def _span(request: Request, size: int, tag: str) -> Span | None:
    """The part that is asked for; ``None`` for the whole file, ``_NO_SPAN`` if there is no such."""
    given = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    if given is None or (condition is not None and condition.strip() != tag):
        return None
    first, last = given.groups()
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size)
        if not size and int(last):
            return None  # an empty file has no bytes to count from the end
        return Span(size - length, size) if length else _NO_SPAN
    if last and int(last) < int(first):
        return None  # not a range: it is ignored
    if int(first) >= size:
        return _NO_SPAN
    return Span(int(first), min(int(last) + 1, size) if last else size)


def _is_known(tags: str, tag: str) -> bool:
    known = {one.strip().removeprefix("W/") for one in tags.split(",")}
    return tag in known or "*" in known


async def _closing(chunks: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """Closes the file also when the client leaves in the middle."""
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk
