"""Three clients that send random commands, also about each other's messages and runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from agentws.testing.connect import Client, Closed, Frame, kind

from .replies import Request
from .stores import End

SESSION = "a-session-of-many-laws"
MESSAGES = 8
ACTIONS = 9
"""Frames of each client, at least."""
PATIENCE = 120.0
"""Virtual seconds within which every command must be answered."""

REPLIES = ("accepted", "error")

SAYS = ("words", "words", "listen", "burst", "ask", "ask", "hang", "fail", "nothing")
"""What a message can tell the agent to do."""
OVERLAPS = (None, None, "queue", "interrupt", "reject", "reject", "steer", "steer", "steer")
FRAMES = {
    "send": 34,
    "withdraw": 14,
    "edit": 8,
    "promote": 8,
    "cancel message": 12,
    "cancel run": 10,
    "cancel": 6,
    "answer": 16,
    "clear": 8,
}
"""The commands, with their weights."""


class Crowd:
    """The clients of one episode. ``pace`` is how long a second takes."""

    def __init__(self, apps: Sequence[Any], end: End, *, seed: int, pace: float) -> None:
        self._apps = apps
        self._end = end
        self._random = random.Random(seed)
        self._pace = pace
        self._number = 0
        self._says = [f"{self._random.choice(SAYS)} {number}" for number in range(MESSAGES)]
        self._overlaps = [self._random.choice(OVERLAPS) for _ in range(MESSAGES)]
        self.requests: list[Request] = []
        url = f"/ws/chat?session={SESSION}"
        self.clients = [Client(apps[number % len(apps)], url) for number in range(3)]

    async def play(self, who: int) -> None:
        """The loop of one client: a frame, its reply, a pause."""
        client, chance = self.clients[who], self._random
        await self.connect(client)
        for _ in range(ACTIONS):
            pause = chance.choice((0.0, chance.uniform(0.0, 0.03), chance.uniform(0.0, 0.4)))
            await asyncio.sleep(pause * self._pace)
            frame = self._frame()
            if chance.random() < 0.08:
                await self._leave_after(client, who, frame)
            await self._ask(client, who, frame)

    async def connect(self, client: Client, app: Any = None) -> None:
        """Connects, with retries while the store fails."""
        while True:
            try:
                await client.reconnect(app)
                await client.until("welcome", within=PATIENCE)
                return
            except Closed:
                await asyncio.sleep(0.1 * self._pace)

    async def _ask(self, client: Client, who: int, frame: Frame) -> None:
        one = await self._send(client, who, frame)
        try:
            one.reply = await client.until(
                lambda said: said.get("reply") == frame["id"] and kind(said) in REPLIES,
                within=PATIENCE,
            )
        except Closed:
            await self.connect(client)
        one.replied_at = self._end.seq

    async def _send(self, client: Client, who: int, frame: Frame) -> Request:
        client.take_waiting()
        if client.closed is not None:
            await self.connect(client)
        one = Request(who, frame, self._end.seq, seq_of(client))
        self.requests.append(one)
        await client.send(frame)
        return one

    async def _leave_after(self, client: Client, who: int, frame: Frame) -> None:
        """The reply is lost: the same frame is sent again, perhaps to the other node."""
        await self._send(client, who, frame)
        await asyncio.sleep(self._random.choice((0.0, self._random.uniform(0, 0.1))) * self._pace)
        client.take_waiting()
        await self.connect(client, self._random.choice(self._apps))

    # The commands

    def _frame(self) -> Frame:
        self._number += 1
        id = f"x{self._number}"
        (says,) = self._random.choices(tuple(FRAMES), tuple(FRAMES.values()))
        match says:
            case "send":
                return self._message(self._random.randrange(MESSAGES))
            case "withdraw":
                return {"type": "withdraw", "id": id, "message": self._waiting()}
            case "edit":
                message = self._waiting()
                says = f"{self._random.choice(SAYS)} {message[1:]}"
                return {"type": "edit_queued", "id": id, "message": message, "content": says}
            case "promote":
                return {"type": "promote", "id": id, "message": self._waiting()}
            case "cancel message":
                return {"type": "cancel", "id": id, "message": self._sent()}
            case "cancel run":
                runs = [event["runId"] for event in self._seen("RUN_STARTED")]
                return {"type": "cancel", "id": id, "run": self._recent(runs, "run_of_nobody")}
            case "cancel":
                return {"type": "cancel", "id": id}
            case "answer":
                payload = self._random.choice(("yes", "yes", "no", "again"))
                return {"type": "answer", "id": id, "interrupt": self._asked(), "payload": payload}
            case _:
                return {"type": "command", "id": id, "name": "clear"}

    def _message(self, number: int) -> Frame:
        frame: Frame = {"type": "send", "id": f"m{number}", "content": self._says[number]}
        overlap = self._overlaps[number]
        if self._random.random() < 0.05:
            # Another body under the same id, unless this is its first.
            overlap = "interrupt" if overlap != "interrupt" else None
        return frame if overlap is None else frame | {"overlap": overlap}

    def _sent(self) -> str:
        sent = [one.frame["id"] for one in self.requests if one.frame["type"] == "send"]
        return self._recent(sent, "m0")

    def _waiting(self) -> str:
        """Mostly a message that is queued in what a client has read."""
        taken = {one["id"] for event in self._seen("RUN_STARTED") for one in _messages(event)}
        taken |= {event["messageId"] for event in self._seen("message.withdrawn")}
        queued = [event["message"]["id"] for event in self._seen("message.accepted")]
        waiting = [id for id in queued if id not in taken]
        return self._sent() if self._random.random() < 0.3 else self._recent(waiting, self._sent())

    def _asked(self) -> str:
        """Mostly a question that is open in what a client has read."""
        ended = self._seen("RUN_FINISHED")
        asked = [
            one["id"]
            for event in ended
            for one in (event.get("outcome") or {}).get("interrupts", ())
        ]
        answered = {event["interruptId"] for event in self._seen("interrupt.answered")}
        still = [id for id in asked if id not in answered]
        known = self._recent(asked, "q0")
        return known if self._random.random() < 0.3 else self._recent(still, known)

    def _recent(self, known: list[str], otherwise: str) -> str:
        return self._random.choice(known[-3:]) if known else otherwise

    def _seen(self, type: str) -> list[dict[str, Any]]:
        events = [event for client in self.clients for event in client.events()]
        return [event for event in events if event["type"] == type]


def _messages(started: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = started.get("input", {}).get("messages", [])
    return messages


def seq_of(client: Client) -> int:
    """How far a client has read."""
    return int((client.position or ".0.").split(".")[1])
