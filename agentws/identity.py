"""Who someone is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who someone is, as the host's own authentication says. Never taken from a frame.

    ``claims`` are for the agent (a name, a tenant, roles); they are not stored with the session.
    """

    id: str
    claims: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        """Without the claims: those may be secret, and reprs end up in logs."""
        return f"Identity({self.id!r})"
