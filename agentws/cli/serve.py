"""``run`` and ``demo``: from settings to a server."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import sys
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvicorn
from starlette.applications import Starlette

from ..auth import BearerKeys
from ..backends.memory import MemoryStore
from ..backends.sqlite import SQLiteStore
from ..backends.sqlite_path import database_path
from ..errors import Unavailable
from ..mount import mount_agent_gateway
from ..server.draining import Server
from ..server.preset import collect_less_often, server_config
from ..store import Store
from ..transports.names import is_loopback
from .listening import described, listen
from .options import RELOAD
from .problem import USAGE, Problem
from .target import is_asgi_app, load_target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to serve and how. ``target`` is ``module:Agent``; ``None`` is the demo agent."""

    target: str | None
    host: str
    port: int
    prefix: str
    store: str
    admin_key: str | None
    api_key: list[tuple[str, str]]
    allowed_origin: list[str]
    allowed_host: list[str]
    agent_name: str | None

    def __repr__(self) -> str:
        return f"Settings({self.target}, {self.host}:{self.port}, {self.store})"

    @classmethod
    def of(cls, options: Namespace) -> Settings:
        names = [field.name for field in dataclasses.fields(cls)]
        given: dict[str, Any] = {name: getattr(options, name) for name in names}
        given["api_key"] = given["api_key"] or []
        given["allowed_origin"] = given["allowed_origin"] or []
        given["allowed_host"] = given["allowed_host"] or []
        return cls(**given)


class Served(NamedTuple):
    """An app, and what to tell whoever starts it."""

    app: Any
    notes: list[str]
    is_ours: bool = True
    """The gateway in it is the command's own: its routes and who may use them are known."""


def serve(settings: Settings, environment: Mapping[str, str], *, reload: bool = False) -> int:
    """Serves until a signal ends it. Raises Problem when it can't begin."""
    served = make(settings, environment)
    check_store(settings.store)
    with ExitStack() as open_ones:
        listeners = [open_ones.enter_context(one) for one in listen(settings.host, settings.port)]
        say_hello(settings, served, listeners)
        if reload:
            serve_reloading(settings, listeners)
            return 0
        server = Server(config_of(served.app, settings))
        collect_less_often()
        try:
            server.run(sockets=listeners)
        except KeyboardInterrupt:
            # Ctrl-C is how a server is stopped; uvicorn raises it again when it is done.
            pass
        return 0 if server.started else 3


def serve_reloading(settings: Settings, listeners: list[socket.socket]) -> None:
    """Serves in a child process that is replaced whenever a file changes."""
    from uvicorn.supervisors import ChangeReload

    os.environ[RELOAD] = msgspec.json.encode(settings).decode()
    config = config_of("agentws.cli.serve:create", settings, factory=True, reload=True)
    ChangeReload(config, target=Server(config).run, sockets=listeners).run()


def create() -> Any:
    """The app, in the child process of a reloading server."""
    settings = msgspec.json.decode(os.environ[RELOAD], type=Settings)
    try:
        return make(settings, os.environ).app
    except Problem as problem:
        print(f"agentws: {problem}", file=sys.stderr)
        # Without the traceback; the supervisor waits for the next change.
        raise SystemExit(problem.status) from None


def config_of(app: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    # Paths and queries hold session ids, and who knows an anonymous one owns it: no access log.
    return server_config(
        app, settings.host, settings.port, access_log=False, log_level="warning", **options
    )


def make(settings: Settings, environment: Mapping[str, str]) -> Served:
    """The app of ``settings``. Raises Problem."""
    if settings.target is None:
        from .demo import demo_agent, llm_from

        llm, note = llm_from(environment)
        return Served(_mounted(demo_agent(llm), settings), [note, *_store_notes(settings.store)])
    target = load_target(settings.target)
    if is_asgi_app(target):
        _refuse_gateway_options(settings)
        return Served(target, [], is_ours=False)
    return Served(_mounted(target, settings), _store_notes(settings.store))


def _mounted(factory: Any, settings: Settings) -> Starlette:
    app = Starlette()
    if settings.agent_name is not None:
        factory = {settings.agent_name: factory}
    try:
        mount_agent_gateway(
            app,
            factory,
            prefix=settings.prefix,
            store=store_of(settings.store),
            authenticate=BearerKeys(dict(settings.api_key)) if settings.api_key else None,
            admin_key=settings.admin_key,
            allowed_origins=settings.allowed_origin or None,
            allowed_hosts=settings.allowed_host or None,
        )
    except (TypeError, ValueError) as error:
        raise Problem(f"{settings.target}: {error}", status=USAGE) from error
    return app


def _refuse_gateway_options(settings: Settings) -> None:
    """An app has mounted its own gateway: options that would be ignored are mistakes."""
    given = {
        "--store": settings.store != "memory",
        "--prefix": bool(settings.prefix),
        "--admin-key": settings.admin_key is not None,
        "--api-key": bool(settings.api_key),
        "--allowed-origin": bool(settings.allowed_origin),
        "--allowed-host": bool(settings.allowed_host),
        "--agent-name": settings.agent_name is not None,
    }
    wrong = [flag for flag, is_given in given.items() if is_given]
    if wrong:
        raise Problem(
            f"{settings.target} is an app with a gateway of its own: {', '.join(wrong)} would have "
            "no effect; say it in mount_agent_gateway(...)",
            status=USAGE,
        )


# Stores


def store_of(text: str) -> Store:
    return MemoryStore() if text == "memory" else SQLiteStore(text)


def check_store(text: str) -> None:
    """Opens and closes the store: one that can't be had is one line before anything else."""
    if text == "memory":
        return
    path = Path(database_path(text))
    if not path.parent.is_dir():
        raise Problem(f"there is no directory {path.parent} for the store")
    if path.is_dir():
        raise Problem(f"{path} is a directory; expected a file for the store")

    async def try_out() -> None:
        store = store_of(text)
        await store.open()
        await store.close()

    try:
        asyncio.run(try_out())
    except Unavailable as error:
        raise Problem(f"the store {text} can't be opened: {error}") from error


def _store_notes(text: str) -> list[str]:
    if text == "memory":
        return [
            "Sessions are kept in memory and end with this process; --store sqlite:PATH keeps them."
        ]
    return [f"Sessions are kept in {database_path(text)}."]


# Saying


def say_hello(settings: Settings, served: Served, listeners: list[socket.socket]) -> None:
    """What is served where, on standard error: standard output is for data."""
    addresses = [str(listener.getsockname()[0]) for listener in listeners]
    is_reachable = not all(map(is_loopback, addresses))
    host = settings.host.strip("[]")
    if not is_reachable and not is_loopback(host):
        # On the loopback only its own names are served, whatever else resolves to it.
        host = addresses[0]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    port = listeners[0].getsockname()[1]
    url = f"http://{shown}:{port}{settings.prefix}/"
    where = described(listeners)
    routes = [f"  page       {url}", f"  websocket  ws{url.removeprefix('http')}ws/chat"]
    lines = [
        f"agentws serves {settings.target or 'the demo agent'}",
        *(routes if served.is_ours else [f"  running on {url}"]),
        *([f"  listens on {', '.join(where)}"] if where != [f"{shown}:{port}"] else []),
        "  stop       Ctrl-C",
        *served.notes,
    ]
    if served.is_ours and is_reachable and not settings.api_key:
        lines.append(
            f"WARNING: {settings.host} is reachable from other machines, and anyone there can use "
            "this agent. --api-key KEY=IDENTITY asks who they are."
        )
    print("\n".join(lines), file=sys.stderr, flush=True)
