"""Runs one attack: `python -m agentws.bench.attacks.attacker NAME PORT SECONDS PEERS`.

It prints a line when the attack begins, and one for the first connection of each peer when the
server has ended it: after how many seconds.
"""

from __future__ import annotations

import os
import sys
import threading

from .hostile_peers import attack


def main(arguments: list[str]) -> None:
    name, port, seconds, peers = arguments
    if hasattr(os, "nice"):
        # The process that measures is on the same core.
        os.nice(19)
    print("begun", flush=True)

    printing = threading.Lock()

    def report(lasted: float) -> None:
        with printing:
            print(lasted, flush=True)

    attack(name, int(port), float(seconds), int(peers), ended=report)


if __name__ == "__main__":
    main(sys.argv[1:])
