"""The browser examples in a real browser: plain JavaScript, the client, and React from npm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import LAN
from tests.processes import ROOT

from . import serving

pytestmark = pytest.mark.timeout(180)
STORY = "Once upon a time somebody said Hello and lived happily ever after"
NUMBERS = " ".join(map(str, range(1, 31)))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab. An error in its console fails the test."""
    complaints: list[str] = []
    with browser.new_context() as context:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        yield page
    assert [one for one in complaints if "favicon" not in one and "404" not in one] == []


@pytest.fixture(scope="module")
def pages() -> Iterator[serving.Service]:
    with serving.script("page/main.py") as service:
        yield service


def test_the_plain_page_sends_messages_and_commands(page: Page, pages: serving.Service) -> None:
    page.goto(f"{pages.http}/pages/plain.html")
    expect(page.locator("#state")).to_have_text("connected")
    page.fill("#text", "Hello")
    page.keyboard.press("Enter")
    expect(page.locator("#log div")).to_have_text([f"{STORY} "])
    page.fill("#text", "ping")
    page.keyboard.press("Enter")
    expect(page.locator("#log div").nth(1)).to_have_text("pong")


def test_the_plain_page_keeps_a_text_that_it_can_not_send(browser: Browser) -> None:
    with serving.script("page/main.py") as service, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{service.http}/pages/plain.html")
        expect(page.locator("#state")).to_have_text("connected")
        service.kill()
        expect(page.locator("#state")).to_have_text("closed")
        page.fill("#text", "Hello")
        page.keyboard.press("Enter")
        expect(page.locator("#text")).to_have_value("Hello")


def test_a_person_and_an_agent_fill_in_a_form_together(page: Page, browser: Browser) -> None:
    with serving.uvicorn("shared_state") as service, browser.new_context() as other:
        page.goto(f"{service.http}/form")
        expect(page.locator("#form")).to_be_hidden()
        page.fill("#text", "oslo")
        page.keyboard.press("Enter")
        expect(page.locator("[name=city]")).to_have_value("Oslo")
        tab = other.new_page()
        tab.goto(page.url)
        expect(tab.locator("[name=city]")).to_have_value("Oslo")
        tab.fill("[name=nights]", "3")
        tab.keyboard.press("Tab")
        expect(page.locator("[name=nights]")).to_have_value("3")
        page.fill("[name=nights]", "300")
        page.keyboard.press("Tab")
        expect(page.locator("#error")).to_have_text("We book 1 to 30 nights.")
        expect(page.locator("[name=nights]")).to_have_value("3")
        page.fill("[name=city]", "Ber")
        tab.fill("[name=nights]", "4")
        tab.keyboard.press("Tab")
        expect(page.locator("[name=nights]")).to_have_value("4")
        expect(page.locator("[name=city]")).to_have_value("Ber")
        page.fill("[name=city]", "Bergen")
        page.keyboard.press("Enter")
        expect(tab.locator("[name=city]")).to_have_value("Bergen")
        page.check("[name=confirmed]")
        expect(page.locator(".assistant")).to_contain_text("Booked: Bergen, 4 nights.")
        expect(tab.locator("[name=confirmed]")).to_be_checked()
        # It would reconnect, and complain, while the server stops.
        page.goto("about:blank")


def test_the_page_with_the_client_resumes_after_a_reload(
    page: Page, pages: serving.Service
) -> None:
    page.goto(f"{pages.http}/pages/chat.html")
    expect(page.locator("#state")).to_have_text("open")
    page.fill("#text", "Hello")
    page.keyboard.press("Enter")
    answer = page.locator("#messages .assistant")
    expect(answer).to_contain_text("Once upon")
    page.reload()
    expect(page.locator("#messages .user")).to_have_text("Hello")
    expect(answer).to_have_text(STORY)
    expect(page.locator("#messages .assistant.done")).to_have_count(1)
    expect(page.locator("#stop")).to_be_hidden()


