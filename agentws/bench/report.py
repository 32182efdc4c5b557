"""The figures as a table for people and as one line of JSON for programs."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata
from statistics import median
from typing import Any, NamedTuple

import msgspec

from .words import PRESET, RAW, STOCK
from .workloads import Workload

_PACKAGES = ("uvicorn", "starlette", "websockets", "uvloop", "httptools")


class Row(NamedTuple):
    """One workload's figures, by the name of the variant, one per repeat."""

    workload: Workload
    figures: dict[str, list[float]]

    def median(self, variant: str) -> float | None:
        values = self.figures.get(variant)
        return median(values) if values else None

    def spread(self, variant: str) -> float:
        """Half the distance between the extremes, as a share of the median."""
        values = self.figures.get(variant) or [0.0]
        middle = median(values)
        return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0

    def ratio(self, variant: str) -> float | None:
        """What the target is about: against raw, or the figure itself where raw has none."""
        own = self.median(variant)
        if not self.workload.against_raw or own is None:
            return own
        unit = self.median(RAW.name)
        return own / unit if unit else None


def _cell(row: Row, variant: str, target: float | None) -> str:
    ratio = row.ratio(variant)
    if ratio is None:
        return "-"
    return f"{ratio:.2f}{_verdict(ratio, target)} {_spread(row, variant)}"


def _verdict(ratio: float, target: float | None) -> str:
    if target is None:
        return ""
    # As exact as it is shown; the figures are not more exact than that.
    return f" (<= {target:g} {'ok' if round(ratio, 2) <= target else 'OVER'})"


def _spread(row: Row, variant: str) -> str:
    """A share says nothing of figures that may be about zero: those show their range."""
    if row.workload.against_raw:
        return f"±{row.spread(variant):.0%}"
    values = row.figures[variant]
    return f"{min(values):.2f}..{max(values):.2f}"


def table(rows: Iterable[Row]) -> str:
    """Ratios to raw with their targets; `±` is half the range of the repeats."""
    lines = [("cost of", "raw Starlette", "gateway, stock uvicorn", "gateway, server preset")]
    for row in rows:
        raw = row.median(RAW.name)
        unit = row.workload.unit
        lines.append(
            (
                row.workload.title,
                "-" if raw is None else f"{raw:.1f} {unit} ±{row.spread(RAW.name):.0%}",
                _cell(row, STOCK.name, row.workload.stock),
                _cell(row, PRESET.name, row.workload.preset),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    rule = tuple("-" * width for width in widths)
    padded = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(padded)


def as_json(rows: Iterable[Row], notes: list[str]) -> str:
    """Everything in one line."""
    return msgspec.json.encode(
        {"environment": environment(), "notes": notes, "workloads": list(map(_row, rows))}
    ).decode()


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.workload.name,
        "unit": row.workload.unit,
        "figures": row.figures,
        "ratios": {name: row.ratio(name) for name in row.figures},
        "targets": {STOCK.name: row.workload.stock, PRESET.name: row.workload.preset},
    }


def environment() -> dict[str, str]:
    """The versions that the figures are of."""
    versions = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions
