"""pytest and hypothesis, which the contracts need; without them, an error says what to install."""

from __future__ import annotations

try:
    import hypothesis
    import pytest
except ImportError as error:
    raise ImportError('the contracts need pytest: pip install "agentws[testing]"') from error

__all__ = ["hypothesis", "pytest"]
