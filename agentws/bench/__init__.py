"""The benchmark: the gateway against a bare Starlette endpoint on the same uvicorn.

    agentws bench [--quick] [--repeats N] [--only NAME ...]
    agentws bench --attacks [--quick]

Every figure comes from a new server process on one core, loaded from this process on another. The
servers take turns, so that a machine that slows down slows all of them. Imports any layer.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from . import attacking, measure
from .process import ServerProcess
from .report import Row, as_json, table
from .scale import FULL, QUICK, Scale
from .variants import PRESET, RAW, STOCK, VARIANTS, Variant
from .workloads import WORKLOADS, Workload

# Files besides the connections: listeners, event loops, standard streams.
_SPARE_FILES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; print its table and its JSON line. Returns 0."""
    options = _parser().parse_args(arguments)
    if options.attacks:
        return attacking.run(2.5 if options.quick else 15.0)
    repeats = options.repeats or (2 if options.quick else 5)
    scale, notes = _fit(QUICK if options.quick else FULL)
    core = _pin(notes)
    chosen = [each for each in WORKLOADS if not options.only or each.name in options.only]
    variants = [VARIANTS[name] for name in options.variants]
    with _runner() as runner:
        rows = [runner.run(_measured(each, variants, scale, repeats, core)) for each in chosen]
    print(table(rows))
    for note in notes:
        print(f"note: {note}")
    print(as_json(rows, notes))
    return 0


def _parser() -> argparse.ArgumentParser:
    names = [each.name for each in WORKLOADS]
    parser = argparse.ArgumentParser(prog="agentws bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, two repeats")
    parser.add_argument(
        "--attacks", action="store_true", help="what attacks cost the server, instead of all else"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="repeats (5; with --quick 2)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=[RAW.name, STOCK.name, PRESET.name],
        metavar="NAME",
        help=", ".join(VARIANTS),
    )
    return parser


def _fit(scale: Scale) -> tuple[Scale, list[str]]:
    """The scale, reduced to what the limit of open files allows; and a note if it was."""
    most = measure.allow_open_files(scale.connections + _SPARE_FILES) - _SPARE_FILES
    if most >= scale.connections:
        return scale, []
    note = f"at most {most} connections instead of {scale.connections}: limit of open files"
    return scale.at_most(most), [note]


def _pin(notes: list[str]) -> int:
    """Pin the load to the last core; returns the first, for the servers."""
    cores = measure.cores()
    if len(cores) < 2:
        notes.append("load and servers share one core")
    measure.pin(0, cores[-1])
    return cores[0]


def _runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _measured(
    workload: Workload, variants: Sequence[Variant], scale: Scale, repeats: int, core: int
) -> Row:
    if not workload.against_raw:
        variants = [variant for variant in variants if variant.app == "gateway"]
    options = workload.options(scale)
    figures: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for repeat in range(repeats):
        for variant in variants:
            async with ServerProcess(variant, options, core=core) as server:
                figure = await workload.run(server, scale)
            figures[variant.name].append(figure)
            line = f"{workload.name} {variant.name} {repeat + 1}/{repeats}: {figure:.2f}"
            print(f"{line} {workload.unit}", file=sys.stderr, flush=True)
    return Row(workload, figures)
