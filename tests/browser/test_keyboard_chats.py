"""The list of chats by keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .keyboard import back, box, button, expect_ring, go
from .talking import OpenPage, say

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("width", [1100, 390])
def test_the_list_of_chats_is_opened_and_left(open_page: OpenPage, width: int) -> None:
    page = open_page()
    page.set_viewport_size({"width": width, "height": 800})
    say(page, "first")
    back(page, page.locator("#new-chat-small"))
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()
    expect(box(page)).to_be_focused()
    opener = page.locator("#sidebar-open")
    back(page, opener)
    page.keyboard.press("Enter")
    expect(page.locator("#sidebar-close")).to_be_focused()
    page.keyboard.press("Space" if width > 860 else "Escape")
    expect(opener).to_be_focused()
    page.keyboard.press("Space")
    expect(opener).to_have_attribute("aria-expanded", "true")
    if width < 860:
        page.keyboard.press("Shift+Tab")
        assert not page.evaluate("document.querySelector('main').contains(document.activeElement)")
    go(page, page.get_by_role("link", name="first"))
    page.keyboard.press("Enter")
    expect(page.locator(".user .bubble")).to_have_text(["first"])
    expect(box(page)).to_be_focused()


@pytest.mark.parametrize("width", [1100, 390])
def test_a_chat_is_found_renamed_and_deleted(open_page: OpenPage, width: int) -> None:
    page = open_page()
    page.set_viewport_size({"width": width, "height": 800})
    for text in ("first", "second"):
        say(page, text)
        page.keyboard.press("Control+k")
        expect(page.get_by_role("searchbox")).to_be_focused()
        back(page, page.locator("#new-chat"))
        page.keyboard.press("Enter")
        expect(page.locator(".empty")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("fir")
    expect(page.locator("#sessions a:visible")).to_have_text(["first"])
    go(page, page.get_by_role("link", name="first"))
    go(page, button(page, "Rename: first"))
    page.keyboard.press("Enter")
    page.keyboard.type("renamed")
    go(page, button(page, "Save"))
    page.keyboard.press("Space")
    # It is not found any more.
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#sessions a:visible")).to_have_text(["second", "renamed"])
    trash = button(page, "Delete: renamed")
    go(page, page.get_by_role("link", name="renamed"))
    go(page, trash)
    page.keyboard.press("Enter")
    expect(button(page, "Keep it")).to_be_focused()
    expect_ring(page)
    page.keyboard.press("Space")
    expect(trash).to_be_focused()
    page.keyboard.press("Space")
    back(page, button(page, "Delete"))
    page.keyboard.press("Enter")
    expect(page.locator("#sessions a:visible")).to_have_text(["second"])
    expect(page.get_by_role("link", name="second")).to_be_focused()
    expect_ring(page)
