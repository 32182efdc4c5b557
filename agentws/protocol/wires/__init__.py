"""The table of wires. To add a wire: one module in this folder, and one line in ``WIRES``.

A :class:`SocketWire` is chosen by its WebSocket subprotocol, the others by their path. Pure, like
all of ``protocol``. See docs/writing-a-wire.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ...errors import BadRequest
from . import event_stream, lines, native, simple
from .wire import SocketWire, Wire

WIRES: Final[tuple[Wire, ...]] = (
    native.WIRE,
    simple.WIRE,
    event_stream.WIRE,
    lines.WIRE,
)


def choose_wire(
    wires: Sequence[SocketWire], offered: Iterable[str]
) -> tuple[SocketWire, str | None]:
    """The wire of a WebSocket handshake, and the subprotocol to accept it with.

    It is the first one offered that is served. If none is offered, it is the default one, accepted
    without a subprotocol. Raises BadRequest if none of those offered is served, or if none is
    offered and there is no default.
    """
    served = {wire.subprotocol: wire for wire in wires}
    names = list(offered)
    for name in names:
        if name in served:
            return served[name], name
    default = next((wire for wire in wires if wire.default), None)
    if names or default is None:
        wrong = "None of these subprotocols is served." if names else "No subprotocol was offered."
        raise BadRequest(wrong, expected=" or ".join(served))
    return default, None
