"""Ending an orphaned run, from the log alone."""

from __future__ import annotations

import msgspec

from agentws.agents.factory import Agents
from agentws.backends.memory import MemoryStore
from agentws.limits import Limits
from agentws.protocol import events as e
from agentws.protocol.codec import encode_event, event_type
from agentws.runs.attempts import Attempts
from agentws.runs.orphan import end_orphan
from agentws.sessions.session import Session
from agentws.store import SessionInfo
from agentws.testing.agents import Script

INFO = SessionInfo(id="a-session-of-this-test", agent="agent", created=0.0, updated=0.0)


async def test_an_orphaned_run_with_events_of_a_newer_version_is_ended() -> None:
    store = MemoryStore()
    await store.create(INFO, epoch="e1")
    lease = await store.lease(INFO.id, owner="here", ttl=60.0)
    assert lease is not None
    opened = [e.RunStarted(INFO.id, "run_1"), e.StepStarted("search"), e.TextMessageStart("a")]
    written = [encode_event(event, run="run_1") for event in opened]
    written.insert(2, b'{"run":"run_1","event":{"type":"LATER_EVENT","messageId":7}}')
    await store.append(INFO.id, written)
    session = await Session.load(INFO, store, tail_size=100)
    attempts = Attempts(Agents(Script("fine")), Limits())
    await end_orphan(session, "run_1", fence=lease.fence, attempts=attempts)
    records = await store.read(INFO.id)
    assert [event_type(record.data) for record in records[4:]] == [
        "TEXT_MESSAGE_END",
        "STEP_FINISHED",
        "RUN_ERROR",
    ]
    assert msgspec.json.decode(records[-1].data)["event"]["code"] == "interrupted"
