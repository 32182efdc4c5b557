"""The page by keyboard alone: each control is reached, shows the focus, and leaves it somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests import processes

from .talking import OpenPage, send
from .test_composing import NOTE, begin, chat, waiting  # noqa: F401

pytestmark = pytest.mark.timeout(120)
HERE = Path(__file__).parent
STOPS = 60
RINGED = """() => {
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(document.activeElement);
  const ringed = (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
  return ringed || document.activeElement.id === 'composer-input';
}"""


@pytest.fixture
def clerk(open_page: OpenPage, tmp_path: Path) -> Iterator[Page]:
    database, output_file = str(tmp_path / "clerk.sqlite3"), tmp_path / "clerk.txt"
    program = ("serve_clerk.py", "{port}", database)
    with processes.Server(*program, folder=HERE, output_file=output_file) as server:
        yield open_page(f"http://{server.host}/")


def box(page: Page) -> Locator:
    return page.locator("#composer-input")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def go(page: Page, target: Locator, key: str = "Tab") -> None:
    """Presses Tab or Shift+Tab until ``target`` has the focus, and expects to see that."""
    expect(target).to_be_visible()
    for _ in range(STOPS):
        page.keyboard.press(key)
        if target.evaluate("one => one === document.activeElement"):
            expect_ring(page)
            return
    raise AssertionError(f"{key} does not reach {target}")


def back(page: Page, target: Locator) -> None:
    go(page, target, "Shift+Tab")


def expect_ring(page: Page) -> None:
    assert page.evaluate(RINGED), page.evaluate("document.activeElement.outerHTML")


def expect_place(page: Page, selector: str) -> None:
    """Expects the focus at an element of the conversation, where it is seen."""
    expect(page.locator(f"{selector}:focus")).to_have_count(1)
    expect_ring(page)


def idle(page: Page) -> None:
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "false")


def say(page: Page, text: str) -> None:
    send(page, text)
    expect(page.locator(".assistant .prose").last).to_contain_text(text)
    idle(page)


def test_the_first_stop_skips_to_the_message_box(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(box(page)).to_be_focused()


def test_a_message_is_sent_and_its_answer_stopped_by_their_buttons(chat: Page) -> None:  # noqa: F811
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
    idle(page)


def test_files_are_attached_and_removed(chat: Page) -> None:  # noqa: F811
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


def test_an_upload_that_is_tried_again_keeps_the_focus(chat: Page) -> None:  # noqa: F811
    page = chat
    page.route("**/files/*", lambda route: route.abort())
    page.set_input_files("#picker", [NOTE])
    box(page).focus()
    back(page, button(page, "Try again"))
    page.unroute("**/files/*")
    page.keyboard.press("Enter")
    expect(button(page, "Remove note.txt")).to_be_focused()
    expect(page.locator(".chip-about")).to_have_text("1.5 kB")


def test_the_agent_is_chosen_with_the_arrows(chat: Page) -> None:  # noqa: F811
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


def test_suggestions_are_chosen_and_left_in_the_message_box(chat: Page) -> None:  # noqa: F811
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


def test_waiting_messages_are_edited_moved_and_taken_back(chat: Page) -> None:  # noqa: F811
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


def test_the_focus_leaves_a_waiting_message_whose_answer_begins(chat: Page) -> None:  # noqa: F811
    page = chat
    begin(page)
    send(page, "one")
    back(page, button(page, "Take back: one"))
    page.keyboard.press("Escape")
    expect(page.locator("#queue")).to_be_hidden()
    expect(box(page)).to_be_focused()


def test_a_question_is_answered_by_a_choice(clerk: Page) -> None:
    send(clerk, "size")
    back(clerk, button(clerk, "small"))
    clerk.keyboard.press("Space")
    expect(clerk.locator(".answered")).to_contain_text("small")
    expect_place(clerk, "#transcript > *")
    clerk.keyboard.type("x")
    expect(box(clerk)).to_be_focused()
    expect(box(clerk)).to_have_value("x")


def test_a_question_is_declined(clerk: Page) -> None:
    send(clerk, "size")
    back(clerk, button(clerk, "Decline"))
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".answered")).to_contain_text("Declined")
    expect_place(clerk, "#transcript > *")


def test_a_form_is_filled_in(clerk: Page) -> None:
    send(clerk, "trip")
    form = clerk.locator(".question form")
    back(clerk, form.get_by_label("city"))
    clerk.keyboard.type("Oslo")
    go(clerk, form.get_by_label("nights"))
    clerk.keyboard.type("2")
    go(clerk, form.get_by_label("class"))
    clerk.keyboard.press("f")
    go(clerk, form.get_by_label("pets"))
    clerk.keyboard.press("Space")
    go(clerk, button(clerk, "Answer"))
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".assistant .prose")).to_contain_text('"class":"first"')
    expect(clerk.locator(".assistant .prose")).to_contain_text('"pets":true')
    expect_place(clerk, "#transcript > *")


def test_a_refused_answer_keeps_the_focus(clerk: Page) -> None:
    send(clerk, "list")
    field = clerk.get_by_role("textbox", name="Your answer, as JSON")
    back(clerk, field)
    clerk.keyboard.type("[1, 2")
    go(clerk, button(clerk, "Answer"))
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".problem:visible")).to_contain_text("This is not JSON")
    expect(button(clerk, "Answer")).to_be_focused()
    back(clerk, field)
    clerk.keyboard.press("End")
    clerk.keyboard.type("]")
    go(clerk, button(clerk, "Answer"))
    clerk.keyboard.press("Space")
    expect(clerk.locator(".assistant .prose")).to_contain_text("Sum 3.")
    expect_place(clerk, "#transcript > *")


def test_a_call_is_approved(clerk: Page) -> None:
    send(clerk, "refund o1")
    back(clerk, button(clerk, "Approve"))
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".tool .answered-by")).to_have_text("Approved")
    expect_place(clerk, ".tool summary")


def test_a_call_is_denied_with_a_reason(clerk: Page) -> None:
    send(clerk, "refund o1")
    back(clerk, button(clerk, "Deny"))
    clerk.keyboard.press("Space")
    expect(clerk.get_by_role("textbox", name="Reason, optional")).to_be_focused()
    go(clerk, button(clerk, "Back"))
    clerk.keyboard.press("Enter")
    expect(button(clerk, "Approve")).to_be_focused()
    go(clerk, button(clerk, "Deny"))
    clerk.keyboard.press("Enter")
    clerk.keyboard.type("too much")
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".card-state")).to_have_text("Denied")
    expect_place(clerk, ".tool summary")


def test_the_arguments_of_a_call_are_edited(clerk: Page) -> None:
    send(clerk, "refund o1")
    back(clerk, button(clerk, "Edit"))
    clerk.keyboard.press("Enter")
    expect(clerk.get_by_role("textbox", name="Arguments, as JSON")).to_be_focused()
    clerk.keyboard.press("Control+a")
    clerk.keyboard.type('{"order": "o2", "number": 1}')
    go(clerk, button(clerk, "Approve with these"))
    clerk.keyboard.press("Space")
    expect(clerk.locator(".assistant .prose").last).to_contain_text("refunded o2 1")
    expect_place(clerk, ".tool summary")


def test_an_own_message_is_edited_and_the_arrows_go_between_the_branches(clerk: Page) -> None:
    say(clerk, "one")
    say(clerk, "two")
    pencil = button(clerk, "Edit the message").first
    back(clerk, pencil)
    clerk.keyboard.press("Enter")
    clerk.keyboard.press("Escape")
    expect(pencil).to_be_focused()
    clerk.keyboard.press("Enter")
    expect(clerk.get_by_role("textbox", name="Edit the message")).to_be_focused()
    clerk.keyboard.press("Control+a")
    clerk.keyboard.type("three")
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".user .bubble")).to_have_text(["three"])
    expect_place(clerk, ".user")
    idle(clerk)
    go(clerk, button(clerk, "Previous version"))
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".user .bubble")).to_have_text(["one", "two"])
    expect(button(clerk, "Next version")).to_be_focused()
    expect_ring(clerk)
    clerk.keyboard.press("Space")
    expect(clerk.locator(".user .bubble")).to_have_text(["three"])
    expect(button(clerk, "Previous version")).to_be_focused()


def test_an_answer_is_made_again_and_keeps_the_place(clerk: Page) -> None:
    say(clerk, "one")
    back(clerk, button(clerk, "Answer again"))
    clerk.keyboard.press("Enter")
    expect(clerk.locator(".versions-count:visible")).to_have_text("2 / 2")
    idle(clerk)
    expect_place(clerk, "#transcript > *")
    go(clerk, box(clerk))


def test_cards_sources_and_the_shared_state_are_opened(clerk: Page) -> None:
    send(clerk, "pack")
    expect(clerk.locator(".card-state")).to_contain_text("Done")
    summary = clerk.locator(".tool summary")
    back(clerk, summary)
    for is_open in (True, False):
        clerk.keyboard.press("Enter" if is_open else "Space")
        expect(clerk.locator(".tool pre").last).to_be_visible(visible=is_open)
        expect(summary).to_be_focused()
    send(clerk, "cite")
    back(clerk, clerk.get_by_role("link", name="<i>Report</i>"))
    send(clerk, "share milk")
    back(clerk, clerk.locator("#shared summary"))
    clerk.keyboard.press("Enter")
    expect(clerk.locator("#shared pre")).to_contain_text("milk")
    go(clerk, clerk.locator("#shared pre"))
    go(clerk, box(clerk))


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
