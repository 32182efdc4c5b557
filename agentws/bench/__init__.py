"""The benchmark: the gateway against a bare Starlette endpoint on the same uvicorn, and its stores.

    agentws bench [--quick] [--repeats N] [--only NAME ...]
    agentws bench --attacks [--quick]

Every figure comes from a new server process on one core, loaded from this process on another. The
servers take turns, so that a machine that slows down slows all of them. Where the figure is one of
several nodes, these may use all cores. Imports any layer.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from . import resources
from .attacks import cost as attack_cost
from .json_line import as_json
from .overhead.report import Row, overhead_table
from .overhead.workloads import WORKLOADS, Workload
from .scale import FULL, QUICK, Scale
from .servers.process import ServerProcess
from .servers.variants import PRESET, RAW, STOCK, VARIANTS
from .stores.database_servers import ON_PATH, STORES, Programs, database_servers
from .stores.report import Result, store_table
from .stores.trials import TRIALS, Trial, try_out

# Files besides the connections: listeners, event loops, standard streams.
_SPARE_FILES = 100


def main(arguments: Sequence[str] | None = None, *, programs: Programs = ON_PATH) -> int:
    """Run the benchmark; print its tables and its JSON line. Returns 0.

    ``programs``: the database servers, where the options do not name them.
    """
    options = _parser(programs).parse_args(arguments)
    if options.attacks:
        return attack_cost.run(2.5 if options.quick else 15.0)
    scale, notes = _fit(QUICK if options.quick else FULL)
    wanted = Programs(redis=options.redis_server, postgres=options.postgres)
    results: list[Result] = []
    # The database servers may use all cores: they are started before this process is pinned.
    with database_servers(_stores(options), wanted) as (addresses, absent), _runner() as runner:
        cores = _pin(notes)
        rows = [runner.run(_measured(each, options, scale, cores)) for each in _workloads(options)]
        for trial in _trials(options):
            results += runner.run(try_out(trial, addresses, scale, _repeats(options, 1, 3), cores))
    _print(rows, results, notes + absent)
    return 0


def _repeat_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of repeats; expected 1 to 999")
    return int(text)


def _repeats(options: argparse.Namespace, quick: int, full: int) -> int:
    return int(options.repeats or (quick if options.quick else full))


def _workloads(options: argparse.Namespace) -> list[Workload]:
    return [each for each in WORKLOADS if not options.only or each.name in options.only]


def _trials(options: argparse.Namespace) -> list[Trial]:
    return [each for each in TRIALS if not options.only or each.name in options.only]


def _stores(options: argparse.Namespace) -> list[str]:
    """The stores that a chosen trial needs."""
    needed = {name for trial in _trials(options) for name in trial.stores}
    return [name for name in options.stores if name in needed]


def _print(rows: Sequence[Row], results: Sequence[Result], notes: list[str]) -> None:
    tables = [overhead_table(rows)] if rows else []
    tables += [store_table(results)] if results else []
    print("\n\n".join(tables))
    for note in notes:
        print(f"note: {note}")
    print(as_json(rows, results, notes))


def _parser(programs: Programs = ON_PATH) -> argparse.ArgumentParser:
    names = [each.name for each in (*WORKLOADS, *TRIALS)]
    parser = argparse.ArgumentParser(prog="agentws bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, fewer repeats")
    parser.add_argument(
        "--attacks", action="store_true", help="what attacks cost the server, instead of all else"
    )
    parser.add_argument(
        "--repeats",
        type=_repeat_count,
        metavar="N",
        help="repeats (5, and 3 of stores; with --quick 2 and 1)",
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=[RAW.name, STOCK.name, PRESET.name],
        metavar="NAME",
        help=", ".join(VARIANTS),
    )
    _add_stores(parser, programs)
    return parser


def _add_stores(parser: argparse.ArgumentParser, programs: Programs) -> None:
    parser.add_argument(
        "--stores",
        nargs="+",
        choices=STORES,
        default=list(STORES),
        metavar="NAME",
        help=", ".join(STORES),
    )
    parser.add_argument(
        "--redis-server",
        default=programs.redis,
        metavar="PROGRAM",
        help="redis-server, if not the one on PATH",
    )
    parser.add_argument(
        "--postgres",
        default=programs.postgres,
        metavar="FOLDER",
        help="the folder with initdb and postgres, if not the one on PATH",
    )


def _fit(scale: Scale) -> tuple[Scale, list[str]]:
    """The scale, reduced to what the limit of open files allows; and a note if it was."""
    most = resources.allow_open_files(scale.connections + _SPARE_FILES) - _SPARE_FILES
    if most >= scale.connections:
        return scale, []
    note = f"at most {most} connections instead of {scale.connections}: limit of open files"
    return scale.at_most(most), [note]


def _pin(notes: list[str]) -> list[int]:
    """Pin the load to the last core; returns all of them, of which servers get the first."""
    cores = resources.cores()
    if len(cores) < 2:
        notes.append("load and servers share one core")
    resources.pin(0, cores[-1])
    return cores


def _runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _measured(
    workload: Workload, options: argparse.Namespace, scale: Scale, cores: Sequence[int]
) -> Row:
    variants = [VARIANTS[name] for name in options.variants]
    if not workload.against_raw:
        variants = [variant for variant in variants if variant.app == "gateway"]
    settings, repeats = workload.options(scale), _repeats(options, 2, 5)
    figures: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for repeat in range(repeats):
        for variant in variants:
            async with ServerProcess(variant, settings, cores=cores[:1]) as server:
                figure = await workload.run(server, scale)
            figures[variant.name].append(figure)
            line = f"{workload.name} {variant.name} {repeat + 1}/{repeats}: {figure:.2f}"
            print(f"{line} {workload.unit}", file=sys.stderr, flush=True)
    return Row(workload, figures)
