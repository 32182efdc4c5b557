"""Examples are short enough to be read at once."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


@pytest.mark.parametrize(
    "name", ["tools_and_approval.py", "router.py", "files.py", "shared_state.py"]
)
def test_an_example_of_a_conversation_is_under_80_lines(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 80
