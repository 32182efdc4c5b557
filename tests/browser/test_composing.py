"""What a person composes: the message box, and the messages that wait while an answer runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import processes

from .talking import OpenPage, send

pytestmark = pytest.mark.timeout(120)

HERE = Path(__file__).parent


@pytest.fixture
def chat(open_page: OpenPage, tmp_path: Path) -> Iterator[Page]:
    output_file = tmp_path / "composing.txt"
    program = ("serve_composing.py", "{port}")
    with processes.Server(*program, folder=HERE, output_file=output_file) as server:
        yield open_page(f"http://{server.host}/")


def begin(page: Page, text: str = "go") -> None:
    """Makes the agent write until it is stopped."""
    send(page, text)
    expect(page.locator(".assistant .prose").last).to_contain_text("on on")


def stop(page: Page) -> None:
    page.locator("#composer-input").press("Escape")


def waiting(page: Page) -> Locator:
    return page.locator("#queue .queued-text")


def button(page: Page, label: str, text: str) -> Locator:
    return page.get_by_role("button", name=f"{label}: {text}", exact=True)


def test_a_waiting_message_is_edited_in_place(chat: Page) -> None:
    begin(chat)
    for text in ("one", "two"):
        send(chat, text)
    button(chat, "Edit", "one").click()
    box = chat.get_by_role("textbox", name="Queued message")
    expect(box).to_be_focused()
    box.fill("")
    box.press("Enter")
    box.fill("first")
    box.press("Enter")
    expect(waiting(chat)).to_have_text(["first", "two"])
    expect(button(chat, "Edit", "first")).to_be_focused()
    stop(chat)
    expect(chat.locator(".assistant strong")).to_have_text(["go", "first", "two"])
    expect(chat.locator("#queue")).to_be_hidden()


def test_escape_ends_the_editing_and_not_the_run(chat: Page) -> None:
    begin(chat)
    send(chat, "one")
    button(chat, "Edit", "one").click()
    box = chat.get_by_role("textbox", name="Queued message")
    box.fill("another")
    box.press("Escape")
    expect(waiting(chat)).to_have_text(["one"])
    expect(chat.locator("#stop")).to_be_visible()
    expect(chat.locator(".aside")).to_have_count(0)


def test_what_was_written_for_a_message_that_runs_by_now_is_kept(chat: Page) -> None:
    begin(chat)
    send(chat, "one")
    send(chat, "two")
    button(chat, "Edit", "two").click()
    chat.get_by_role("textbox", name="Queued message").fill("two, but better")
    chat.fill("#composer-input", "a draft")
    stop(chat)
    expect(chat.locator(".assistant strong")).to_have_text(["go", "one", "two"])
    expect(chat.locator("#composer-input")).to_have_value("a draft\n\ntwo, but better")


def test_a_waiting_message_is_moved_to_the_front(chat: Page) -> None:
    begin(chat)
    for text in ("one", "two", "three"):
        send(chat, text)
    expect(button(chat, "Move to front", "one")).to_be_hidden()
    button(chat, "Move to front", "three").press("Enter")
    expect(waiting(chat)).to_have_text(["three", "one", "two"])
    expect(button(chat, "Edit", "three")).to_be_focused()
    stop(chat)
    expect(chat.locator(".assistant strong")).to_have_text(["go", "three", "one", "two"])


@pytest.mark.parametrize("how", ["button", "key"])
def test_a_message_is_sent_into_the_run(chat: Page, how: str) -> None:
    expect(chat.locator("#send-now")).to_be_hidden()
    begin(chat)
    chat.fill("#composer-input", "halt")
    if how == "button":
        chat.click("#send-now")
    else:
        chat.keyboard.press("Control+Enter")
    expect(chat.locator(".assistant .prose").last).to_contain_text("Understood: halt")
    expect(chat.locator(".user .bubble")).to_have_text(["go", "halt"])
    expect(chat.locator("#transcript")).to_have_attribute("aria-busy", "false")
    expect(chat.locator("#composer-input")).to_have_value("")


def test_a_message_that_the_run_may_take_can_only_be_taken_back(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "count 400")
    expect(page.locator(".assistant .prose")).to_contain_text("n2 ")
    send(page, "later")
    page.fill("#composer-input", "soon")
    page.click("#send-now")
    expect(waiting(page)).to_have_text(["soon", "later"])
    row = page.locator(".queued").first
    expect(row.locator(".note")).to_have_text("Will be read at the next step")
    expect(row.get_by_role("button")).to_have_text(["Take back"])
    button(page, "Take back", "soon").click()
    expect(waiting(page)).to_have_text(["later"])
    expect(page.locator("#composer-input")).to_have_value("soon")


def test_a_message_that_an_agent_does_not_take_is_not_lost(chat: Page) -> None:
    begin(chat, "@busy go")
    chat.fill("#composer-input", "@busy wait, stop")
    chat.click("#send-now")
    error = chat.locator(".error")
    expect(error).to_contain_text("does not allow")
    expect(chat.locator(".user .bubble").last).to_have_text("@busy wait, stop")
    chat.fill("#composer-input", "next")
    expect(chat.locator("#send-now")).to_be_hidden()
    error.get_by_role("button", name="Try again").click()
    expect(waiting(chat)).to_have_text(["@busy wait, stop"])
