"""uvicorn's httptools protocol, freed from memory once its connection was upgraded."""

from __future__ import annotations

from typing import cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .streaming import is_unbounded, offer_mark


class PresetHttpToolsProtocol(HttpToolsProtocol):
    """Hands an upgraded connection over to the WebSocket protocol and keeps no reference to it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        offer_mark(self.scope)  # type: ignore[arg-type]

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # The parser refers back to this object: with this cycle both would live until a full
        # garbage collection.
        self.parser = cast(httptools.HttpRequestParser, None)

    def shutdown(self) -> None:
        super().shutdown()
        if is_unbounded(self.cycle):
            self.transport.close()
