"""What the preset uses of uvicorn's insides, as a table.

Those are not public, so another uvicorn may not have them. The preset checks the table before it
uses its classes, and serves with those of uvicorn where it does not hold.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any, Final, NamedTuple


class Needed(NamedTuple):
    """A class, its methods with their first parameters, and names that its methods use."""

    module: str
    name: str
    methods: Mapping[str, tuple[str, ...]]
    names: frozenset[str] = frozenset()


_HTTP_METHODS: Final[dict[str, tuple[str, ...]]] = {
    "__init__": ("self", "config", "server_state", "app_state", "_loop"),
    "connection_made": ("self", "transport"),
    "connection_lost": ("self", "exc"),
    "data_received": ("self", "data"),
    "_get_upgrade": ("self",),
    "send_400_response": ("self", "msg"),
    "on_response_complete": ("self",),
    "pause_writing": ("self",),
    "resume_writing": ("self",),
    "timeout_keep_alive_handler": ("self",),
    "shutdown": ("self",),
}
_HTTP_NAMES: Final = frozenset(
    {"transport", "cycle", "headers", "ws_protocol_class", "response_complete"}
)
_STATE: Final = Needed(
    "uvicorn.server", "ServerState", {}, frozenset({"connections", "tasks", "default_headers"})
)
HTTPTOOLS: Final = (
    _STATE,
    Needed(
        "uvicorn.protocols.http.httptools_impl",
        "HttpToolsProtocol",
        _HTTP_METHODS
        | {
            "handle_websocket_upgrade": ("self",),
            "on_message_begin": ("self",),
            "on_url": ("self", "url"),
            "on_header": ("self", "name", "value"),
            "on_headers_complete": ("self",),
            "on_body": ("self", "body"),
            "on_message_complete": ("self",),
            "_start_asgi_task": ("self", "cycle", "app"),
            "_unsupported_upgrade_warning": ("self",),
            "_should_upgrade": ("self",),
        },
        _HTTP_NAMES
        | {
            "parser",
            "disconnected",
            "message_event",
            "scope",
            "headers",
            "pipeline",
            "HttpParserError",
            "HttpParserUpgrade",
            "url",
        },
    ),
)
H11: Final = (
    _STATE,
    Needed(
        "uvicorn.protocols.http.h11_impl",
        "H11Protocol",
        _HTTP_METHODS | {"handle_websocket_upgrade": ("self", "event")},
        _HTTP_NAMES | {"conn", "app", "RemoteProtocolError"},
    ),
    Needed("h11._connection", "Connection", {}, frozenset({"_receive_buffer"})),
    Needed(
        "h11._receivebuffer",
        "ReceiveBuffer",
        {
            "_extract": ("self", "count"),
            "maybe_extract_lines": ("self",),
            "maybe_extract_next_line": ("self",),
            "__len__": ("self",),
        },
        frozenset({"_extract"}),
    ),
)
WEBSOCKET: Final = (
    _STATE,
    Needed(
        "uvicorn.config",
        "Config",
        {},
        frozenset({"loaded_app", "root_path", "asgi_version", "reset_contextvars"})
        | {"ws_max_size", "ws_max_queue", "ws_ping_interval", "ws_ping_timeout"},
    ),
)
SERVER: Final = (
    Needed(
        "uvicorn.server",
        "Server",
        {
            "run": ("self", "sockets"),
            "serve": ("self", "sockets"),
            "startup": ("self", "sockets"),
            "shutdown": ("self", "sockets"),
            "handle_exit": ("self", "sig", "frame"),
        },
        frozenset({"lifespan", "servers", "server_state", "force_exit", "should_exit"})
        | {"_captured_signals"},
    ),
    Needed("uvicorn.lifespan.on", "LifespanOn", {}, frozenset({"state"})),
    Needed("uvicorn.lifespan.off", "LifespanOff", {}, frozenset({"state"})),
)


def gaps(needed: Iterable[Needed]) -> list[str]:
    """What differs from the table, one sentence each; empty if nothing does."""
    return [gap for one in needed for gap in _gaps(one)]


def _gaps(needed: Needed) -> list[str]:
    where = f"{needed.module}.{needed.name}"
    try:
        found = getattr(importlib.import_module(needed.module), needed.name)
    except (ImportError, AttributeError):
        return [f"{where} is missing"]
    wrong = [
        f"{where}.{name} is missing, or its parameters do not begin with {', '.join(parameters)}"
        for name, parameters in needed.methods.items()
        if not _begins_with(getattr(found, name, None), parameters)
    ]
    unused = needed.names - _names(found)
    return wrong + [f"{where} has no {name}" for name in sorted(unused)]


def _begins_with(method: Any, parameters: tuple[str, ...]) -> bool:
    try:
        found = tuple(inspect.signature(method).parameters)
    except (TypeError, ValueError):
        return False
    return found[: len(parameters)] == parameters


def _names(found: type) -> set[str]:
    """Every name that the methods of a class use: its attributes are set in some of them."""
    functions = [one for one in vars(found).values() if isinstance(one, FunctionType)]
    names = {name for one in functions for name in one.__code__.co_names}
    return names | set(vars(found)) | {name for one in functions for name in _parameters(one)}


def _parameters(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]
