"""The page over plain http in a local network, where browsers disable secure-context APIs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import LAN

from .conftest import Server
from .talking import COPIED, say, seeing

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    console_errors: list[str] = []
    with closing(browser.new_context(reduced_motion="reduce")) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        page.goto(f"http://{LAN}:{server.port}/")
        assert page.evaluate("[isSecureContext, typeof crypto.randomUUID]") == [False, "undefined"]
        expect(page.locator("#connection")).to_have_attribute("data-state", "open")
        yield page
    assert console_errors == []


def test_chats_work_over_plain_http(page: Page) -> None:
    say(page, "hello")
    page.reload()
    expect(page.locator(".assistant strong")).to_have_text("hello")
    page.click("#new-chat-small")
    expect(page.locator(".empty")).to_be_visible()
    say(page, "another")


def test_an_answer_is_copied_over_plain_http(page: Page) -> None:
    say(page, "hello")
    button = page.get_by_role("button", name="Copy the answer")
    button.focus()
    with seeing(page, COPIED):
        page.keyboard.press("Enter")
    expect(button).to_be_focused()
    page.focus("#composer-input")
    page.keyboard.press("Control+v")
    expect(page.locator("#composer-input")).to_have_value("You said **hello**.")
