"""The ``agentws`` command.

    agentws run module:Agent   serves an agent, or an ASGI app
    agentws demo               serves a demo agent that needs no key
    agentws chat URL           talks to an agent in the terminal
    agentws bench              measures the gateway on this machine

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the server could not start, 130 interrupted. Imports
every layer; nothing imports it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from .options import CHATTING, SERVING, add_options, check_environment, without_service_links
from .problem import INTERRUPTED, Problem
from .streams import discard_output, escape_what_is_not_encodable

Run = Callable[[argparse.Namespace, Mapping[str, str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command in ``argv`` (by default that of the process); returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    from ..errors import AgentwsError

    escape_what_is_not_encodable()
    environment = without_service_links(os.environ)
    try:
        check_environment(environment)
        if arguments[:1] == ["bench"]:
            return _bench(arguments[1:], environment)
        options = _parser(environment).parse_args(arguments)
        run: Run = options.run
        return run(options, environment)
    except Problem as problem:
        return _fail(str(problem), problem.status)
    except AgentwsError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has closed the pipe.
        discard_output()
        return 1


def _fail(message: str, status: int) -> int:
    if sys.stderr is not None:
        print(f"agentws: {message}", file=sys.stderr)
    return status


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agentws", description="Puts an AI agent behind a WebSocket.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"agentws {_version()}")
    commands = parser.add_subparsers(metavar="command", required=True)

    def command(name: str, summary: str, run: Run) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=summary, description=f"{summary}.", allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    run = command("run", "Serves an agent", _serve)
    run.add_argument(
        "target",
        metavar="module:Agent",
        help="an Agent class, anything that makes an agent, or an ASGI app",
    )
    run.add_argument("--reload", action="store_true", help="restart when a file changes")
    add_options(run, SERVING, environment)

    demo = command("demo", "Serves a demo agent that needs no key", _serve)
    demo.set_defaults(target=None, reload=False)
    add_options(demo, SERVING, environment)

    chat = command("chat", "Talks to an agent in the terminal", _chat)
    chat.add_argument("url", metavar="URL", help="the address of the page or of its WebSocket")
    chat.add_argument(
        "--json",
        action="store_true",
        help="one JSON line for everything received; every line of input is a message",
    )
    add_options(chat, CHATTING, environment)

    command("bench", "Measures the gateway on this machine", _serve)
    return parser


def _serve(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    # Imported here: the other commands do not need the server, and should start fast.
    from .app import Settings
    from .serve import serve

    return serve(Settings.of(options), environment, reload=options.reload)


def _chat(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from .chat import chat

    return chat(options)


def _bench(arguments: list[str], environment: Mapping[str, str]) -> int:
    from ..bench import main as bench
    from ..bench.stores.database_servers import Programs

    redis, postgres = map(environment.get, ("AGENTWS_REDIS_SERVER", "AGENTWS_POSTGRES"))
    return bench(arguments, programs=Programs(redis=redis, postgres=postgres))


def _version() -> str:
    from importlib.metadata import version

    return version("agentws")


__all__: Final = ["main"]
