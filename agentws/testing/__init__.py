"""What agentws is tested with, for tests of what is built on it.

Clients in process (:func:`connect`, :func:`running`), agents that follow a script
(:class:`Script`), backends that fail on purpose, a virtual clock, and an oracle that says whether
clients saw exactly what the log holds. The contracts of the ports, which need pytest and
hypothesis, are in :mod:`agentws.testing.contracts`; a fake model server is in
:mod:`agentws.testing.fakellm`.
"""

from __future__ import annotations

from .agents import Call, Gate, Hang, IgnoreCancel, Raise, Script, ScriptedAgent, Sleep, Yield
from .connect import Client, Closed, Frame, Refused, connect, kind, open_transport, running
from .faults import FaultyStore, LossyBus, SlowStore, WrappedStore
from .virtual import VirtualLoop, virtual_run

__all__ = [
    "Call",
    "Client",
    "Closed",
    "FaultyStore",
    "Frame",
    "Gate",
    "Hang",
    "IgnoreCancel",
    "LossyBus",
    "Raise",
    "Refused",
    "Script",
    "ScriptedAgent",
    "Sleep",
    "SlowStore",
    "VirtualLoop",
    "WrappedStore",
    "Yield",
    "connect",
    "kind",
    "open_transport",
    "running",
    "virtual_run",
]
