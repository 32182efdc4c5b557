"""The figures as a table for people, and as one line of JSON for programs."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from statistics import median
from typing import Any, NamedTuple

import msgspec

from .aligned import aligned
from .store_report import Result
from .variants import PRESET, RAW, RAW_ON_PRESET, STOCK
from .workloads import Workload

_PACKAGES = ("uvicorn", "starlette", "websockets", "uvloop", "httptools", "redis", "psycopg")


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


def table(rows: Sequence[Row]) -> str:
    """Medians, and ratios to raw with their targets; `±` is half the range of the repeats."""
    measured = {variant for row in rows for variant in row.figures}
    columns = [column for variant, column in _COLUMNS.items() if variant in measured]
    lines = [("cost of", *(title for title, _ in columns))]
    lines += [(row.workload.title, *(cell(row) for _, cell in columns)) for row in rows]
    return aligned(lines)


def as_json(rows: Sequence[Row], results: Sequence[Result], notes: list[str]) -> str:
    """All figures and notes, in one line of JSON."""
    all_of_it = {
        "environment": environment(),
        "notes": notes,
        "workloads": list(map(_row, rows)),
        "stores": [each.as_json() for each in results],
    }
    return msgspec.json.encode(all_of_it).decode()


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.workload.name,
        "unit": row.workload.unit,
        "figures": row.figures,
        "medians": {name: row.median(name) for name in row.figures},
        "spreads": {name: row.spread(name) for name in row.figures},
        "ratios": {name: row.ratio(name) for name in row.figures},
        "targets": {STOCK.name: row.workload.stock, PRESET.name: row.workload.preset},
    }


def environment() -> dict[str, str]:
    """The versions of Python, the system and the packages that were measured."""
    versions = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions
