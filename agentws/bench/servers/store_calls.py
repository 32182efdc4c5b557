"""Counts the calls of a store."""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...store import Store


class StoreCalls:
    """How many calls the methods of a store that reach its technology have got, by second."""

    def __init__(self) -> None:
        self._by_second: Counter[int] = Counter()

    def count(self, store: Store) -> None:
        """Counts every later call."""
        for name, method in inspect.getmembers(store, inspect.iscoroutinefunction):
            if not name.startswith("_") and name not in ("open", "close"):
                setattr(store, name, self._counted(method))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self._by_second[int(time.monotonic())] += 1
            return method(*arguments, **options)

        return counted

    def take(self) -> dict[str, int]:
        """All calls since the last time, and the most in one second; begins again from zero."""
        taken, self._by_second = self._by_second, Counter()
        return {"all": taken.total(), "most": max(taken.values(), default=0)}
