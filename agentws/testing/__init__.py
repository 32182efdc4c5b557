"""The test kit: agentws is tested with it, and so can be what users build on it.

In-process clients (:func:`connect`, :func:`running`), scripted agents (:class:`Script`), backends
that fail on purpose, and a virtual clock. :mod:`agentws.testing.oracle` checks that clients saw
exactly what is in the log. The contract tests of the ports are in
:mod:`agentws.testing.contracts` (they need pytest and hypothesis), a fake model server in
:mod:`agentws.testing.fakellm`. Imports every layer, ``backends`` and ``client``; only users' tests
and the demo of ``cli`` import it.
"""

from __future__ import annotations

from .agents import Call, Gate, Hang, IgnoreCancel, Raise, Script, ScriptedAgent, Sleep, Yield
from .connect import Client, Closed, Frame, Refused, connect, kind, running
from .faults import FaultyStore, LossyBus, SlowStore, WrappedStore
from .line_transport import open_transport
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
