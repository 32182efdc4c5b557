"""What the browser keeps for the page: written by another version, or forbidden."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from .talking import OpenPage, say, wait_for_connection

if TYPE_CHECKING:
    from .conftest import Server

pytestmark = pytest.mark.timeout(120)
CHATS = "agentws:chats:/"
OTHER_CHATS = [
    None,
    7,
    {"id": "ses_without_a_title"},
    {"id": "ses_with_a_number", "title": 5, "at": "never"},
    {"id": "ses_\ud800", "title": "half a character"},
    {"id": "", "title": "nothing"},
]
FORBIDDEN = """
const forbidden = () => {
  throw new DOMException('The operation is insecure.', 'SecurityError');
};
for (const name of ['localStorage', 'sessionStorage'])
  Object.defineProperty(window, name, { get: forbidden });
window.BroadcastChannel = function () { forbidden(); };
"""
"""As in a browser that takes no cookies."""
FULL = """
sessionStorage.setItem('agentws:key:/', 'old');
Storage.prototype.setItem = () => {
  throw new DOMException('The quota has been exceeded.', 'QuotaExceededError');
};
"""
"""Another page of the same origin has filled the storage."""


def test_chats_that_another_version_remembered_do_no_harm(open_page: OpenPage) -> None:
    page = open_page()
    say(page, "hello")
    page.evaluate(
        "([key, more]) => localStorage[key] = JSON.stringify("
        "[...JSON.parse(localStorage[key]), ...JSON.parse(more)])",
        [CHATS, json.dumps(OTHER_CHATS)],
    )
    page.reload()
    wait_for_connection(page, "open")
    page.keyboard.press("Control+k")
    expect(page.locator("#sessions a")).to_have_count(2)
    page.keyboard.type("hel")
    expect(page.locator("#sessions a")).to_have_text(["hello"])


def test_chats_work_where_nothing_may_be_stored(
    open_page: OpenPage, context: BrowserContext
) -> None:
    context.add_init_script(FORBIDDEN)
    page = open_page()
    say(page, "hello")
    page.reload()
    expect(page.locator(".assistant strong")).to_have_text("hello")


def test_a_key_is_taken_where_the_storage_is_full(browser: Browser, locked_server: Server) -> None:
    with closing(browser.new_context()) as context:
        context.add_init_script(FULL)
        page = context.new_page()
        page.goto(locked_server.url)
        page.fill("#banner input", "sesame")
        page.keyboard.press("Enter")
        wait_for_connection(page, "open")
        say(page, "hello")


def test_an_address_that_names_no_chat_is_replaced_by_one_that_does(open_page: OpenPage) -> None:
    page = open_page(open_page().url.partition("?")[0] + "?session=")
    say(page, "hello")
    page.reload()
    expect(page.locator(".assistant strong")).to_have_text("hello")
