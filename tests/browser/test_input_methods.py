"""Keys that an input method editor uses to choose words are no keys of the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .talking import OpenPage, say, send, wait_for_words, wait_until_idle

pytestmark = pytest.mark.timeout(120)
PRESS = """([key, how]) => {
  const init = { key, bubbles: true, cancelable: true, ...how };
  const event = new KeyboardEvent('keydown', init);
  document.activeElement.dispatchEvent(event);
  return event.defaultPrevented;
}"""
COMPOSING = [
    pytest.param({"isComposing": True, "keyCode": 229}, id="while it composes"),
    pytest.param({"keyCode": 229}, id="as Safari ends it"),
]


@pytest.fixture(params=COMPOSING)
def how(request: pytest.FixtureRequest) -> dict[str, object]:
    """What an event of an input method editor has."""
    value: dict[str, object] = request.param
    return value


def press(page: Page, key: str, how: dict[str, object]) -> None:
    assert not page.evaluate(PRESS, [key, how])


def test_the_message_box_sends_and_completes_nothing(
    open_page: OpenPage, how: dict[str, object]
) -> None:
    page = open_page()
    box = page.locator("#composer-input")
    box.press_sequentially("/")
    expect(page.locator("#palette")).to_be_visible()
    for key in ("ArrowDown", "Tab", "Enter", "Escape"):
        press(page, key, how)
    expect(page.locator("#palette")).to_be_visible()
    expect(box).to_have_value("/")
    box.fill("nihao")
    press(page, "Enter", how)
    expect(box).to_have_value("nihao")
    box.press("Enter")
    expect(page.locator(".user .bubble")).to_have_text(["nihao"])


def test_neither_enter_nor_escape_ends_the_editing_of_a_message(
    open_page: OpenPage, how: dict[str, object]
) -> None:
    page = open_page()
    say(page, "one")
    page.locator(".user").hover()
    page.get_by_role("button", name="Edit the message").click()
    box = page.get_by_role("textbox", name="Edit the message")
    box.fill("nihao")
    press(page, "Enter", how)
    press(page, "Escape", how)
    expect(box).to_have_value("nihao")
    box.press("Enter")
    expect(page.locator(".user .bubble")).to_have_text(["nihao"])
    expect(page.locator(".versions-count:visible")).to_have_text("2 / 2")


def test_escape_stops_no_answer(open_page: OpenPage, how: dict[str, object]) -> None:
    page = open_page()
    send(page, "count 40")
    wait_for_words(page, "n3")
    press(page, "Escape", how)
    wait_for_words(page, "n40")
    wait_until_idle(page)


def test_escape_leaves_the_search_and_the_title_as_they_are(
    open_page: OpenPage, how: dict[str, object]
) -> None:
    page = open_page()
    say(page, "hello")
    page.keyboard.press("Control+k")
    page.keyboard.type("hel")
    press(page, "Escape", how)
    expect(page.locator("#search")).to_have_value("hel")
    page.locator(".chat").hover()
    page.get_by_role("button", name="Rename: hello").click()
    page.get_by_role("textbox", name="Title").fill("nihao")
    press(page, "Escape", how)
    expect(page.get_by_role("textbox", name="Title")).to_have_value("nihao")
