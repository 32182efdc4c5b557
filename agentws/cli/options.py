"""The options of the commands. An environment variable can set each of them as well.

Only this module decides which variables agentws reads. It refuses an unknown ``AGENTWS_`` name: a
misspelled ``AGENTWS_ADMIN_KEY`` must not start a server without one.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..backends.disk import DiskFileStore
from ..gateway.validation import check_node
from ..transports.names import allowed_host, allowed_origin
from ..transports.prefix import check_prefix
from .problem import USAGE, Problem
from .stores import STORES, read_store

PREFIX: Final = "AGENTWS_"
BESIDE: Final = "beside"
OFF: Final = "off"
"""Words that ``--files`` takes instead of a folder."""
MAX_WORKERS: Final = 256
CHILD_SETTINGS: Final = "AGENTWS_CHILD_SETTINGS"
"""How a supervisor (--reload, --workers) passes its settings to the processes that serve."""
# Variables that the project's own commands set for its tests.
DEVELOPMENT: Final = frozenset(
    {
        "AGENTWS_CHROMIUM",
        "AGENTWS_NODE",
        "AGENTWS_PGBOUNCER",
        "AGENTWS_POSTGRES",
        "AGENTWS_PYTHON",
        "AGENTWS_REDIS_OLDEST",
        "AGENTWS_REDIS_SERVER",
        "AGENTWS_VALKEY_SERVER",
    }
)
# Variables that Kubernetes sets in a pod for every Service whose name begins with "agentws".
_SERVICE_LINK: Final = re.compile(
    PREFIX
    + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


class Option(NamedTuple):
    """``--flag``, or ``AGENTWS_NAME``. ``read`` converts its text to a value."""

    flag: str
    name: str
    help: str
    metavar: str | None = None
    default: str | None = None
    read: Callable[[str], Any] = str
    many: bool = False
    """May be given several times; in the variable, commas separate the values."""

    @property
    def variable(self) -> str:
        return PREFIX + self.name

    @property
    def dest(self) -> str:
        return self.name.lower()


def port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected 0 to 65535")
    return int(text)


def workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of workers; expected 1 to {MAX_WORKERS}"
        )
    return int(text)


def files(text: str) -> str:
    if text not in (BESIDE, OFF) and ":" in text[2:]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder; expected a path, or {OFF}")
    if text not in (BESIDE, OFF):
        return checked(DiskFileStore)(text)
    return text


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """A reader of text that ``check`` validates, which raises ValueError."""

    def read(text: str) -> str:
        try:
            check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return text

    return read


def api_key(text: str) -> tuple[str, str]:
    key, _, identity = text.rpartition("=")
    if not key or not identity:
        # The text is a secret: it is not repeated.
        raise argparse.ArgumentTypeError("this is not a key; expected KEY=IDENTITY")
    return key, identity


SERVING: Final = (
    Option("--host", "HOST", "where to listen", "HOST", "127.0.0.1"),
    Option("--port", "PORT", "the port; 0 takes a free one", "PORT", "8000", port),
    Option(
        "--workers",
        "WORKERS",
        "processes that serve the port together, on one store",
        "N",
        "1",
        workers,
    ),
    Option("--prefix", "PREFIX", "path before every route", "/PATH", "", checked(check_prefix)),
    Option(
        "--store",
        "STORE",
        f"where sessions are kept: {STORES}",
        "STORE",
        "memory",
        read_store,
    ),
    Option(
        "--files",
        "FILES",
        "where uploaded files are kept: a folder, off, or beside the store",
        "FILES",
        BESIDE,
        files,
    ),
    Option("--admin-key", "ADMIN_KEY", "enables the admin routes, such as /broadcast", "KEY"),
    Option(
        "--api-key",
        "API_KEY",
        "a client that sends KEY is IDENTITY; without keys, every client is anonymous",
        "KEY=IDENTITY",
        read=api_key,
        many=True,
    ),
    Option(
        "--allowed-origin",
        "ALLOWED_ORIGIN",
        "a browser origin to allow besides the server's own",
        "ORIGIN",
        read=checked(allowed_origin),
        many=True,
    ),
    Option(
        "--allowed-host",
        "ALLOWED_HOST",
        "a Host header to serve, behind a proxy; by default those of the allowed origins",
        "HOST",
        read=checked(allowed_host),
        many=True,
    ),
    Option("--agent-name", "AGENT_NAME", "the name of the agent for clients", "NAME"),
    Option(
        "--node",
        "NODE_NAME",
        "the name of this process among those that share the store; random by default",
        "NAME",
        read=checked(check_node),
    ),
)
CHATTING: Final = (
    Option("--session", "SESSION", "the session to continue", "ID"),
    Option("--agent", "AGENT", "which agent a new session talks to", "NAME"),
    Option("--token", "TOKEN", "a bearer token", "TOKEN"),
    Option(
        "--proxy",
        "PROXY",
        "a proxy for all addresses, or none; by default HTTPS_PROXY and the like apply",
        "URL",
    ),
)
KNOWN: Final = frozenset(
    {option.variable for option in (*SERVING, *CHATTING)} | {CHILD_SETTINGS} | DEVELOPMENT
)


def without_service_links(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` without the service links of Kubernetes: a Service named ``agentws`` must not
    keep this server from starting, nor choose its port."""
    return {name: value for name, value in environment.items() if not _is_service_link(name, value)}


def _is_service_link(name: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(name):
        return True
    is_port = name.startswith(PREFIX) and name.endswith("_PORT")
    return is_port and _SERVICE_ADDRESS.match(value) is not None


def check_environment(environment: Iterable[str]) -> None:
    """Raises Problem for an ``AGENTWS_`` variable that is none of ours."""
    settable = sorted(KNOWN - {CHILD_SETTINGS} - DEVELOPMENT)
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in KNOWN:
            near = difflib.get_close_matches(name, settable, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise Problem(f"there is no environment variable {name}.{hint}", status=USAGE)


def add_options(
    parser: argparse.ArgumentParser, options: Iterable[Option], environment: Mapping[str, str]
) -> None:
    """Adds ``options`` to ``parser``; a value in the environment becomes the default."""
    for option in options:
        given = environment.get(option.variable)
        parser.add_argument(
            option.flag,
            dest=option.dest,
            metavar=option.metavar,
            type=option.read,
            action="append" if option.many else "store",
            default=_many(parser, option, given) if option.many else given or option.default,
            help=f"{option.help} ({_described(option)})",
        )


def _described(option: Option) -> str:
    default = f"default {option.default}, " if option.default else ""
    return f"{default}or {option.variable}"


def _many(parser: argparse.ArgumentParser, option: Option, given: str | None) -> list[Any] | None:
    """Reads each part itself, since argparse reads a default only if it is text."""
    if given is None:
        return None
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not parts:
        # An empty list of keys or hosts would open the server to everybody: so does a secret whose
        # reference names nothing.
        parser.error(f"{option.variable} is empty; expected {option.metavar}, or no such variable")
    try:
        return [option.read(part) for part in parts]
    except argparse.ArgumentTypeError as error:
        parser.error(f"{option.variable}: {error}")
