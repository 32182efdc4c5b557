"""The commands of ./dev. Each makes the environments it needs in the checkout.

    ./dev run [ARGS]     the demo on http://127.0.0.1:8000; ARGS go to `agentws demo`
    ./dev test [ARGS]    the whole suite: pytest in four processes, then the JavaScript tests.
                         With ARGS, only pytest, in one process, with those arguments
        --python 3.12    on that Python, from PATH, pyenv or uv
        --eager          with eager tasks (asyncio.eager_task_factory), also in the servers that
                         tests start; needs Python 3.12
        --oldest         with the oldest supported packages (tests/floors.txt)
    ./dev check          ruff, ruff format and mypy --strict; prettier and tsc for the JavaScript
    ./dev ci             everything that a change must pass, on each supported Python
    ./dev bench [ARGS]   the benchmark; ARGS go to `agentws bench`
    ./dev soak [ARGS]    randomized faults on a cluster of real processes, until a promise is broken
        --minutes 10     for so long
        --seed 42        the same faults again
        --store sqlite   on that store, or redis, or postgres

Packages are installed from where pip is configured to find them (PIP_* variables, pip.conf).
AGENTWS_CHROMIUM and AGENTWS_NODE name the browser and the Node (22 or newer) of the tests.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import checks
import environments
import find_postgres
import matrix
import pythons
from redis_servers import redis_servers
from services import services
from shell import ROOT, Unavailable, become, call, say


def run(arguments: list[str]) -> int:
    env = environments.default()
    env.ensure()
    data = ROOT / ".data"
    data.mkdir(exist_ok=True)
    store = f"sqlite:{data / 'demo.sqlite3'}"
    demo = ["demo", "--port", "8000", "--store", store]
    return become([env.python, "-m", "agentws.cli", *demo, *arguments])


def bench(arguments: list[str]) -> int:
    env = environments.default()
    env.ensure("fast")
    return become([env.python, "-m", "agentws.cli", "bench", *arguments])


def soak(arguments: list[str]) -> int:
    env = environments.default()
    env.ensure("test")
    servers = {**find_postgres.variables(), **redis_servers()}
    path = os.pathsep.join((str(ROOT), str(ROOT / ".ci")))
    command: list[str | Path] = [env.python, "-m", "tests.soak", *arguments]
    return call(command, env={**os.environ, **servers, "PYTHONPATH": path})


def test(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev test", add_help=False, allow_abbrev=False)
    parser.add_argument("--python")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--oldest", action="store_true")
    options, others = parser.parse_known_args(arguments)
    python = environments.prepared(options.python, eager=options.eager, oldest=options.oldest)
    env = {**services(), "AGENTWS_PYTHON": str(python)}
    chosen = others or checks.beside(matrix.WHOLE_IN)
    results = {"pytest": call(checks.pytest(python, chosen), env=env)}
    if not others:
        results["node --test"] = call(checks.javascript(env), env=env)
    return summary(results)


def check(arguments: list[str]) -> int:
    _refuse_arguments("check", arguments)
    env = environments.default()
    env.ensure("test")
    commands = checks.static(env.python, pythons.supported()[:1])
    return summary({name: call(command) for name, command in commands.items()})


def ci(arguments: list[str]) -> int:
    _refuse_arguments("ci", arguments)
    return matrix.run()


def _refuse_arguments(command: str, arguments: list[str]) -> None:
    if arguments:
        raise Unavailable(f"{command} takes no arguments, but got: {' '.join(arguments)}")


def summary(results: Mapping[str, int]) -> int:
    for name, status in results.items():
        say(f"{name}: {'passed' if status == 0 else f'FAILED ({status})'}")
    return max(abs(status) for status in results.values())


def usage(arguments: list[str]) -> int:
    print(__doc__)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "test": test,
    "check": check,
    "ci": ci,
    "bench": bench,
    "soak": soak,
    "help": usage,
    "--help": usage,
    "-h": usage,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except Unavailable as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
