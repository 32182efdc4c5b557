"""A setting of another type, or out of bounds, is refused where it is given."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint

from agentws import (
    AgentGateway,
    BearerKeys,
    ChatAgent,
    Limits,
    LocalBus,
    MemoryFileStore,
    MemoryStore,
    ModelRouter,
    Router,
    RunContext,
    SQLiteStore,
    mount_agent_gateway,
    tool,
)
from agentws.backends.postgres import PostgresBus, PostgresStore
from agentws.backends.redis import RedisBus, RedisStore
from agentws.errors import BadRequest
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.server import ServerLimits
from agentws.testing import connect, running
from agentws.testing.fakellm import ScriptedLLM

NO_NUMBERS: list[Any] = [True, "5", b"5", [], {}, 5j, object()]
NO_SIZES: list[Any] = [-1, -0.5, math.nan, math.inf, -math.inf, 10**400, 2**70]
MODEL = ScriptedLLM()
REDIS, POSTGRES = "redis://127.0.0.1:1", "postgresql://127.0.0.1:1/d"


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


NUMBERS: dict[str, Callable[[Any], object]] = {
    f"{kind.__name__}.{name}": lambda value, kind=kind, name=name: kind(**{name: value})
    for kind in (Limits, ServerLimits)
    for name in kind.__struct_fields__
    if name != "file_types"
} | {
    "ChatAgent.history_budget": lambda value: ChatAgent(MODEL, history_budget=value),
    "ChatAgent.max_rounds": lambda value: ChatAgent(MODEL, max_rounds=value),
    "Router.timeout": lambda value: Router({"a": "x"}, default="a", timeout=value),
    "ModelRouter.timeout": lambda value: ModelRouter(MODEL, {"a": "x"}, timeout=value),
    "tool.timeout": lambda value: tool(timeout=value),
    "OpenAIChat.timeout": lambda value: OpenAIChat("m", api_key="k", timeout=value),
    "AnthropicMessages.timeout": lambda value: AnthropicMessages("m", api_key="k", timeout=value),
    "AnthropicMessages.max_tokens": lambda value: AnthropicMessages(
        "m", api_key="k", max_tokens=value
    ),
    "SQLiteStore.busy_timeout": lambda value: SQLiteStore("x.db", busy_timeout=value),
    "MemoryFileStore.max_size": lambda value: MemoryFileStore(max_size=value),
    "RedisStore.timeout": lambda value: RedisStore(REDIS, timeout=value),
    "RedisStore.replicas": lambda value: RedisStore(REDIS, replicas=value),
    "RedisStore.confirmation": lambda value: RedisStore(REDIS, confirmation=value),
    "RedisBus.timeout": lambda value: RedisBus(REDIS, timeout=value),
    "PostgresStore.timeout": lambda value: PostgresStore(POSTGRES, timeout=value),
    "PostgresStore.pool_size": lambda value: PostgresStore(POSTGRES, pool_size=value),
    "PostgresBus.interval": lambda value: PostgresBus(POSTGRES, interval=value),
}


@pytest.mark.parametrize("setting", NUMBERS)
def test_a_number_of_another_type_or_out_of_bounds_is_refused_with_what_was_expected(
    setting: str,
) -> None:
    expected = f"{setting.partition('.')[2]} is .*; expected (seconds|a (whole )?number)"
    for value in NO_NUMBERS:
        with pytest.raises(TypeError, match=expected):
            NUMBERS[setting](value)
    for value in NO_SIZES:
        with pytest.raises(ValueError, match=f"{expected}|Exceeds the limit"):
            NUMBERS[setting](value)


def test_settings_with_a_part_replaced_are_checked_too() -> None:
    with pytest.raises(ValueError, match="max_queued is -3; expected a whole number from 1"):
        msgspec.structs.replace(Limits(), max_queued=-3)
    assert msgspec.structs.replace(Limits(), session_retention=60) == Limits(session_retention=60)


async def test_a_gateway_works_with_every_limit_that_may_be_0_at_0() -> None:
    allowed: dict[str, Any] = {name: 0 for name in Limits.__struct_fields__ if _takes_0(name)}
    assert {"gather", "max_parked", "title_length", "tail_size"} < set(allowed)
    app = Starlette()
    mount_agent_gateway(app, echo, limits=Limits(**allowed))
    async with running(app), connect(app) as client:
        await client.say("hi", "m1")
        assert await client.answer() == "hi"


def _takes_0(name: str) -> bool:
    try:
        Limits(**{name: 0})  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("store", "sqlite:chat.db", "a Store, as SQLiteStore"),
        ("store", MemoryStore, "a Store, as SQLiteStore"),
        ("store", False, "a Store, as SQLiteStore"),
        ("bus", MemoryStore(), "a Bus, as LocalBus"),
        ("bus", LocalBus, "a Bus, as LocalBus"),
        ("limits", {"max_queued": 3}, "a Limits, as Limits"),
        ("limits", {}, "a Limits, as Limits"),
        ("limits", ServerLimits(), "a Limits, as Limits"),
        ("admin_key", b"key", "a string"),
        ("admin_key", 42, "a string"),
        ("page", "no", "True or False"),
        ("page", None, "True or False"),
    ],
)
def test_an_option_of_another_type_is_a_type_error_at_the_mount(
    option: str, value: object, expected: str
) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(TypeError, match=f"^{option} is .*; expected {expected}"):
        mount_agent_gateway(Starlette(), echo, **options)
    if option != "page":
        with pytest.raises(TypeError, match=f"^{option} is .*; expected {expected}"):
            AgentGateway(None, **options)


@pytest.mark.parametrize("app", [None, 42, "main:app", {}, object(), Starlette])
def test_an_app_that_no_server_could_call_is_a_type_error(app: Any) -> None:
    with pytest.raises(TypeError, match="expected an ASGI app, as Starlette"):
        mount_agent_gateway(app, echo)


def test_a_class_whose_instances_can_be_awaited_is_an_app() -> None:
    class Page(HTTPEndpoint):
        pass

    assert mount_agent_gateway(Page, echo).app is not None


@pytest.mark.parametrize("key", [" key", "key ", "key\n", "k\x00y", " "])
def test_a_key_that_no_client_can_send_is_refused_and_not_repeated(key: str) -> None:
    makers: list[Callable[[], object]] = [
        lambda: AgentGateway(None, admin_key=key),
        lambda: BearerKeys({key: "ann"}),
    ]
    for make in makers:
        with pytest.raises(ValueError, match="expected text that a header can carry") as caught:
            make()
        assert repr(key) not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        (None, TypeError, "the keys are NoneType; expected a mapping"),
        ([("key", "ann")], TypeError, "the keys are list; expected a mapping"),
        ({42: "ann"}, TypeError, "a key is int; expected a string"),
        ({"": "ann"}, ValueError, "a key is empty"),
        ({"key": ""}, ValueError, "the identity of a key is empty"),
        ({"key": None}, TypeError, "the id of an identity is NoneType"),
    ],
)
def test_bearer_keys_refuse_what_would_identify_nobody(
    keys: Mapping[str, str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        BearerKeys(keys)


PARTS: list[tuple[Callable[[], object], str]] = [
    (lambda: RedisStore(REDIS, durability="safe"), "durability is 'safe'; expected 'process' or"),  # type: ignore[arg-type]
    (lambda: RedisStore(f"{REDIS}/chats"), "not the address of a Redis server"),
    (lambda: RedisStore(f"{REDIS}/-1"), "not the address of a Redis server"),
    (lambda: RedisStore("redis://:a-secret#1@host"), "%23 for #"),
    (lambda: RedisStore(f"{REDIS}?colour=red"), "unexpected keyword argument 'colour'"),
    (lambda: RedisStore(f"{REDIS}?decode_responses=1"), "decode_responses in the address"),
    (lambda: RedisBus(f"{REDIS}?protocol=3"), "protocol in the address"),
    (lambda: RedisBus(f"{REDIS}?socket_timeout=1"), "socket_timeout in the address"),
    (lambda: RedisStore("rediss://host?ssl_cert_reqs=some"), "an option in the address of the"),
    (lambda: PostgresStore(""), "not the address of a PostgreSQL database; expected postgresql:"),
    (lambda: PostgresStore("postgresql://a-secret@host:70000/d"), "port of the PostgreSQL server"),
    (lambda: PostgresBus("postgresql://host:5432,other:x/d"), "port of the PostgreSQL server"),
    (lambda: PostgresStore(f"{POSTGRES}?sslmode=always"), "sslmode is 'always'; expected one of"),
    (lambda: PostgresStore(POSTGRES, schema="pg_chat"), "the schema is 'pg_chat'; expected"),
    (lambda: PostgresStore(POSTGRES, durability="Disk"), "durability is 'Disk'; expected"),  # type: ignore[arg-type]
    (lambda: SQLiteStore("x.db", synchronous="off"), "synchronous is 'off'; expected NORMAL"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "said"), PARTS, ids=[said for _, said in PARTS])
def test_a_store_refuses_settings_that_can_never_work(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        make()
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize("kind", [RedisStore, RedisBus, PostgresStore, PostgresBus])
@pytest.mark.parametrize("address", [None, 42, b"redis://host"])
def test_an_address_that_is_no_text_is_a_type_error(
    kind: Callable[[Any], object], address: object
) -> None:
    with pytest.raises(TypeError, match="expected a str"):
        kind(address)


async def test_the_id_of_a_session_and_the_key_of_a_post_are_text() -> None:
    gateway = AgentGateway(None)
    await gateway.start()
    for id in (None, 42, b"bytes"):
        with pytest.raises(TypeError, match="the id of the session is .*; expected a str"):
            gateway.session(id)  # type: ignore[arg-type]
    for key in ("", 42, b"key", "k" * 129):
        with pytest.raises(BadRequest, match="Expected 1 to 128 characters"):
            await gateway.topic("orders").post("x", key=key)  # type: ignore[arg-type]
    await gateway.stop()


@pytest.mark.parametrize("approve", [None, 0, "", "no", 1])
def test_what_must_be_approved_is_said_by_a_bool_or_a_callable(approve: Any) -> None:
    with pytest.raises(TypeError, match="approve is .*; expected True, False or a callable"):
        tool(approve=approve)


@pytest.mark.parametrize(
    ("choose", "default", "said"),
    [
        (None, "a", "choose is None; expected a mapping of rules"),
        ("a", "a", "choose is 'a'; expected a mapping of rules"),
        ({"a": "x"}, "", "default is ''; expected the name of an agent"),
        ({"a": "x"}, None, "default is None; expected the name of an agent"),
    ],
)
def test_a_router_refuses_what_could_choose_nothing(choose: Any, default: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Router(choose, default=default)
