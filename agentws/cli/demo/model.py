"""The model that the demo agent chats with: one that a key is known for, or a stand-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...agents.llm import LLM
from ...testing.fakellm import Reply, ScriptedLLM, Turn
from .texts import INTRO, PACE


def offline_llm(*, pace: float = PACE) -> LLM:
    """A scripted stand-in for a model, which needs no key: it repeats what it was told."""

    def converse(turns: Sequence[Turn]) -> Reply:
        return Reply(_small_talk([turn.text for turn in turns if turn.role == "user"]), delay=pace)

    return ScriptedLLM(converse, model="offline")


def _small_talk(said: Sequence[str]) -> str:
    heard = f"You said: {said[-1].strip()[:200] or '(nothing)'}\n\n"
    if len(said) == 1:
        return f"{heard}No model is connected, so I only repeat what you say. {INTRO}"
    return f"{heard}That was your message number {len(said)}; the first was: {said[0][:200]}"


def llm_from(environment: Mapping[str, str]) -> tuple[LLM, str]:
    """The model that ``environment`` has a key for, or the offline one; and a note that names it.

    Reads ``OPENAI_API_KEY``, ``OPENAI_BASE_URL``, ``OPENAI_MODEL``, ``ANTHROPIC_API_KEY``,
    ``ANTHROPIC_BASE_URL`` and ``ANTHROPIC_MODEL``; OpenAI comes first.
    """
    for key, connect in (("OPENAI_API_KEY", _openai), ("ANTHROPIC_API_KEY", _anthropic)):
        if not environment.get(key):
            continue
        try:
            return connect(environment)
        except ImportError as missing:
            return offline_llm(), f"Chats with an offline stand-in, though {key} is set: {missing}"
    without = "Chats with an offline stand-in; set OPENAI_API_KEY or ANTHROPIC_API_KEY for a model."
    return offline_llm(), without


def _openai(environment: Mapping[str, str]) -> tuple[LLM, str]:
    from ...integrations.openai import OpenAIChat

    model = environment.get("OPENAI_MODEL") or "gpt-5.4-mini"
    llm = OpenAIChat(
        model,
        api_key=environment["OPENAI_API_KEY"],
        base_url=environment.get("OPENAI_BASE_URL") or None,
    )
    return llm, f"Chats with {model} of OpenAI."


def _anthropic(environment: Mapping[str, str]) -> tuple[LLM, str]:
    from ...integrations.anthropic import AnthropicMessages

    model = environment.get("ANTHROPIC_MODEL") or "claude-haiku-5-5"
    llm = AnthropicMessages(
        model,
        api_key=environment["ANTHROPIC_API_KEY"],
        base_url=environment.get("ANTHROPIC_BASE_URL") or None,
    )
    return llm, f"Chats with {model} of Anthropic."
