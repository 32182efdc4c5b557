"""uvicorn's configuration, with what the preset adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import uvicorn

from . import redacting
from .limits import ServerLimits

Hardening = Literal["preset", "partial"]
"""`partial`: this uvicorn, or an option of the host, leaves out a part of the preset."""


class PresetConfig(uvicorn.Config):
    """A `uvicorn.Config` with the limits of each connection."""

    def __init__(
        self,
        app: Callable[..., Any] | str,
        *,
        server_limits: ServerLimits,
        hardening: Hardening,
        **options: Any,
    ) -> None:
        super().__init__(app, **options)
        self.server_limits = server_limits
        self.hardening = hardening

    def load(self) -> None:
        super().load()
        # Here, as each worker process loads its own copy.
        redacting.install()


def limits_of(config: uvicorn.Config) -> ServerLimits:
    """The limits of the preset, or the default ones where a host configures uvicorn itself."""
    return config.server_limits if isinstance(config, PresetConfig) else ServerLimits()


def hardening_of(config: uvicorn.Config) -> Hardening:
    return config.hardening if isinstance(config, PresetConfig) else "partial"
