"""What the measurement of a store gets: its store, and the nodes that share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from .servers.process import ServerProcess
from .servers.store_address import StoreAddress
from .servers.variants import PRESET


class Site(NamedTuple):
    """A store of its own, and the cores of this machine."""

    address: StoreAddress
    cores: Sequence[int]

    def node(self, *, cores: Sequence[int] | None = None, **options: Any) -> ServerProcess:
        """A node on the first core, or on these; ``options`` as for ``ServerProcess``."""
        settings = {"store_address": msgspec.to_builtins(self.address), **options}
        return ServerProcess(PRESET, settings, cores=cores or self.cores[:1])
