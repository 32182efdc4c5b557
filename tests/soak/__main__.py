"""``python -m tests.soak``: randomized faults on a cluster, for minutes; see ``./dev soak``."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.cluster.stores import STORES

from .rounds import Violation, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description="Randomized faults.")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N")
    parser.add_argument("--seed", type=int, help="replays the faults of that soak")
    parser.add_argument("--store", choices=STORES, default="sqlite")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"a soak over {options.store}, --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        running = soak(
            options.store,
            Path(folder),
            seed=seed,
            seconds=options.minutes * 60,
            say=lambda line: print(line, flush=True),
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            asyncio.run(running)
        except Violation as violation:
            traceback.print_exception(violation.__cause__, file=sys.stdout)
            print(f"VIOLATION: {violation.__cause__!r}\n{violation}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
