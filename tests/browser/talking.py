"""What a person does on the page, and what the agent of the tests does then."""

from __future__ import annotations

import json
from collections.abc import Callable

from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]


def say(page: Page, text: str) -> None:
    page.fill("#composer-input", text)
    page.keyboard.press("Enter")


def let_it_write(page: Page, text: str) -> None:
    """The agent writes ``text``, in pieces."""
    say(page, f"write {json.dumps(text)}")
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "false", timeout=20_000)
    expect(page.locator(".assistant .prose > *")).not_to_have_count(0)


def let_it_call(page: Page, arguments: str, result: str) -> None:
    """The agent calls a tool with ``arguments`` and gets ``result``; the tool's card is opened."""
    say(page, f"call {json.dumps([arguments, result])}")
    expect(page.locator(".tool")).to_have_attribute("data-status", "done")
    page.locator(".tool summary").click()
