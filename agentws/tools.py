"""Tools: functions that an agent calls, and that a model may call.

Re-exports, for code that handles tools as objects. The errors of tools are in ``agentws.errors``.
"""

from __future__ import annotations

from .agents.tools import Tool, tool

__all__ = ["Tool", "tool"]
