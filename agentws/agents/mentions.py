"""Mentions: a message that begins with ``@name`` is answered by the agent of that name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..protocol.messages import Content, text_of


class Mentions:
    """Finds which of the agents ``names`` a message is addressed to.

    The name stands at the beginning, in any case, and is followed by white space, by punctuation or
    by nothing. Other names and ``@@`` are plain text. The text is never changed: the history shows
    who was asked, and agents read it, too.
    """

    def __init__(self, names: Sequence[str]) -> None:
        # The first of several names that differ only in case.
        self._names: Final = {name.casefold(): name for name in reversed(names)}
        # The longest first: of "sales" and "sales team", both may match.
        longest = sorted(names, key=len, reverse=True)
        any_name = "|".join(map(re.escape, longest))
        self._mention: Final = re.compile(rf"\s*@({any_name})(?=[,:;.!?]*(?:\s|$))", re.IGNORECASE)
        self._exact: Final = frozenset(names)

    def find(self, content: Content) -> str | None:
        """The agent that ``content`` mentions at its beginning; ``None`` for none."""
        found = self._mention.match(text_of(content))
        if found is None:
            return None
        return found[1] if found[1] in self._exact else self._names.get(found[1].casefold())
