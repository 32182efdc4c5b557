"""The base classes of the events of a log."""

from __future__ import annotations

from typing import Any

from .messages import Metadata, Wire

JsonPatch = list[dict[str, Any]]
"""RFC 6902 operations."""


class Event(Wire, tag_field="type", kw_only=True, frozen=True):
    """The base of all events. ``timestamp`` is in milliseconds since the epoch."""

    timestamp: int | None = None
    metadata: Metadata | None = None


class AgentEvent(Event, kw_only=True, frozen=True):
    """An AG-UI event: what an agent may yield."""

    raw_event: Any = None


class Attributed(AgentEvent, kw_only=True, frozen=True):
    """An event that may belong to a subagent's part of the run."""

    subagent_run_id: str | None = None
