"""The compared servers, and the constants that load and servers share."""

from __future__ import annotations

from typing import Literal, NamedTuple

SUBPROTOCOL = "agentws.v1"
DELTA = "token "
# An event of about 93 bytes, the size of a delta in common chat protocols.
RAW_EVENT = {
    "type": "TEXT_MESSAGE_CONTENT",
    "messageId": "msg_0123456789abcdef0123456789",
    "delta": DELTA,
}
PACE = 0.02  # seconds between two deltas of a paced answer


class Variant(NamedTuple):
    """One of the compared servers."""

    name: str
    app: Literal["raw", "gateway"]
    server: Literal["stock", "preset"]


RAW = Variant("raw", "raw", "stock")
STOCK = Variant("stock", "gateway", "stock")
PRESET = Variant("preset", "gateway", "preset")
RAW_ON_PRESET = Variant("raw-preset", "raw", "preset")
VARIANTS = {variant.name: variant for variant in (RAW, STOCK, PRESET, RAW_ON_PRESET)}
