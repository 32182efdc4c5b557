"""``chat``: talks to an agent at a terminal, in a pipe, or in JSON lines."""

from __future__ import annotations

import asyncio
import logging
import sys
from argparse import Namespace
from collections.abc import AsyncIterator
from typing import Final

from ..client import Opening, ProxySetting, connect
from ..client.address import addresses, has_scheme
from .json_lines import as_json
from .streams import (
    check_output,
    escape_as_json,
    nothing_to_send,
    open_input,
    read_all,
    read_lines,
)
from .terminal import Terminal

CONNECT_TIMEOUT: Final = 3.0


def endpoint(url: str) -> str:
    """The WebSocket address for ``url``. Raises BadRequest."""
    return addresses(with_scheme(url), Opening())[0]


def with_scheme(url: str) -> str:
    """``url`` with a scheme; it may be a bare host."""
    return url if has_scheme(url) else f"ws://{url.strip()}"


def chat(options: Namespace) -> int:
    """Chats until the input ends. Raises AgentwsError and Problem; returns the exit code."""
    # A wrong address is reported before any input is read.
    endpoint(options.url)
    check_output()
    descriptor = open_input()
    # Log lines of libraries must not appear on the terminal.
    logging.getLogger().addHandler(logging.NullHandler())
    conversation = connect(
        with_scheme(options.url),
        session=options.session,
        agent=options.agent,
        token=options.token,
        proxy=_proxy(options.proxy),
        connect_timeout=CONNECT_TIMEOUT,
    )
    if options.json:
        escape_as_json()
        return asyncio.run(as_json(conversation, read_lines(descriptor)))
    if sys.stdin.isatty():
        return asyncio.run(Terminal(conversation, read_lines(descriptor)).run())
    text = read_all(descriptor).strip()
    if not text:
        raise nothing_to_send()
    return asyncio.run(Terminal(conversation, _just(text), interactive=False).run())


def _proxy(given: str | None) -> ProxySetting:
    match given:
        case None:
            return True
        case "none":
            return None
        case _:
            return given


async def _just(text: str) -> AsyncIterator[str]:
    yield text
