"""What the preset uses of uvicorn's insides, and what happens on a uvicorn that differs."""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.sync.client import connect

from agentws.server import AgentwsWebSocketProtocol, contract, server_config
from agentws.server.contract import H11, HTTPTOOLS, SERVER, WEBSOCKET, Needed, gaps
from agentws.server.guarding import GuardedProtocol
from agentws.server.strict_h11 import PresetH11Protocol
from agentws.server.upgrading import PresetHttpToolsProtocol


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


@pytest.mark.parametrize("part", ["HTTPTOOLS", "H11", "WEBSOCKET", "SERVER"])
def test_this_uvicorn_is_as_the_preset_expects(part: str) -> None:
    assert gaps(getattr(contract, part)) == []


def test_every_method_that_the_preset_overrides_is_in_the_table() -> None:
    tables = {PresetHttpToolsProtocol: HTTPTOOLS, PresetH11Protocol: H11}
    for ours, table in tables.items():
        base = ours.__mro__[2]
        assert ours.__mro__[1] is GuardedProtocol
        listed = {name for one in table if one.name == base.__name__ for name in one.methods}
        methods = {
            name
            for one in (ours, GuardedProtocol)
            for name in vars(one)
            if callable(vars(one)[name])
        }
        overridden = methods & set(dir(base))
        assert overridden - listed == set()


def test_the_table_tells_what_is_missing() -> None:
    needed = (
        Needed("uvicorn.server", "Gone", {}),
        Needed("uvicorn.gone", "Server", {}),
        Needed("uvicorn.server", "Server", {"gone": ("self",), "startup": ("self", "loop")}),
        Needed("uvicorn.server", "Server", {}, frozenset({"servers", "gone"})),
    )
    assert gaps(needed) == [
        "uvicorn.server.Gone is missing",
        "uvicorn.gone.Server is missing",
        "uvicorn.server.Server.gone is missing, or its parameters do not begin with self",
        "uvicorn.server.Server.startup is missing, or its parameters do not begin with self, loop",
        "uvicorn.server.Server has no gone",
    ]


def without(monkeypatch: pytest.MonkeyPatch, *owners: type) -> None:
    """A uvicorn whose classes have another signature of a method that the preset overrides."""
    for owner in owners:
        monkeypatch.setattr(owner, "send_400_response", lambda self: None)


def test_another_httptools_class_is_replaced_by_the_one_with_h11(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without(monkeypatch, HttpToolsProtocol)
    config: Any = server_config(nothing, log_config=None)
    assert config.http is PresetH11Protocol and config.ws is AgentwsWebSocketProtocol
    assert config.hardening == "partial"
    (logged,) = caplog.records
    assert logged.levelno == logging.WARNING and uvicorn.__version__ in logged.getMessage()
    assert "HttpToolsProtocol.send_400_response" in logged.getMessage()


def test_on_a_uvicorn_without_the_expected_classes_its_own_serve(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without(monkeypatch, HttpToolsProtocol, H11Protocol)
    server = start()
    assert server.uvicorn.config.http == "auto"
    assert len([one for one in caplog.records if "protects only in part" in one.message]) == 1
    with connect(server.url("echo")) as client:
        client.send("hello")
        assert client.recv(10) == "hello"
    assert httpx2.get(f"http://127.0.0.1:{server.port}/early").text == "early"


def test_a_uvicorn_without_an_option_or_another_websocket_side_is_served_partly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = (Needed("uvicorn.config", "Config", {}, frozenset({"gone"})),)
    monkeypatch.setattr("agentws.server.preset.WEBSOCKET", lacking)
    config: Any = server_config(nothing, log_config=None)
    assert config.ws == "auto" and config.http is PresetHttpToolsProtocol
    assert config.hardening == "partial"


@pytest.mark.parametrize("option", [{"http": "h11"}, {"ws": "websockets-sansio"}])
def test_a_host_that_chooses_other_classes_has_a_part_of_the_preset(option: Any) -> None:
    config: Any = server_config(nothing, log_config=None, **option)
    assert config.hardening == "partial"
    complete: Any = server_config(nothing, log_config=None)
    assert complete.hardening == "preset" and gaps(WEBSOCKET) == gaps(SERVER) == []
