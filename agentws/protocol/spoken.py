"""Questions as text, and the text that answers them: for clients that know of messages only."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from .messages import CLIENT_TOOL, Interrupt, told_in
from .outline import Outline
from .spoken_schema import NO, YES, read_as


class Spoken(NamedTuple):
    """The answer that a text gives to a question."""

    interrupt: str
    payload: Any


def question_text(interrupt: Interrupt) -> str | None:
    """The question with its choices, numbered; ``None`` if no person can answer it."""
    if interrupt.reason == CLIENT_TOOL:
        return None
    lines = [interrupt.message or "May I go on?"]
    lines += [f"{number}. {one}" for number, one in enumerate(_choices(interrupt), 1)]
    if interrupt.reason == "tool_call":
        lines.append("Answer yes or no.")
    return "\n".join(lines)


def spoken_answer(outline: Outline, text: str) -> Spoken | None:
    """The answer that ``text`` gives to the open question; ``None`` if it is an ordinary message.

    That is one while something runs or waits to run. The question is the first one that is open of
    the run that asked last.
    """
    if outline.run is not None or outline.queue or not outline.interrupts:
        return None
    run = outline.asked.get(next(reversed(list(outline.interrupts))))
    for id, interrupt in outline.interrupts.items():
        if outline.asked.get(id) == run and "step" in told_in(interrupt.metadata):
            if interrupt.reason != CLIENT_TOOL:
                return answer_in(interrupt, text.strip())
    return None


def answer_in(interrupt: Interrupt, text: str) -> Spoken | None:
    """The answer that ``text`` gives to ``interrupt``; ``None`` if it does not fit."""
    choices = _choices(interrupt)
    if choices:
        return _chosen(interrupt.id, choices, text)
    said = text.casefold()
    if interrupt.reason == "tool_call":
        known = said in YES or said in NO
        return Spoken(interrupt.id, {"approved": said in YES}) if known else None
    schema = interrupt.response_schema or {}
    if "type" not in schema or isinstance(schema["type"], list):
        read = read_as(schema, text, root=schema)
        return None if read is None else Spoken(interrupt.id, read[0])
    match schema["type"]:
        case "string":
            return Spoken(interrupt.id, text)
        case "boolean" if said in YES or said in NO:
            return Spoken(interrupt.id, said in YES)
        case _:
            # Of another type, too: then the agent asks again, and says what is wrong.
            return _json(interrupt.id, text)


def _chosen(id: str, choices: list[str], text: str) -> Spoken | None:
    numbered = {str(number): one for number, one in enumerate(choices, 1)}
    named = {one.casefold(): one for one in choices}
    found = named.get(text.casefold(), numbered.get(text.removesuffix(".")))
    return None if found is None else Spoken(id, found)


def _json(id: str, text: str) -> Spoken | None:
    try:
        return Spoken(id, msgspec.json.decode(text))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _choices(interrupt: Interrupt) -> list[str]:
    """The choices of a question; else the values that its schema allows, if all are text."""
    found = told_in(interrupt.metadata).get("choices")
    if not isinstance(found, list):
        found = (interrupt.response_schema or {}).get("enum")
    texts = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return list(found) if found and texts else []
