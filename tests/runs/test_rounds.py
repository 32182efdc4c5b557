"""What an agent that is called again finds of what it said before."""

from __future__ import annotations

import random

import pytest

from agentws.agents.rounds import Round, calls_of, recorded_round
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Envelope
from agentws.protocol.events import AnyEvent
from agentws.protocol.fold import Fold
from agentws.protocol.sequence import RunSequence
from agentws.testing.fakellm import Reply, ToolUse

USE = ToolUse("add", {"a": 1})


def said_in(log: list[Envelope]) -> list[m.Message]:
    """What ``run_1`` said, as an agent that is called again finds it."""
    fold = Fold()
    fold.apply(e.RunStarted("ses_1", "run_1"), "run_1")
    for body in log:
        if body.run == "run_1" or isinstance(body.event, e.MessageAccepted):
            fold.apply(body.event, body.run)
    return fold.messages


def shown(sequence: RunSequence, reply: Reply) -> tuple[list[AnyEvent], list[m.Message]]:
    """A round as the events in the log, and as its messages."""
    one, items, events = Round(), [], []
    for piece in reply.pieces:
        assert not isinstance(piece, m.TokenUsage)
        items += list(one.add(piece))
    items += list(one.end())
    for item in items:
        if isinstance(item, str):
            opening, id = sequence.begin_text()
            events += [*opening, e.TextMessageContent(message_id=id, delta=item)]
        else:
            events += sequence.admit(item)
    return [*events, *sequence.close()], one.messages  # type: ignore[list-item]


def random_reply(rng: random.Random) -> Reply:
    return Reply(
        rng.choice(["", "one two three"]),
        reasoning=rng.choice(["", "Hm, well."]),
        signature=rng.choice(["", "s"]),
        calls=[USE] * rng.randint(0, 2),
    )


@pytest.mark.parametrize("seed", range(40))
def test_rounds_are_found_in_the_log_as_they_were_shown(seed: int) -> None:
    rng, sequence = random.Random(seed), RunSequence("run_1")
    log: list[Envelope] = []
    expected = []
    for number in range(rng.randint(1, 5)):
        events, messages = shown(sequence, random_reply(rng))
        log += [Envelope(event=event, run="run_1") for event in events]
        other = e.TextMessageStart("round_other_1")
        log.append(Envelope(event=other, run="run_of_another_message"))
        if rng.random() < 0.3:
            log.append(Envelope(event=e.TextMessageStart(f"msg_{number}"), run="run_1"))
        for call in calls_of(messages):
            result = e.ToolCallResult(f"t{call.id}", call.id, "3", "tool")
            log.append(Envelope(event=result, run="run_1"))
        steered: list[m.Message] = []
        if messages and rng.random() < 0.4:
            steered = [m.UserMessage(f"steer-{number}", "Also this.")]
            accepted = e.MessageAccepted(m.UserMessage(f"steer-{number}", "Also this."), "steer")
            log.append(Envelope(event=accepted, run=None))
            log.append(
                Envelope(event=e.MessageSteered(f"steer-{number}", "delivered"), run="run_1")
            )
        if messages:
            expected.append((messages, steered))
    said = said_in(log)
    assert [tuple(recorded_round(said)) for _ in expected] == expected
    assert recorded_round(said).messages == []
