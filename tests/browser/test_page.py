"""The chat page in a real browser, with network failures, restarts and several tabs."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from .talking import (
    OpenPage,
    answer,
    say,
    seeing,
    send,
    wait_for_connection,
    wait_for_words,
    wait_until_idle,
)

if TYPE_CHECKING:
    from .conftest import Server

pytestmark = pytest.mark.timeout(120)

COUNT = 60
WHOLE = " ".join(f"n{number}" for number in range(1, COUNT + 1))
PARTLY_WITH_STOP = f"""
  / n3 (?!.*n{COUNT})/.test(document.querySelector('.assistant .prose')?.textContent)
  && document.querySelector('#stop').offsetParent
"""
"""Deltas are shown as they arrive, and the run can be stopped."""


def test_an_answer_streams_in_as_markdown(open_page: OpenPage) -> None:
    page = open_page()
    with seeing(page, PARTLY_WITH_STOP):
        send(page, f"count {COUNT}")
    wait_until_idle(page)
    assert answer(page) == WHOLE
    expect(page.locator("#announcer")).to_contain_text(f"n{COUNT}")

    send(page, "hello")
    expect(page.locator(".assistant strong")).to_have_text("hello")
    expect(page.locator(".user .bubble")).to_have_text([f"count {COUNT}", "hello"])


def test_a_streaming_answer_is_appended_to_without_removing_elements(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "count 20")
    wait_for_words(page, "n2 ")
    page.evaluate(
        """() => {
          window.removed = 0;
          new MutationObserver((records) => {
            for (const { removedNodes } of records) window.removed += removedNodes.length;
          }).observe(document.querySelector('.assistant .prose'), {
            childList: true, subtree: true,
          });
        }"""
    )
    wait_until_idle(page)
    assert page.evaluate("window.removed") == 0


def test_an_answer_is_followed_until_its_reader_scrolls_up_a_little(open_page: OpenPage) -> None:
    page = open_page()
    say(page, "fill 60")
    jump, second = page.locator("#jump"), page.locator(".assistant .prose").nth(1)
    send(page, "count 60")
    expect(second).to_contain_text("n3")
    page.locator("#scroller").hover()
    page.mouse.wheel(0, -20)
    expect(jump).to_be_visible()
    expect(second).to_contain_text("n60")
    expect(jump).to_be_visible()
    page.mouse.wheel(0, 10_000)
    expect(jump).to_be_hidden()


def test_a_reload_during_a_run_continues_the_answer(open_page: OpenPage) -> None:
    page = open_page()
    send(page, f"count {COUNT}")
    wait_for_words(page, "n5 ")
    page.reload()
    wait_for_words(page, "n5 ")
    wait_until_idle(page)
    assert answer(page) == WHOLE
    expect(page.locator(".user .bubble")).to_have_text(f"count {COUNT}")


@pytest.mark.parametrize("how", ["button", "key"])
def test_a_stopped_run_keeps_its_partial_answer(open_page: OpenPage, how: str) -> None:
    page = open_page()
    send(page, "count 400")
    wait_for_words(page, "n3 ")
    if how == "button":
        page.click("#stop")
    else:
        page.keyboard.press("Escape")
    expect(page.locator(".aside")).to_have_text("Stopped")
    wait_until_idle(page)
    said = answer(page)
    assert said.startswith("n1 n2 n3") and "n400" not in said
    page.reload()
    expect(page.locator(".aside")).to_have_text("Stopped")
    expect(page.locator(".assistant .prose").last).to_have_text(said)


def test_a_message_written_offline_is_sent_when_the_network_is_back(
    open_page: OpenPage, context: BrowserContext
) -> None:
    page = open_page()
    send(page, f"count {COUNT}")
    wait_for_words(page, "n3 ")
    context.set_offline(True)
    wait_for_connection(page, "offline")
    send(page, "written without a network")
    expect(page.locator(".user").last).to_have_attribute("data-status", "sending")
    context.set_offline(False)
    wait_for_connection(page, "open")
    expect(page.locator(".assistant strong")).to_have_text("written without a network")
    wait_until_idle(page)
    assert page.locator(".assistant .prose").first.inner_text().strip() == WHOLE
    expect(page.locator(".user .bubble")).to_have_text(
        [f"count {COUNT}", "written without a network"]
    )


def test_a_message_written_offline_can_be_withdrawn(
    open_page: OpenPage, context: BrowserContext
) -> None:
    page = open_page()
    context.set_offline(True)
    wait_for_connection(page, "offline")
    send(page, "first")
    send(page, "second")
    page.locator(".user .link").last.click()
    expect(page.locator(".user .bubble")).to_have_text(["first"])
    expect(page.locator("#composer-input")).to_have_value("second")
    context.set_offline(False)
    expect(page.locator(".assistant strong")).to_have_text(["first"])


def test_two_tabs_show_the_same(open_page: OpenPage) -> None:
    first = open_page()
    second = open_page(first.url)
    send(first, "count 20")
    wait_for_words(second, "n3 ")
    send(second, "and from here")
    for page in (first, second):
        expect(page.locator(".assistant strong")).to_have_text("and from here")
        wait_until_idle(page)
    assert first.inner_text("#transcript") == second.inner_text("#transcript")


def test_a_queued_message_is_shown_and_can_be_withdrawn(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "count 400")
    wait_for_words(page, "n2 ")
    send(page, "one")
    send(page, "two")
    expect(page.locator(".queued-text")).to_have_text(["one", "two"])
    page.locator(".queued .link").last.click()
    expect(page.locator(".queued-text")).to_have_text(["one"])
    expect(page.locator("#composer-input")).to_have_value("two")
    page.fill("#composer-input", "")
    page.keyboard.press("Escape")
    expect(page.locator(".assistant strong")).to_have_text("one")


def test_a_server_that_is_killed_during_a_run_leaves_an_error_and_a_working_page(
    open_tab: OpenPage, own_server: Server
) -> None:
    page = open_tab(own_server.url)
    send(page, "count 400")
    wait_for_words(page, "n5 ")
    own_server.kill()
    wait_for_connection(page, "reconnecting")
    shown = answer(page)
    own_server.start()
    wait_for_connection(page, "open")
    expect(page.locator(".error")).to_be_visible()
    wait_until_idle(page)
    assert answer(page).startswith(shown), "everything that was shown is still there"
    send(page, "still there?")
    expect(page.locator(".assistant strong")).to_have_text("still there?")


def test_a_message_written_during_a_restart_is_sent_after_the_reconnect(
    open_tab: OpenPage, own_server: Server
) -> None:
    page = open_tab(own_server.url)
    send(page, "hello")
    expect(page.locator(".assistant strong")).to_have_text("hello")
    own_server.stop()
    wait_for_connection(page, "reconnecting")
    send(page, "sent to nobody yet")
    own_server.start()
    expect(page.locator(".assistant strong")).to_have_text(["hello", "sent to nobody yet"])
    expect(page.locator(".user .bubble")).to_have_text(["hello", "sent to nobody yet"])


def test_a_conversation_that_the_server_lost_is_replaced_by_a_notice(
    open_tab: OpenPage, forgetful_server: Server
) -> None:
    page = open_tab(forgetful_server.url)
    send(page, "hello")
    expect(page.locator(".assistant strong")).to_have_text("hello")
    send(page, "/history")
    expect(page.locator(".command-text")).to_contain_text("hello")
    forgetful_server.kill()
    wait_for_connection(page, "reconnecting")
    forgetful_server.start()
    wait_for_connection(page, "open")
    expect(page.locator(".notice")).to_have_text(
        "The server no longer has the conversation that was shown here."
    )
    expect(page.locator("#transcript > *")).to_have_count(1)
    send(page, "again")
    expect(page.locator(".assistant strong")).to_have_text(["again"])
    expect(page.locator(".user .bubble")).to_have_text(["again"])
    page.reload()
    expect(page.locator(".assistant strong")).to_have_text(["again"])
    expect(page.locator(".notice")).to_have_count(0)


def test_an_error_is_shown_and_can_be_tried_again(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "fail")
    expect(page.locator(".error-text")).to_have_text("This was meant to fail.")
    assert answer(page) == "So far so good."
    page.click(".error .button")
    expect(page.locator(".error-text")).to_have_text(["This was meant to fail."] * 2)
    page.reload()
    expect(page.locator(".error-text")).to_have_text(["This was meant to fail."] * 2)


def test_an_error_before_the_first_word_can_be_tried_again_after_a_reload(
    open_page: OpenPage,
) -> None:
    page = open_page()
    send(page, "break")
    expect(page.locator(".error-text")).to_have_text("Nothing came of it.")
    page.reload()
    expect(page.locator(".error-text")).to_have_text("Nothing came of it.")
    expect(page.locator(".error .quiet")).to_be_hidden()
    page.click(".error .button")
    expect(page.locator(".user .bubble")).to_have_text(["break"] * 2)
    expect(page.locator(".error-text")).to_have_text(["Nothing came of it."] * 2)


def test_the_answer_to_a_clear_command_is_shown(open_page: OpenPage) -> None:
    page = open_page()
    say(page, "hello")
    send(page, "/clear")
    expect(page.locator(".command .command-name")).to_have_text("/clear")
    expect(page.locator(".user")).to_have_count(0)


def test_an_interrupt_answered_in_one_tab_is_answered_in_all(open_page: OpenPage) -> None:
    first = open_page()
    second = open_page(first.url)
    send(first, "ask")
    for page in (first, second):
        expect(page.locator(".question p")).to_have_text("Delete everything?")
    second.click(".question >> text=Approve")
    for page in (first, second):
        expect(page.locator(".assistant strong")).to_have_text("True")
        expect(page.locator(".question")).to_have_count(0)
        expect(page.locator(".user .bubble")).to_have_text(["ask"])


def test_a_slash_lists_the_commands(open_page: OpenPage) -> None:
    page = open_page()
    page.focus("#composer-input")
    page.keyboard.type("/")
    options = page.locator("#palette [role=option]")
    expect(options.filter(has_text="/help")).to_be_visible()
    expect(page.locator(".command")).to_have_count(0)
    page.keyboard.type("who")
    expect(options).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".command .command-name")).to_have_text("/whoami")
    expect(page.locator("#palette")).to_be_hidden()
    expect(page.locator(".user")).to_have_count(0)


def test_a_refused_command_can_be_tried_again_or_discarded(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "/nonsense")
    for button in (".button", ".quiet"):
        expect(page.locator(".error")).to_be_visible()
        expect(page.locator(".user .bubble")).to_have_text(["/nonsense"])
        page.locator(f".error {button}").first.click()
    expect(page.locator(".user")).to_have_count(0)


def test_chats_are_separate_and_listed_in_the_sidebar(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "first chat")
    expect(page.locator(".assistant strong")).to_have_text("first chat")
    page.click("#new-chat-small")
    expect(page.locator(".empty")).to_be_visible()
    wait_for_connection(page, "open")
    send(page, "second chat")
    expect(page.locator(".assistant strong")).to_have_text("second chat")
    page.click("#sidebar-open")
    expect(page.locator("#sessions a")).to_have_text(["second chat", "first chat"])
    page.click("#sessions a >> nth=1")
    expect(page.locator(".assistant strong")).to_have_text("first chat")
    page.go_back()
    expect(page.locator(".assistant strong")).to_have_text("second chat")


def test_an_unsafe_address_in_an_answer_is_not_a_link(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "[a](javascript:alert(1)) [b](https://example.com/) ![c](https://example.com/c.png)")
    links = page.locator(".assistant .prose a")
    expect(links).to_have_count(3)
    assert links.nth(0).get_attribute("href") is None
    assert links.nth(0).get_attribute("title") == "javascript:alert(1)"
    assert links.nth(1).get_attribute("href") == "https://example.com/"
    assert links.nth(1).get_attribute("rel") == "noopener noreferrer"
    expect(page.locator(".assistant img")).to_have_count(0)


def test_a_message_is_sent_as_it_was_written(open_page: OpenPage) -> None:
    page = open_page()
    said = "    if x:\n        y  y"
    say(page, f"\n{said}\n")
    assert page.locator(".user .bubble").text_content() == said
    expect(page.locator("#title")).to_have_text("if x:")


def test_the_message_box_works_with_the_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.type("h")
    expect(page.locator("#composer-input")).to_be_focused()
    page.keyboard.type("i")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("there")
    expect(page.locator("#composer-input")).to_have_value(re.compile("hi\nthere"))
    page.keyboard.press("Enter")
    expect(page.locator("#composer-input")).to_have_value("")
    expect(page.locator(".assistant strong")).to_be_visible()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#composer-input")).to_have_value("hi\nthere")


def test_a_narrow_page_does_not_scroll_sideways(open_page: OpenPage) -> None:
    page = open_page()
    page.set_viewport_size({"width": 360, "height": 640})
    send(page, "x" * 300)
    expect(page.locator(".assistant strong")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('#scroller').scrollWidth") <= 360
    box = page.locator("#composer").bounding_box()
    assert box is not None and box["y"] + box["height"] <= 640


def test_a_server_with_authentication_asks_for_a_key_and_lists_the_chats(
    browser: Browser, locked_server: Server
) -> None:
    with closing(browser.new_context()) as first:
        page = first.new_page()
        page.goto(locked_server.url)
        for key in ("wrong", "sesame"):
            page.fill("#banner input", key)
            page.keyboard.press("Enter")
            wait_for_connection(page, "open" if key == "sesame" else "closed")
            if key == "wrong":
                expect(page.locator("#banner")).to_contain_text("refused this access key")
        expect(page.locator("#banner")).to_be_hidden()
        say(page, "remember me")
    with closing(browser.new_context()) as second:
        page = second.new_page()
        page.goto(locked_server.url)
        page.fill("#banner input", "sesame")
        page.keyboard.press("Enter")
        wait_for_connection(page, "open")
        page.click("#sidebar-open")
        page.click("#sessions a >> text=remember me")
        expect(page.locator(".assistant strong")).to_have_text("remember me")