@pytest.fixture(scope="module")
def react(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, built as its first line says. The checkout stays clean."""
    home = tmp_path_factory.mktemp("react")
    unwanted = shutil.ignore_patterns("node_modules", "bundle.js")
    shutil.copytree(serving.EXAMPLES / "react", home / "examples/react", ignore=unwanted)
    shutil.copytree(ROOT / "agentws/web", home / "agentws/web")
    folder = home / "examples/react"
    npm(folder, "install", "--no-audit", "--no-fund")
    npm(folder, "run", "build")
    return folder


@pytest.fixture(scope="module")
def app(react: Path) -> Iterator[str]:
    with serving.script("react/main.py", folder=react) as service:
        yield f"{service.http}/app/"


def npm(folder: Path, *arguments: str) -> None:
    """The npm beside the Node that runs the JavaScript tests, or the one on PATH."""
    node = Path(os.environ.get("AGENTWS_NODE") or shutil.which("node") or "")
    bundled = node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    found = shutil.which("npm")
    assert bundled.exists() or found, "there is no npm; install Node 22 or newer"
    command = [str(node), str(bundled)] if bundled.exists() else [str(found)]
    env = serving.environment(PATH=f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}")
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    if authorities.exists():
        env.setdefault("NODE_EXTRA_CA_CERTS", str(authorities))
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_react_hook_resumes_after_a_reload(page: Page, app: str) -> None:
    page.goto(app)
    expect(page.locator("#chat .state")).to_have_text("open")
    page.fill("#chat input", "count")
    page.keyboard.press("Enter")
    answer = page.locator("#chat .assistant")
    expect(answer).to_contain_text("1 2 3")
    page.reload()
    expect(answer).to_have_text(NUMBERS)
    expect(page.locator("#chat .user")).to_have_text("count")


def test_a_react_hook_with_a_plain_socket_sends_messages_and_commands(page: Page, app: str) -> None:
    page.goto(app)
    expect(page.locator("#plain .state")).to_have_text("connected")
    page.fill("#plain input", "count")
    page.keyboard.press("Enter")
    expect(page.locator("#plain div")).to_have_text([NUMBERS])
    page.fill("#plain input", "/whoami")
    page.keyboard.press("Enter")
    expect(page.locator("#plain div").nth(1)).to_contain_text("You are anonymous")


@pytest.fixture(params=["page", "react"])
def on_a_lan(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a page that uses the client, over plain HTTP in a local network."""
    react = request.param == "react"
    folder = request.getfixturevalue("react") if react else serving.EXAMPLES / "page"
    path = "app/" if react else "pages/chat.html"
    with serving.lan(folder) as service:
        yield f"http://{LAN}:{service.port}/{path}"


def test_pages_with_the_client_work_over_plain_http_in_a_local_network(
    on_a_lan: str, page: Page
) -> None:
    page.goto(on_a_lan)
    assert not page.evaluate("isSecureContext")
    expect(page.locator("#state, #chat .state")).to_have_text("open")
    page.fill("#text, #chat input", "Hello")
    page.keyboard.press("Enter")
    answer = page.locator("#messages .assistant, #chat .assistant")
    expect(answer).not_to_be_empty()
    assert page.evaluate("location.hash").startswith("#ses_")
    page.reload()
    expect(answer).to_have_count(1)


def test_the_react_hook_renders_on_a_server(react: Path) -> None:
    """Without a window: it opens no connection, and renders an idle chat."""
    script = (
        "import { createElement } from 'react';"
        "import { renderToString } from 'react-dom/server';"
        "import { useAgentChat } from 'agentws/react';"
        "const Chat = () => createElement('p', null, useAgentChat('/ws/chat').connection);"
        "console.log(renderToString(createElement(Chat)));"
    )
    (react / "server.mjs").write_text(script)
    node = os.environ.get("AGENTWS_NODE") or shutil.which("node")
    assert node, "there is no Node; set AGENTWS_NODE"
    done = subprocess.run(
        [node, "server.mjs"], cwd=react, capture_output=True, text=True, timeout=50
    )
    assert done.stdout.strip() == "<p>closed</p>", done.stderr
