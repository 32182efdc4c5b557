"""The port between an agent and a language model, and the errors that a model raises.

Re-exports, for code that implements or wraps a model. ``agentws.integrations`` has models that are
ready to use.
"""

from __future__ import annotations

from .agents.llm import (
    LLM,
    LLMCutOff,
    LLMEmpty,
    LLMError,
    LLMPiece,
    LLMRateLimited,
    LLMRefused,
    LLMRounds,
    LLMUnavailable,
)

__all__ = [
    "LLM",
    "LLMCutOff",
    "LLMEmpty",
    "LLMError",
    "LLMPiece",
    "LLMRateLimited",
    "LLMRefused",
    "LLMRounds",
    "LLMUnavailable",
]
