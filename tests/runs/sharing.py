"""An agent that shares its state, and the changes that clients make to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agentws import Agent, RunContext
from agentws.agents.sharing import AcceptsState
from agentws.protocol import events as e
from agentws.protocol.fold import Fold
from agentws.testing.connect import Client, Frame, kind

SESSION = "ses_0123456789abcdef"


class Open(Agent):
    """Accepts every change, unless a subclass says otherwise.

    A message sets the state; ``wait`` waits until ``go`` is in it.
    """

    accepts_state: bool | AcceptsState = True

    async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
        if ctx.text != "wait":
            ctx.set_state({"text": ctx.text})
            yield "set"
            return
        ctx.set_state({"waiting": True})
        async for state in ctx.state_changes():
            if state.get("go"):
                break
        yield f"went with {state}"


def change(*patch: dict[str, Any], id: str = "s1") -> Frame:
    return {"type": "state", "id": id, "patch": list(patch)}


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def expecting(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


def folded(client: Client) -> Any:
    """The state that a tab shows: the fold of the events that it has received."""
    state: list[Frame] = [one for one in client.frames if "event" in one]
    fold = Fold()
    for frame in state:
        event = frame["event"]
        match kind(frame):
            case "STATE_SNAPSHOT":
                fold.apply(e.StateSnapshot(event["snapshot"]), frame.get("run"))
            case "STATE_DELTA":
                fold.apply(e.StateDelta(event["delta"]), frame.get("run"))
            case "state.changed":
                fold.apply(e.StateChanged(event["patch"]))
    return fold.state
