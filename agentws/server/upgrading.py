"""uvicorn's httptools protocol, without what an upgraded connection would keep of it."""

from __future__ import annotations

from typing import cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .endless import is_endless, offer


class UpgradingHttpProtocol(HttpToolsProtocol):
    """Hands a connection over to the WebSocket protocol and is gone."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        offer(self.scope)  # type: ignore[arg-type]

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # The parser refers back to this object: without this both live until a full collection.
        self.parser = cast(httptools.HttpRequestParser, None)

    def shutdown(self) -> None:
        super().shutdown()
        if is_endless(self.cycle):
            self.transport.close()
