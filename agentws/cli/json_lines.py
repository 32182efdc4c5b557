"""A chat for programs: one line of JSON for each update, and one line of input for each message."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator

import msgspec

from ..client import (
    Chat,
    ConnectionChange,
    LogEvent,
    LogReset,
    RunCancelled,
    RunFailed,
    Turn,
    Update,
)
from ..errors import AgentwsError
from ..protocol.frames import Error, Notice, encode_frame, error_frame
from .problem import FAILED
from .streams import write


async def as_json(chat: Chat, lines: AsyncIterator[str]) -> int:
    """Each update is one JSON line on standard output, each line of input one message."""
    updates = chat.watch()
    async with chat:
        _write_json({"type": "session", "session": chat.session})
        showing = asyncio.create_task(_print(updates))
        talking = asyncio.create_task(_send_each(chat, lines))
        try:
            await asyncio.wait({showing, talking}, return_when=FIRST_COMPLETED)
        finally:
            showing.cancel()
            talking.cancel()
            await asyncio.wait({showing, talking})
        if not showing.cancelled():
            showing.result()
        return talking.result()


async def _send_each(chat: Chat, lines: AsyncIterator[str]) -> int:
    status = 0
    async for line in lines:
        if not line.strip():
            continue
        turn: Turn | None = None
        try:
            turn = chat.send(line)
            await turn.text()
        except (RunFailed, RunCancelled):
            status = FAILED
        except AgentwsError as error:
            if chat.connection == "closed":
                raise
            # A line that can't be sent at all has no id.
            reply = None if turn is None else turn.id
            write(encode_frame(error_frame(error, reply=reply)).decode() + "\n")
            status = FAILED
    return status


async def _print(updates: AsyncIterator[Update]) -> None:
    async for update in updates:
        match update:
            case LogEvent(position, run, event):
                framed = {"id": position, "run": run, "event": event}
                _write_json({name: value for name, value in framed.items() if value is not None})
            case ConnectionChange(state, delay, why):
                _write_json({"type": "connection", "state": state, "delay": delay, "why": why})
            case LogReset(reason):
                _write_json({"type": "reset", "reason": reason})
            case Notice() | Error():
                write(encode_frame(update).decode() + "\n")


def _write_json(line: object) -> None:
    write(msgspec.json.encode(line).decode() + "\n")
