"""Calls ``POST /ask``: as a client that reads a whole answer, or one line after another."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from .calling import WITHIN, Stream

FORM = "application/x-www-form-urlencoded"
TEXT = {"accept": "text/plain"}


class Ask(Stream):
    """One ``POST /ask`` whose answer is read line by line as it comes."""

    def __init__(self, app: Any, body: bytes, *, query: str = "", **headers: str) -> None:
        given = {"accept": "*/*", "content_type": FORM, **headers}
        super().__init__(app, f"/ask{query}", **given)
        self.scope["method"] = "POST"
        self._body = body

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        return await super()._receive()

    async def line(self) -> str | None:
        """The next line, ``None`` at the end of the answer."""
        async with asyncio.timeout(WITHIN):
            while b"\n" not in self._text:
                chunk = await self._chunks.get()
                if chunk is None:
                    return self._text.decode() or None
                self._text += chunk
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    async def lines(self) -> list[str]:
        found: list[str] = []
        while (line := await self.line()) is not None:
            found.append(line)
        return found


async def ask(http: httpx2.AsyncClient, body: Any, **options: Any) -> httpx2.Response:
    """Asks with a text as curl does, or with JSON."""
    headers = options.pop("headers", {})
    if isinstance(body, str):
        headers = {"content-type": FORM, **headers}
        return await http.post("/ask", content=body, headers=headers, **options)
    return await http.post("/ask", json=body, headers=headers, **options)
