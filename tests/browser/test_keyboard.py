"""The page by keyboard alone: each control is reached, shows the focus, and leaves it somewhere."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .keyboard import back, box, button, expect_place, go
from .talking import OpenPage, say, send, wait_until_idle
from .test_composing import NOTE, PICTURE, begin, waiting

if TYPE_CHECKING:
    from .conftest import Server

pytestmark = pytest.mark.timeout(120)


def test_the_first_stop_skips_to_the_message_box(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(box(page)).to_be_focused()


def test_a_message_is_sent_and_its_answer_stopped_by_their_buttons(chat: Page) -> None:
    page = chat
    box(page).focus()
    page.keyboard.type("go")
    go(page, page.locator("#send"))
    page.keyboard.press("Space")
    expect(box(page)).to_be_focused()
    expect(page.locator(".assistant .prose")).to_contain_text("on on")
    page.keyboard.type("Well")
    go(page, page.locator("#send-now"))
    page.keyboard.press("Enter")
    expect(box(page)).to_be_focused()
    expect(page.locator(".assistant .prose").last).to_contain_text("Understood: Well")
    go(page, page.locator("#stop"))
    page.keyboard.press("Enter")
    expect(box(page)).to_be_focused()
    wait_until_idle(page)


def test_files_are_attached_and_removed(chat: Page) -> None:
    page = chat
    # With a listener from the beginning, the browser never opens a chooser of its own.
    page.on("filechooser", lambda _: None)
    box(page).focus()
    back(page, page.locator("#attach"))
    with page.expect_file_chooser() as choosing:
        page.keyboard.press("Enter")
    choosing.value.set_files([NOTE])
    expect(box(page)).to_be_focused()
    back(page, button(page, "Remove note.txt"))
    page.keyboard.press("Space")
    expect(page.locator(".chip")).to_have_count(0)
    expect(box(page)).to_be_focused()


def test_an_upload_that_is_tried_again_keeps_the_focus(chat: Page) -> None:
    page = chat
    page.route("**/files/*", lambda route: route.abort())
    page.set_input_files("#picker", [NOTE])
    box(page).focus()
    back(page, button(page, "Try again"))
    page.unroute("**/files/*")
    page.keyboard.press("Enter")
    expect(button(page, "Remove note.txt")).to_be_focused()
    expect(page.locator(".chip-about")).to_have_text("1.5 kB")


def test_the_agent_is_chosen_with_the_arrows(chat: Page) -> None:
    page = chat
    box(page).focus()
    picker = page.get_by_role("combobox", name="Agent")
    back(page, picker)
    page.keyboard.press("ArrowDown")
    expect(picker).to_have_value("busy")
    expect(picker).to_be_focused()
    go(page, box(page))
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .prose")).to_contain_text("Busy with hello")


def test_suggestions_are_chosen_and_left_in_the_message_box(chat: Page) -> None:
    page = chat
    box(page).focus()
    options = page.locator("#palette [role=option]")
    page.keyboard.type("@b")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(box(page)).to_have_attribute("aria-activedescendant", "command-1")
    page.keyboard.press("Tab")
    expect(box(page)).to_have_value("@busybody ")
    expect(box(page)).to_be_focused()
    box(page).fill("")
    page.keyboard.type("/")
    expect(options.first).to_be_visible()
    page.keyboard.press("Escape")
    expect(options).to_have_count(0)
    page.keyboard.type("who")
    page.keyboard.press("Enter")
    expect(page.locator(".command-name")).to_have_text("/whoami")
    expect(box(page)).to_be_focused()


def test_waiting_messages_are_edited_moved_and_taken_back(chat: Page) -> None:
    page = chat
    begin(page)
    for text in ("one", "two", "three"):
        send(page, text)
    expect(waiting(page)).to_have_count(3)
    back(page, button(page, "Edit: two"))
    page.keyboard.press("Enter")
    field = page.get_by_role("textbox", name="Queued message")
    expect(field).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.type("!")
    go(page, button(page, "Save"))
    page.keyboard.press("Space")
    expect(button(page, "Edit: two!")).to_be_focused()
    go(page, button(page, "Move to front: three"))
    page.keyboard.press("Space")
    expect(waiting(page)).to_have_text(["three", "one", "two!"])
    expect(button(page, "Edit: three")).to_be_focused()
    box(page).fill("a draft")
    back(page, button(page, "Take back: two!"))
    page.keyboard.press("Enter")
    expect(waiting(page)).to_have_text(["three", "one"])
    expect(box(page)).to_be_focused()


def test_the_focus_leaves_a_waiting_message_whose_answer_begins(chat: Page) -> None:
    page = chat
    begin(page)
    send(page, "one")
    back(page, button(page, "Take back: one"))
    page.keyboard.press("Escape")
    expect(page.locator("#queue")).to_be_hidden()
    expect(box(page)).to_be_focused()


def test_earlier_messages_are_loaded_and_the_latest_is_found(open_page: OpenPage) -> None:
    page = open_page()
    for number in range(12):
        say(page, f"message {number}")
    page.reload()
    earlier = page.locator("#earlier")
    bubbles = page.locator(".user .bubble")
    expect(bubbles.last).to_have_text("message 11")
    box(page).focus()
    back(page, earlier)
    while earlier.is_visible():
        shown = bubbles.count()
        page.keyboard.press("Enter")
        expect(bubbles).not_to_have_count(shown)
        expect(page.locator("#earlier:focus, #transcript:focus")).to_have_count(1)
    expect(page.locator("#transcript")).to_be_focused()
    page.locator("#scroller").evaluate("one => one.scrollTo(0, 0)")
    box(page).focus()
    back(page, page.locator("#jump"))
    page.keyboard.press("Enter")
    expect(page.locator("#jump")).to_be_hidden()
    expect_place(page, ".assistant:last-child")


def test_a_failed_message_is_tried_again_or_discarded(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "break")
    back(page, button(page, "Try again"))
    page.keyboard.press("Enter")
    expect(page.locator(".user .bubble")).to_have_text(["break"] * 2)
    expect_place(page, "#transcript > *")
    send(page, "/nonsense")
    back(page, button(page, "Discard"))
    page.keyboard.press("Enter")
    expect(page.locator(".user .bubble")).to_have_text(["break"] * 2)
    expect_place(page, "#transcript > *")


def test_the_connection_is_tried_now(open_page: OpenPage, context: BrowserContext) -> None:
    page = open_page()
    context.set_offline(True)
    pill = page.locator("#connection")
    expect(pill).to_have_attribute("data-state", "offline")
    box(page).focus()
    back(page, pill)
    context.set_offline(False)
    expect(pill).to_have_attribute("data-state", "open")
    expect(box(page)).to_be_focused()


def test_a_photo_is_taken_on_a_touch_screen(chat: Page, browser: Browser) -> None:
    with closing(browser.new_context(has_touch=True, is_mobile=True)) as phone:
        page = phone.new_page()
        page.on("filechooser", lambda _: None)
        page.goto(chat.url)
        expect(page.locator("#connection")).to_have_attribute("data-state", "open")
        box(page).focus()
        back(page, button(page, "Take a photo"))
        with page.expect_file_chooser() as choosing:
            page.keyboard.press("Enter")
        choosing.value.set_files([PICTURE])
        expect(page.locator(".chip-name")).to_have_text("dot.png")
        expect(box(page)).to_be_focused()


def test_a_key_is_entered_in_the_banner(browser: Browser, locked_server: Server) -> None:
    with closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(locked_server.url)
        field = page.get_by_label("Access key")
        for key in ("wrong", "sesame"):
            expect(field).to_be_focused()
            page.keyboard.type(key)
            go(page, button(page, "Sign in"))
            page.keyboard.press("Space")
            if key == "wrong":
                expect(page.locator("#banner")).to_contain_text("refused this access key")
        expect(page.locator("#banner")).to_be_hidden()
        expect(box(page)).to_be_focused()


def test_a_chat_that_is_refused_is_tried_again_or_left(open_page: OpenPage) -> None:
    page = open_page()
    page.goto(f"{page.url.partition('?')[0]}?session=short")
    banner = page.locator("#banner")
    expect(banner).to_contain_text("its address is not valid")
    box(page).focus()
    back(page, button(page, "Try again"))
    page.keyboard.press("Enter")
    expect(banner).to_contain_text("its address is not valid")
    box(page).focus()
    back(page, banner.get_by_role("button", name="New chat"))
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")
    expect(banner).to_be_hidden()
    expect(box(page)).to_be_focused()
