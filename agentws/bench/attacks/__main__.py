"""Measures what attacks cost, with more options than `agentws bench --attacks` has.

python -m agentws.bench.attacks [--seconds N] [--peers N] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .cost import KINDS, run
from .hostile_peers import ATTACKS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m agentws.bench.attacks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each attack (15)")
    parser.add_argument("--peers", type=int, default=10, help="that attack at once (10)")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--servers", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args(arguments)
    return run(options.seconds, peers=options.peers, attacks=options.only, kinds=options.servers)


if __name__ == "__main__":
    sys.exit(main())
