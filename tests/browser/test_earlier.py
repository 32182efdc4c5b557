"""Conversations that are longer than a snapshot: what is earlier is fetched on demand."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .talking import OpenPage, answer, say, wait_for_connection, wait_for_words

pytestmark = pytest.mark.timeout(120)


def wait_until_drawn(page: Page, length: int) -> None:
    """Waits until the last answer has that many characters."""
    drawn = "all => [...all].at(-1).innerText.trim().length"
    page.wait_for_function(
        f"length => ({drawn})(document.querySelectorAll('.assistant .prose')) >= length",
        arg=length,
    )


def middle(page: Page, selector: str) -> float:
    """The horizontal middle of an element, in pixels."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2


def long_chat(open_page: OpenPage) -> Page:
    """A chat with more messages than a snapshot has."""
    page = open_page()
    for number in range(12):
        say(page, f"message {number}")
    return page


def test_a_chat_longer_than_a_snapshot_keeps_its_title(
    open_page: OpenPage, context: BrowserContext
) -> None:
    page = long_chat(open_page)
    address = page.url
    page.reload()
    expect(page.locator("#earlier")).to_be_visible()
    expect(page.locator("#title")).to_have_text("message 0")
    page.evaluate("localStorage.clear()")
    page.goto(address)
    expect(page.locator("#earlier")).to_be_visible()
    expect(page.locator("#title")).to_have_text("Untitled chat")


def test_the_button_for_older_messages_says_why_there_are_none(
    open_page: OpenPage, context: BrowserContext
) -> None:
    page = long_chat(open_page)
    page.reload()
    wait_for_connection(page, "open")
    context.set_offline(True)
    page.click("#earlier")
    expect(page.locator("#composer-note")).to_have_text(re.compile("connection was lost"))
    context.set_offline(False)
    page.click("#earlier")
    expect(page.locator(".user .bubble").first).to_have_text("message 2")
    expect(page.locator("#composer-note")).to_be_empty()


def test_older_messages_are_fetched_page_by_page(open_page: OpenPage) -> None:
    page = long_chat(open_page)
    page.reload()
    wait_for_connection(page, "open")
    bubbles = page.locator(".user .bubble")
    expect(bubbles.last).to_have_text("message 11")
    assert bubbles.count() < 12
    assert middle(page, "#earlier") == pytest.approx(middle(page, "#transcript"), abs=1)
    while page.locator("#earlier").is_visible():
        shown = bubbles.count()
        page.click("#earlier")
        expect(bubbles).not_to_have_count(shown)
        expect(page.locator("#earlier")).to_be_enabled()
    expect(bubbles).to_have_text([f"message {number}" for number in range(12)])


def test_an_answer_that_is_larger_than_a_snapshot_is_fetched_part_by_part(
    open_page: OpenPage,
) -> None:
    page = open_page()
    say(page, "fill 4000")
    wait_for_words(page, "n4000 ")
    whole = answer(page)
    page.reload()
    wait_for_connection(page, "open")
    wait_for_words(page, "n4000 ")
    assert len(answer(page)) < len(whole)
    while page.locator("#earlier").is_visible():
        shown = len(answer(page))
        page.click("#earlier")
        wait_until_drawn(page, shown + 1)
        expect(page.locator("#earlier")).to_be_enabled()
    wait_until_drawn(page, len(whole))
    assert answer(page) == whole
    expect(page.locator(".user .bubble")).to_have_text(["fill 4000"])
    expect(page.locator(".assistant .prose")).to_have_count(1)
