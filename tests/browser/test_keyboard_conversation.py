"""A conversation by keyboard alone: questions, approvals, branches, what is unfolded or copied."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .keyboard import back, box, button, expect_place, expect_ring, go
from .talking import COPIED, say, seeing, send, wait_until_idle

pytestmark = pytest.mark.timeout(120)


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
    expect(clerk.locator(".assistant strong")).to_have_text(["three"])
    expect_place(clerk, ".user")
    wait_until_idle(clerk)
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
    wait_until_idle(clerk)
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


def test_reasoning_is_unfolded_and_folded(clerk: Page) -> None:
    say(clerk, "reason")
    summary = clerk.locator(".thought summary")
    back(clerk, summary)
    for is_open in (True, False):
        clerk.keyboard.press("Enter" if is_open else "Space")
        expect(clerk.locator(".thought .prose")).to_be_visible(visible=is_open)
        expect(summary).to_be_focused()
    go(clerk, box(clerk))


@pytest.mark.parametrize("allowed", [True, False])
def test_an_answer_and_its_code_are_copied(
    clerk: Page, context: BrowserContext, allowed: bool
) -> None:
    """Also where the page may not use the clipboard, and copies what it selects."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    if not allowed:
        clerk.evaluate(
            "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
        )
    say(clerk, "reason")
    for name, text in [("Copy the answer", "Here is code"), ("Copy the code", "ls -l")]:
        copy = button(clerk, name)
        back(clerk, copy)
        with seeing(clerk, COPIED):
            clerk.keyboard.press("Enter")
        expect(copy).to_be_focused()
        expect_ring(clerk)
        assert text in clerk.evaluate("navigator.clipboard.readText()")
