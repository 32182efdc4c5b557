"""What a person types on the page, to make the agent of the tests do something."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]
COPIED = "document.activeElement.querySelector('.icon-check')?.checkVisibility()"
"""A button that copies says for 1.5 seconds that it has."""


def send(page: Page, text: str) -> None:
    page.fill("#composer-input", text)
    page.keyboard.press("Enter")


def say(page: Page, text: str) -> None:
    """Sends ``text``, and waits for the end of the run that answers it with one message."""
    answers = page.locator(".assistant")
    before = answers.count()
    send(page, text)
    expect(answers).to_have_count(before + 1)
    wait_until_idle(page)


def stream_answer(page: Page, text: str) -> None:
    """Makes the agent stream ``text``, and waits for the end of the run."""
    say(page, f"write {json.dumps(text)}")


def call_tool(page: Page, arguments: str, result: str) -> None:
    """Makes the agent call a tool with ``arguments`` and ``result``, and opens the tool's card."""
    send(page, f"call {json.dumps([arguments, result])}")
    open_tool(page)


def open_tool(page: Page) -> None:
    """Opens the card of the tool when its call is done."""
    expect(page.locator(".tool")).to_have_attribute("data-status", "done")
    page.locator(".tool summary").click()


def answer(page: Page) -> str:
    """The text of the last answer so far."""
    return page.locator(".assistant .prose").last.inner_text().strip()


def wait_for_words(page: Page, word: str) -> None:
    expect(page.locator(".assistant .prose").last).to_contain_text(word)


def wait_until_idle(page: Page) -> None:
    """Waits for the end of a run whose beginning was shown: until then the page is idle as well."""
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#stop")).to_be_hidden()


@contextmanager
def seeing(page: Page, condition: str) -> Iterator[None]:
    """Waits until ``condition``, a JavaScript expression, held after some change of the page since
    the beginning of the block. For what is shown for a moment only: a busy machine looks too late.
    """
    page.evaluate(
        f"""() => {{
          window.seen = false;
          const look = () => {{ window.seen ||= Boolean({condition}); }};
          const kinds = {{ childList: true, subtree: true, attributes: true, characterData: true }};
          new MutationObserver(look).observe(document.body, kinds);
        }}"""
    )
    yield
    page.wait_for_function("() => window.seen")


def wait_for_connection(page: Page, state: str) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", state)
