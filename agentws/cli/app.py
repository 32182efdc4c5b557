"""From settings to the ASGI app that ``run`` and ``demo`` serve, and its store."""

from __future__ import annotations

import asyncio
import dataclasses
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.applications import Starlette

from ..auth import BearerKeys
from ..backends.disk import DiskFileStore
from ..backends.memory_files import MemoryFileStore
from ..errors import Unavailable
from ..files import FileStore
from ..gateway.gateway import AgentGateway
from ..mount import mount_agent_gateway
from ..store import Store
from .options import BESIDE, OFF
from .problem import USAGE, Problem
from .stores import MEMORY, SHARED_STORES, folder_beside, shown_store, store_of
from .target import is_asgi_app, load_target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to serve and how. ``target`` is ``module:Agent``; ``None`` is the demo agent."""

    target: str | None
    host: str
    port: int
    workers: int
    prefix: str
    store: str
    files: str
    admin_key: str | None
    api_key: list[tuple[str, str]]
    allowed_origin: list[str]
    allowed_host: list[str]
    agent_name: str | None
    node_name: str | None

    def __repr__(self) -> str:
        return f"Settings({self.target}, {self.host}:{self.port}, {shown_store(self.store)})"

    @classmethod
    def of(cls, options: Namespace) -> Settings:
        names = [field.name for field in dataclasses.fields(cls)]
        values: dict[str, Any] = {name: getattr(options, name) for name in names}
        values["api_key"] = values["api_key"] or []
        values["allowed_origin"] = values["allowed_origin"] or []
        values["allowed_host"] = values["allowed_host"] or []
        return cls(**values)


class Served(NamedTuple):
    """An app, and notes for the start-up message."""

    app: Any
    notes: list[str]
    is_ours: bool = True
    """Whether this command made the gateway in it, and so knows its routes and its API keys."""


def make(settings: Settings, environment: Mapping[str, str]) -> Served:
    """The app of ``settings``. Raises Problem."""
    if settings.target is None:
        return _demo(settings, environment)
    target = load_target(settings.target)
    if is_asgi_app(target):
        _refuse_gateway_options(settings)
        if isinstance(target, AgentGateway):
            _check_shared(target.store, settings, "SQLiteStore(PATH) in mount_agent_gateway(...)")
            if target.files is not None:
                expected = "DiskFileStore(PATH) in mount_agent_gateway(...)"
                _check_shared(target.files.store, settings, expected)
        return Served(target, [], is_ours=False)
    agent = target if settings.agent_name is None else {settings.agent_name: target}
    return Served(_mounted(agent, settings), _storage_notes(settings))


def _demo(settings: Settings, environment: Mapping[str, str]) -> Served:
    from .demo import demo_agents, llm_from

    llm, note = llm_from(environment)
    try:
        agents = demo_agents(llm, name=settings.agent_name or "demo")
    except ValueError as error:
        raise Problem(f"--agent-name: {error}", status=USAGE) from error
    return Served(_mounted(agents, settings), [note, *_storage_notes(settings)])


def _mounted(factory: Any, settings: Settings) -> Starlette:
    app = Starlette()
    try:
        gateway = mount_agent_gateway(
            app,
            factory,
            prefix=settings.prefix,
            store=store_of(settings.store),
            files=files_of(settings.files, settings.store),
            authenticate=BearerKeys(dict(settings.api_key)) if settings.api_key else None,
            admin_key=settings.admin_key,
            allowed_origins=settings.allowed_origin or None,
            allowed_hosts=settings.allowed_host or None,
            node=settings.node_name,
        )
    except (TypeError, ValueError) as error:
        raise Problem(f"{settings.target}: {error}", status=USAGE) from error
    _check_shared(gateway.store, settings, f"--store {SHARED_STORES}")
    return app


def _check_shared(store: Store | FileStore, settings: Settings, expected: str) -> None:
    """Raises Problem for several workers with a store of which each would have its own."""
    if settings.workers > 1 and store.scope == "process":
        raise Problem(
            f"--workers {settings.workers} needs a store that its processes share, and each would "
            f"have its own memory; expected {expected}",
            status=USAGE,
        )


def _refuse_gateway_options(settings: Settings) -> None:
    """An app has mounted its own gateway: options that would have no effect are mistakes."""
    given = {
        "--store": settings.store != MEMORY,
        "--files": settings.files != BESIDE,
        "--prefix": bool(settings.prefix),
        "--admin-key": settings.admin_key is not None,
        "--api-key": bool(settings.api_key),
        "--allowed-origin": bool(settings.allowed_origin),
        "--allowed-host": bool(settings.allowed_host),
        "--agent-name": settings.agent_name is not None,
        "--node": settings.node_name is not None,
    }
    wrong = [flag for flag, is_given in given.items() if is_given]
    if wrong:
        raise Problem(
            f"{settings.target} is an app with a gateway of its own: {', '.join(wrong)} would have "
            "no effect; set it in mount_agent_gateway(...)",
            status=USAGE,
        )


# Files


def files_of(text: str, store: str) -> FileStore | None:
    """The file store of ``--files``; without a folder, files are kept where sessions are."""
    if text == OFF:
        return None
    if text != BESIDE:
        return DiskFileStore(text)
    if store == MEMORY:
        return MemoryFileStore()
    folder = folder_beside(store)
    return None if folder is None else DiskFileStore(folder)


def check_files(text: str, store: str) -> None:
    """Opens the file store, so that a folder that can't be used is reported first."""
    files = files_of(text, store)
    if files is None:
        return
    try:
        asyncio.run(files.open())
    except Unavailable as error:
        why = getattr(error.__cause__, "strerror", None) or error
        raise Problem(f"the folder of the files can't be used: {files!r}: {why}") from error


def _storage_notes(settings: Settings) -> list[str]:
    if settings.store == MEMORY:
        return [
            "Sessions are kept in memory and end with this process; --store sqlite:PATH keeps them."
        ]
    notes = [f"Sessions are kept in {shown_store(settings.store)}."]
    if settings.files == BESIDE and folder_beside(settings.store) is None:
        notes.append("Files can't be attached; --files FOLDER keeps them.")
    return notes
