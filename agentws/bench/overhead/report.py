"""The figures of the workloads, with a column for each compared server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

from ..servers.variants import PRESET, RAW, RAW_ON_PRESET, STOCK
from ..text_table import aligned
from .workloads import Workload


class Row(NamedTuple):
    """The figures of one workload: by the name of the variant, one for each repeat."""

    workload: Workload
    figures: dict[str, list[float]]

    def median(self, variant: str) -> float | None:
        values = self.figures.get(variant)
        return median(values) if values else None

    def spread(self, variant: str) -> float:
        """Half the range, as a share of the median."""
        values = self.figures.get(variant) or [0.0]
        middle = median(values)
        return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0

    def ratio(self, variant: str) -> float | None:
        """What the target applies to: the ratio to raw, or the figure itself without raw."""
        own = self.median(variant)
        if not self.workload.against_raw or own is None:
            return own
        unit = self.median(RAW.name)
        return own / unit if unit else None


def _cell(row: Row, variant: str, target: float | None) -> str:
    own, ratio = row.median(variant), row.ratio(variant)
    if own is None or ratio is None:
        return "-"
    unit = row.workload.unit
    if not row.workload.against_raw:
        # A spread in percent means nothing for figures near zero: show the range.
        values = row.figures[variant]
        return f"{own:.2f} {unit}{_verdict(own, target)} {min(values):.2f}..{max(values):.2f}"
    return f"{own:.1f} {unit}, {ratio:.2f}{_verdict(ratio, target)} ±{row.spread(variant):.0%}"


def _raw_cell(row: Row, variant: str) -> str:
    own = row.median(variant)
    if own is None:
        return "-"
    return f"{own:.1f} {row.workload.unit} ±{row.spread(variant):.0%}"


def _verdict(ratio: float, target: float | None) -> str:
    if target is None:
        return ""
    # Compared as it is printed, with two digits.
    return f" (<= {target:g} {'ok' if round(ratio, 2) <= target else 'OVER'})"


_COLUMNS: dict[str, tuple[str, Callable[[Row], str]]] = {
    RAW.name: ("raw Starlette", lambda row: _raw_cell(row, RAW.name)),
    RAW_ON_PRESET.name: ("raw, server preset", lambda row: _raw_cell(row, RAW_ON_PRESET.name)),
    STOCK.name: (
        "gateway, stock uvicorn",
        lambda row: _cell(row, STOCK.name, row.workload.stock),
    ),
    PRESET.name: (
        "gateway, server preset",
        lambda row: _cell(row, PRESET.name, row.workload.preset),
    ),
}


def overhead_table(rows: Sequence[Row]) -> str:
    """Medians, and ratios to raw with their targets; `±` is half the range of the repeats."""
    measured = {variant for row in rows for variant in row.figures}
    columns = [column for variant, column in _COLUMNS.items() if variant in measured]
    lines = [("cost of", *(title for title, _ in columns))]
    lines += [(row.workload.title, *(cell(row) for _, cell in columns)) for row in rows]
    return aligned(lines)


def row_as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.workload.name,
        "unit": row.workload.unit,
        "figures": row.figures,
        "medians": {name: row.median(name) for name in row.figures},
        "spreads": {name: row.spread(name) for name in row.figures},
        "ratios": {name: row.ratio(name) for name in row.figures},
        "targets": {STOCK.name: row.workload.stock, PRESET.name: row.workload.preset},
    }
