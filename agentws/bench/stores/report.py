"""The figures of the stores, with a column for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from ..text_table import aligned
from .database_servers import STORES


class Figure(NamedTuple):
    """One row: its target for each store, if any."""

    title: str
    unit: str
    targets: Mapping[str, float] = {}
    """The most that it should be; with ``at_least``, the least."""
    at_least: bool = False
    against_memory: bool = False
    """Whether the target is one of the ratio to the figure of the store in memory."""


class Result(NamedTuple):
    """What was measured for a figure: by the name of the store, one for each repeat."""

    name: str
    figure: Figure
    values: Mapping[str, Sequence[float]]

    def median(self, store: str) -> float | None:
        values = self.values.get(store)
        return median(values) if values else None

    def compared(self, store: str) -> float | None:
        """What the target applies to."""
        own, unit = self.median(store), self.median("memory")
        if not self.figure.against_memory or own is None:
            return own
        return own / unit if unit else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.figure.title,
            "unit": self.figure.unit,
            "figures": self.values,
            "medians": {store: self.median(store) for store in self.values},
            "compared": {store: self.compared(store) for store in self.values},
            "targets": self.figure.targets,
        }


def store_table(results: Sequence[Result]) -> str:
    """Medians, the range of the repeats, and targets."""
    stores = [name for name in STORES if any(name in each.values for each in results)]
    lines = [("", *stores)]
    lines += [(each.figure.title, *(_cell(each, store) for store in stores)) for each in results]
    return aligned(lines)


def shown(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return f"{number} {unit}".rstrip()


def _cell(result: Result, store: str) -> str:
    own, compared = result.median(store), result.compared(store)
    if own is None:
        return "-"
    cell = shown(own, result.figure.unit)
    if result.figure.against_memory and compared is not None:
        cell += f", {compared:.2f}"
    values = result.values[store]
    spread = f" {shown(min(values), '')}..{shown(max(values), '')}" if len(values) > 1 else ""
    return cell + _verdict(result.figure, store, compared) + spread


def _verdict(figure: Figure, store: str, compared: float | None) -> str:
    target = figure.targets.get(store)
    if target is None or compared is None:
        return ""
    # Compared as it is printed, with two digits.
    value = round(compared, 2)
    good = value >= target if figure.at_least else value <= target
    return f" ({'>=' if figure.at_least else '<='} {target:g} {'ok' if good else 'OVER'})"
