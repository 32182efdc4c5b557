"""Every example that is a server, started as its first line says, with a real client."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets

from agentws.client import LogEvent, RunFailed, connect
from agentws.errors import AgentError, AgentwsError, BadRequest, Forbidden, Unauthenticated
from agentws.events import StateSnapshot
from agentws.testing.fakellm import FakeLLM, Reply

from . import serving


async def first_answer(url: str, text: str) -> dict[str, Any]:
    """The first answer that a plain WebSocket client gets."""
    async with websockets.connect(url) as socket:
        await socket.send(text)
        answer = json.loads(await socket.recv())
        assert isinstance(answer, dict)
        return answer


async def test_the_echo_example_answers_plain_and_native_clients() -> None:
    with serving.uvicorn("echo") as service:
        answer = await first_answer(service.chat, "Hello from a script")
        assert (answer["type"], answer["content"]) == ("text", "Hello from a script ")
        async with connect(service.chat) as chat:
            assert await chat.ask("Hello again") == "Hello again "


async def test_the_shared_state_example_books_what_was_confirmed() -> None:
    with serving.uvicorn("shared_state") as service:
        async with connect(service.chat) as chat:
            turn = chat.send("oslo")
            async for event in turn:
                if isinstance(event, StateSnapshot):
                    break
            with pytest.raises(AgentError, match="1 to 30 nights"):
                await chat.patch_state([{"op": "replace", "path": "/nights", "value": 99}])
            with pytest.raises(Forbidden):
                await chat.set_state({"anything": 1})
            await chat.set_state({"city": "Bergen", "nights": 2, "confirmed": True})
            assert (await turn.text()).endswith(" Booked: Bergen, 2 nights.")
            assert chat.state["city"] == "Bergen"


async def test_the_echo_example_runs_under_agentws_run(tmp_path: Path) -> None:
    with serving.agentws("echo:Echo", "--store", f"sqlite:{tmp_path / 'chat.db'}") as service:
        async with connect(service.chat) as chat:
            assert await chat.ask("Hello") == "Hello "
            assert chat.welcome is not None
        async with httpx2.AsyncClient(base_url=service.http) as http:
            assert (await http.get("/readyz")).json()["hardening"] == "preset"


async def test_the_standalone_example_keeps_conversations_over_a_restart(tmp_path: Path) -> None:
    env = {"CHAT_DATABASE": str(tmp_path / "chat.sqlite3")}
    with serving.script("standalone/main.py", env=env) as service:
        assert (await first_answer(service.chat, "Hello"))["content"].startswith("You said: Hello.")
        async with connect(service.chat) as chat:
            assert "message 1 of" in await chat.ask("Hello")
            session = chat.session
    with serving.script("standalone/main.py", env=env) as service:
        async with connect(service.chat, session=session) as chat:
            assert "message 2 of" in await chat.ask("Hello again")


async def test_the_standalone_example_under_uvicorn_checks_its_keys(tmp_path: Path) -> None:
    env = {
        "CHAT_DATABASE": str(tmp_path / "chat.sqlite3"),
        "CHAT_KEYS": "key-of-ann=ann, key-of-bob=bob",
        "ADMIN_KEY": "key-of-admin",
    }
    options = ("--host", "0.0.0.0", "--reload")
    with serving.uvicorn("main", *options, folder="standalone", env=env) as service:
        async with connect(service.chat, token="key-of-ann") as chat:
            assert "message 1 of" in await chat.ask("Hello")
            assert "You are ann" in await chat.command("whoami")
            await check_broadcast(service, chat.session or "")
            with pytest.raises(Forbidden):
                async with connect(service.chat, session=chat.session, token="key-of-bob"):
                    pass
        with pytest.raises(Unauthenticated):
            async with connect(service.chat):
                pass


async def check_broadcast(service: serving.Service, session: str) -> None:
    """A broadcast needs the admin key, and reaches connected clients."""
    headers = {"Authorization": "Bearer key-of-ann"}
    url = f"{service.chat}?session={session}"
    async with (
        websockets.connect(url, additional_headers=headers) as socket,
        httpx2.AsyncClient(base_url=service.http) as http,
    ):
        body = {"content": "Maintenance at 22:00"}
        assert (await http.post("/broadcast", json=body)).status_code == 401
        admin = {"Authorization": "Bearer key-of-admin"}
        assert (await http.post("/broadcast", json=body, headers=admin)).is_success
        notice = json.loads(await socket.recv())
        assert (notice["type"], notice["content"]) == ("notice", "Maintenance at 22:00")
        assert (await http.get("/stats", headers=admin)).json()["total_connections"] == 2


def test_the_standalone_example_listens_on_port_8000(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr("agentws.server.serve", lambda app, **options: served.update(options))
    monkeypatch.delenv("PORT", raising=False)
    monkeypatch.setenv("CHAT_DATABASE", str(tmp_path / "chat.sqlite3"))
    runpy.run_path(str(serving.EXAMPLES / "standalone/main.py"), run_name="__main__")
    assert served == {"host": "127.0.0.1", "port": 8000}


async def test_the_fastapi_example_shares_its_login_with_the_gateway() -> None:
    ann = {"Cookie": "session=cookie-of-ann"}
    bob = {"Cookie": "session=cookie-of-bob"}
    with serving.uvicorn("fastapi_app") as service:
        url = service.chat.replace("/ws/chat", "/assistant/ws/chat")
        async with (
            httpx2.AsyncClient(base_url=service.http) as http,
            connect(url, headers=ann) as chat,
        ):
            assert await chat.ask("why?") == "Hello ann, you asked: why?"
            assert (await http.get("/me")).status_code == 401
            assert (await http.get("/me", headers=ann)).json() == {"user": "ann"}
            export = f"/exports/{chat.session}"
            foreign = await http.post(export, headers=bob)
            assert foreign.status_code == 403
            missing = await http.post("/exports/no-such-session-anywhere", headers=bob)
            assert (missing.status_code, missing.content) == (403, foreign.content)
            updates = chat.watch()
            posted = (await http.post(export, headers=ann)).json()["position"]
            notice = await anext(updates)
            assert isinstance(notice, LogEvent)
            assert notice.position == posted
        with pytest.raises(Unauthenticated):
            async with connect(url):
                pass


async def test_the_commands_example_answers_its_commands() -> None:
    with serving.uvicorn("commands") as service:
        async with connect(service.chat) as chat:
            assert await chat.ask("a1") == "Form A1 is the change of address."
            assert await chat.command("count") == "You have sent 1 messages."
            assert await chat.command("/forms") == "A1: change of address\nB2: parking permit"
            assert "/forms — Lists the forms" in await chat.command("help")
            with pytest.raises(RunFailed, match="Type /forms for a list"):
                await chat.ask("hello?")
            with pytest.raises(AgentwsError, match="There is no command /form"):
                await chat.command("form")


async def test_the_example_with_a_router_routes_delegates_and_hands_over() -> None:
    with serving.uvicorn("router") as service:
        async with connect(service.chat) as chat:
            assert await chat.ask("Where is my invoice?") == "Your invoice: 7 apples, 21 coins."
            assert await chat.ask("Is the pear ripe?") == "The taster says: green, sweet."
            assert (await chat.ask("Hello")).startswith("How can I help?")
            handed = await chat.ask("I want to pay")
            assert handed == (
                "That is a question for billing. \n\nHello from billing. The user wants to pay. "
                "Your invoice: 7 apples, 21 coins."
            )
            assert chat.agent == "billing"
            assert "fruit" in await chat.command("agents")
            assert (await chat.ask("@support hello")).startswith("How can I help?")


async def test_the_example_with_several_agents_answers_with_the_named_one() -> None:
    with serving.uvicorn("several_agents") as service:
        async with connect(service.chat) as chat:
            assert await chat.ask("It broke") == "support will look into it: It broke"
        async with connect(service.chat, agent="sales") as chat:
            assert await chat.ask("Pear") == "That is 4 coins."
            assert await chat.ask("It broke", agent="support") == (
                "support will look into it: It broke"
            )
        async with connect(service.chat, agent="concierge") as chat:
            assert await chat.ask("Hello") == "Welcome to a conversation without a title."
        with pytest.raises(BadRequest):
            async with connect(service.chat, agent="nobody"):
                pass


async def test_the_gateway_wraps_any_asgi_application() -> None:
    with serving.uvicorn("any_asgi") as service:
        async with httpx2.AsyncClient(base_url=service.http) as http:
            assert (await http.get("/anything")).text == "Hello from the host application."
            assert (await http.get("/chat/stats")).json()["total_connections"] == 0
        url = service.chat.replace("/ws/chat", "/chat/ws/chat")
        async with connect(url) as chat:
            assert await chat.ask("hello") == "HELLO"


async def test_the_custom_store_keeps_conversations_over_a_restart(tmp_path: Path) -> None:
    env = {"CHAT_JOURNAL": str(tmp_path / "chat.jsonl")}
    with serving.uvicorn("custom_store", env=env) as service:
        async with connect(service.chat) as chat:
            assert await chat.ask("Hello") == "Hello"
            session, after = chat.session, chat.position
    with serving.uvicorn("custom_store", env=env) as service:
        async with connect(service.chat, session=session, after=after) as chat:
            assert chat.welcome is not None
            assert chat.welcome.resume == "replay"
            assert await chat.ask("Hello again") == "Hello again"


async def test_the_chat_agent_without_a_key_answers_from_a_script() -> None:
    with serving.uvicorn("chat_agent") as service:
        async with connect(service.chat) as chat:
            assert await chat.ask("What is this?") == "A model would answer this: What is this?"


@pytest.mark.parametrize("provider", ["OPENAI", "ANTHROPIC"])
async def test_the_chat_agent_with_a_key_asks_the_model(provider: str) -> None:
    async with FakeLLM([Reply("I am a model."), Reply("So I said.")]) as fake:
        url = fake.openai_url if provider == "OPENAI" else fake.anthropic_url
        env = {f"{provider}_API_KEY": "a-key", f"{provider}_BASE_URL": url}
        with serving.uvicorn("chat_agent", env=env) as service:
            async with connect(service.chat) as chat:
                assert await chat.ask("What are you?") == "I am a model."
                assert await chat.ask("Really?") == "So I said."
