"""What clients saw of one session, and whether it agrees with the log: over faults, nodes and time.

A :class:`ClientHistory` belongs to one client and records every frame that it read, over all its
connections. :func:`check_history` compares any number of them with the log, after the faults:

* Each client saw every event once and in order, between snapshots, with the tags of the log; so
  any two clients agree on what both saw.
* Every acknowledged message is in the log once, at the position that was acknowledged.
* Every run ended once, and every message was answered or withdrawn.
* A run has one writer: nothing of a writer that lost its lease is in the log after that.

:func:`check_strangers` checks those clients to which the session does not belong: each was refused
every time, and read nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from ..client.transport import Opening, OpenTransport, Transport
from ..protocol.codec import Record
from ..protocol.position import parse_position
from .connect import Frame, kind
from .log_check import check_log
from .oracle import check_client

__all__ = [
    "Checked",
    "ClientHistory",
    "Seen",
    "check_history",
    "check_strangers",
    "frames_of",
    "recording",
]

LOSSES: Final = frozenset({"lost", "epoch", "future", "diverged"})
"""The reasons of a snapshot by which a client learns that the store has lost events."""
REFUSALS: Final = frozenset({"error", "bye"})
"""The only frames that a client may read of a session that is not its own."""


class Seen(NamedTuple):
    """One event as a client read it."""

    seq: int
    tag: str
    kind: str


@dataclass
class ClientHistory:
    """The frames that one client of the native wire used, and the ids of what it sent.

    ``frames`` must be those that its position stands for: a frame that was received, and dropped
    with its connection before the client used it, comes again.
    """

    name: str = "client"
    frames: list[Frame] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    """The ids of the user messages that it sent, acknowledged or not."""

    def read(self, message: str | bytes) -> None:
        """Records one message of the server, of which the client uses every frame."""
        self.frames += frames_of(message)

    def answered(self, status: int, body: bytes) -> None:
        """Records an answer over HTTP, as a frame of type ``error`` or ``answer`` by its status."""
        name = "error" if status >= 400 else "answer"
        text = body.decode(errors="replace")
        self.frames.append({"type": name, "status": status, "body": text})

    def wrote(self, text: str) -> None:
        """Records one message of the client."""
        frame = msgspec.json.decode(text)
        if frame.get("type") == "send":
            self.sent.add(frame["id"])

    @property
    def seen(self) -> list[Seen]:
        """The events that it read, in order."""
        at = [(parse_position(one["id"]), kind(one)) for one in self.frames if "event" in one]
        return [Seen(position.seq, position.tag, name) for position, name in at]

    @property
    def acknowledged(self) -> dict[str, str]:
        """The messages that were acknowledged to it: the position of each, by id."""
        replies = [one for one in self.frames if one.get("type") == "accepted"]
        return {one["reply"]: one["position"] for one in replies if one["reply"] in self.sent}

    @property
    def losses(self) -> list[str]:
        """The reasons with which it was told that events were lost."""
        return [one["reason"] for one in self.frames if one.get("reason") in LOSSES]


def frames_of(message: str | bytes) -> list[Frame]:
    """The frames in one message of the server."""
    decoded = msgspec.json.decode(message)
    return decoded if isinstance(decoded, list) else [decoded]


class Checked(NamedTuple):
    """What :func:`check_history` has checked."""

    events: int
    acknowledged: int
    lost: frozenset[str]
    """Acknowledged messages that are not in the log. Empty unless losses are allowed."""


def check_history(
    epoch: str,
    records: Sequence[Record],
    clients: Iterable[ClientHistory],
    *,
    complete: bool = True,
    settled: bool = True,
    writer: Callable[[dict[str, Any]], str | None] | None = None,
    may_lose: bool = False,
) -> Checked:
    """Raises AssertionError with the first disagreement between ``clients`` and the log.

    ``epoch`` and ``records`` are what :func:`agentws.testing.oracle.read_log` returns, of a log
    that was not compacted. ``complete``: every client must have read up to its head. ``settled``:
    every run must have ended, and every message must have been answered or withdrawn.

    ``writer`` returns which writer an event of a run is from, if the agent shows that in it.
    ``may_lose``: the store may have lost the end of the log, if it told every client so. What was
    read before is not compared then, and the acknowledged messages that are gone are returned.
    """
    clients = list(clients)
    acknowledged: dict[str, str] = {}
    for client in clients:
        assert may_lose or not client.losses, f"{client.name} was told of losses: {client.losses}"
        _merge_acknowledged(acknowledged, client)
    places = _accepted(records)
    lost = frozenset(acknowledged.keys() - places.keys() if may_lose else ())
    check_log(records, accepted=acknowledged.keys() - lost, settled=settled)
    for id, position in acknowledged.items():
        there = may_lose or parse_position(position).seq in places[id]
        assert there, f"{id} was acknowledged at {position}, and is not there"
    if writer is not None:
        _check_writers(records, writer)
    for client in clients:
        try:
            check_client(epoch, records, _since_loss(client.frames), complete=complete)
        except AssertionError as error:
            raise AssertionError(f"{client.name}: {error}") from error
    return Checked(len(records), len(acknowledged), lost)


def check_strangers(strangers: Iterable[ClientHistory]) -> int:
    """Checks clients that tried to read or use a session of somebody else; returns how many frames.

    What a stranger read over HTTP is recorded by :meth:`ClientHistory.answered`. Raises
    AssertionError with the first frame that is not a refusal, and for a stranger that has read
    nothing at all: then nothing was checked.
    """
    checked = 0
    for stranger in strangers:
        assert stranger.frames, f"{stranger.name} was never answered"
        for frame in stranger.frames:
            shown = frame.get("type") not in REFUSALS
            assert not shown, f"{stranger.name} was shown what is not its own: {frame}"
        checked += len(stranger.frames)
    return checked


def _merge_acknowledged(known: dict[str, str], client: ClientHistory) -> None:
    for id, position in client.acknowledged.items():
        before = known.setdefault(id, position)
        assert before == position or client.losses, (
            f"{id} was acknowledged at {before} and at {position}"
        )


def _accepted(records: Sequence[Record]) -> dict[str, list[int]]:
    """The seqs at which each user message is in the log: more than one if it was asked again."""
    found: dict[str, list[int]] = {}
    for record in records:
        event = msgspec.json.decode(record.data)["event"]
        if event["type"] == "message.accepted":
            found.setdefault(event["message"]["id"], []).append(record.seq)
    return found


def _check_writers(
    records: Sequence[Record], writer: Callable[[dict[str, Any]], str | None]
) -> None:
    writers: dict[str, str] = {}
    for record in records:
        body = msgspec.json.decode(record.data)
        by = writer(body["event"]) if "run" in body else None
        if by is not None:
            first = writers.setdefault(body["run"], by)
            assert by == first, f"{body['run']} of {first} was written by {by} at {record.seq}"


def _since_loss(frames: Sequence[Frame]) -> Sequence[Frame]:
    """The frames from the last one on that told the client of a loss."""
    told = [at for at, frame in enumerate(frames) if frame.get("reason") in LOSSES]
    return frames[told[-1] :] if told else frames


def recording(open_transport: OpenTransport, history: ClientHistory) -> OpenTransport:
    """The same transport for a :class:`agentws.client.Chat`, which records what passes through."""

    async def open(opening: Opening) -> Transport:
        return _Recording(await open_transport(opening), history)

    return open


class _Recording:
    def __init__(self, inner: Transport, history: ClientHistory) -> None:
        self._inner = inner
        self._history = history

    async def send(self, text: str, /) -> None:
        self._history.wrote(text)
        await self._inner.send(text)

    async def recv(self) -> str | bytes:
        message = await self._inner.recv()
        self._history.read(message)
        return message

    async def close(self) -> None:
        await self._inner.close()
