"""What the measurement of a store gets: its store, and the nodes that share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from .places import Place
from .process import ServerProcess
from .variants import PRESET


class Site(NamedTuple):
    """A store of its own, and the cores of this machine."""

    place: Place
    cores: Sequence[int]

    def node(self, *, cores: Sequence[int] | None = None, **options: Any) -> ServerProcess:
        """A node on the first core, or on these; ``options`` as for ``ServerProcess``."""
        place = msgspec.to_builtins(self.place)
        return ServerProcess(PRESET, {"place": place, **options}, cores=cores or self.cores[:1])
