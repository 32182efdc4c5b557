"""Questions at a terminal: how one is shown, and the answer that a line gives to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..protocol.messages import CLIENT_TOOL, Interrupt, told_in
from ..protocol.spoken import Spoken, answer_in, question_text
from ..protocol.spoken_schema import NO
from .forms import Form, form_of

SKIP: Final = "/skip"
"""What a user types to answer a question with nothing."""
_FIELDS: Final = 20
"""The most fields of a form that are named."""


class Questions:
    """Which open question the next line answers: the first one of the run that asked last."""

    def __init__(self) -> None:
        self._newest: list[str] = []
        self._answered: set[str] = set()
        self._form: tuple[str, Form | None] = "", None

    def __repr__(self) -> str:
        return f"<Questions {self._newest}>"

    def asked(self, interrupts: Sequence[Interrupt]) -> None:
        """A run ended with these."""
        self._newest = [one.id for one in interrupts]

    def answered(self, interrupt: str) -> None:
        self._answered.add(interrupt)
        self._form = "", None

    def refused(self, interrupt: str) -> None:
        """The answer was not accepted: the question may still be open."""
        self._answered.discard(interrupt)

    def current(self, open: Sequence[Interrupt]) -> Interrupt | None:
        """The question of ``open`` that the next line answers."""
        left = [one for one in open if one.id not in self._answered and one.reason != CLIENT_TOOL]
        newest = [one for one in left if one.id in self._newest]
        return newest[0] if newest else left[-1] if left else None

    def form(self, question: Interrupt) -> Form | None:
        """The form that the next lines fill in; ``None`` for a question that needs none."""
        if self._form[0] != question.id:
            self._form = question.id, form_of(question)
        return self._form[1]


def shown(question: Interrupt) -> str:
    """The question, its choices with numbers, and how to answer it."""
    text = question_text(question)
    if text is None:
        return f"waits for a client that has the tool {told_in(question.metadata).get('tool')}"
    lines = [*text.removesuffix(_YES_OR_NO).split("\n"), _how(question)]
    if (form := form_of(question)) is not None:
        lines.append(form.question)
    return f"asks: {_INDENT.join(lines)}"


_YES_OR_NO: Final = "\nAnswer yes or no."
_INDENT: Final = "\n   "


def _how(question: Interrupt) -> str:
    if question.reason == "tool_call":
        return "y runs it, n or n REASON does not"
    if told_in(question.metadata).get("choices"):
        return f"answer with a choice or its number; {SKIP} answers nothing"
    schema = question.response_schema or {}
    fields = ", ".join(_field(name, one) for name, one in _properties(schema))
    if fields:
        how = "answer field by field, or" if form_of(question) else "answer"
        return f"{how} with a JSON object of {fields}; {SKIP} answers nothing"
    kind = schema.get("type", "string")
    what = "" if kind == "string" else f" with JSON of the type {kind}"
    return f"answer{what}; {SKIP} answers nothing"


def _properties(schema: dict[str, Any]) -> list[tuple[str, Any]]:
    found = schema.get("properties")
    return list(found.items())[:_FIELDS] if isinstance(found, dict) else []


def _field(name: str, schema: Any) -> str:
    known = schema if isinstance(schema, dict) else {}
    allowed = known.get("enum")
    if isinstance(allowed, list):
        return f"{name} ({' or '.join(str(one) for one in allowed)})"
    return f"{name} ({known['type']})" if isinstance(known.get("type"), str) else name


def answer_to(question: Interrupt, line: str) -> Spoken | None:
    """The answer that ``line`` gives; ``None`` if it does not fit."""
    said = line.strip()
    if question.reason == "tool_call":
        word, _, reason = said.partition(" ")
        if reason and word.casefold() in NO:
            return Spoken(question.id, {"approved": False, "reason": reason.strip()})
    return answer_in(question, said)
