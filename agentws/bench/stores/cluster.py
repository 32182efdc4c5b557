"""A cluster for one measurement: a store of its own, and nodes that share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ..servers.process import ServerProcess
from ..servers.store_address import StoreAddress
from ..servers.variants import PRESET


class Cluster(NamedTuple):
    """The address of a new store, and the cores of this machine, on which nodes are started."""

    address: StoreAddress
    cores: Sequence[int]

    def node(self, *, cores: Sequence[int] | None = None, **options: Any) -> ServerProcess:
        """A node on the first core, or on these; ``options`` as for ``ServerProcess``."""
        settings = {"store_address": msgspec.to_builtins(self.address), **options}
        return ServerProcess(PRESET, settings, cores=cores or self.cores[:1])
