"""Branches on the page: edit, answer again, and the arrows between versions."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .talking import OpenPage, say, send
from .test_questions import press, server  # noqa: F401

pytestmark = pytest.mark.timeout(120)


def expect_shown(page: Page, texts: list[str]) -> None:
    expect(page.locator(".bubble, .prose")).to_have_text(texts)


def edit_first(page: Page, text: str) -> None:
    page.locator(".user").first.hover()
    page.get_by_role("button", name="Edit the message").first.click()
    box = page.get_by_role("textbox", name="Edit the message")
    expect(box).to_be_focused()
    box.fill(text)


def test_a_message_is_edited_and_the_arrows_go_between_its_versions(open_page: OpenPage) -> None:
    page = open_page()
    say(page, "one")
    say(page, "two")
    edit_first(page, "<b>three</b>")
    page.keyboard.press("Enter")
    expect(page.locator(".versions-count:visible")).to_have_text("2 / 2")
    third = ["<b>three</b>", "Answer to <b>three</b>, message 1."]
    expect(page.locator(".assistant .prose")).to_contain_text("three")
    expect(page.locator(".user")).to_have_count(1)
    expect_shown(page, third)
    other = open_page(page.url)
    press(page, "Previous version")
    first = ["one", "Answer to one, message 1.", "two", "Answer to two, message 2."]
    for tab in (page, other):
        expect(tab.locator(".versions-count:visible")).to_have_text("1 / 2")
        expect(tab.locator(".user")).to_have_count(2)
        expect_shown(tab, first)
    expect(page.get_by_role("button", name="Previous version")).to_be_disabled()
    page.reload()
    expect(page.locator(".versions-count:visible")).to_have_text("1 / 2")
    press(page, "Next version")
    expect(page.locator(".user")).to_have_count(1)
    expect_shown(page, third)


def test_an_edit_is_left_with_escape(open_page: OpenPage) -> None:
    page = open_page()
    say(page, "one")
    edit_first(page, "other")
    page.keyboard.press("Escape")
    expect(page.get_by_role("textbox", name="Edit the message")).to_have_count(0)
    expect_shown(page, ["one", "Answer to one, message 1."])


def test_the_last_answer_is_made_again(open_page: OpenPage) -> None:
    page = open_page()
    say(page, "one")
    say(page, "two")
    expect(page.get_by_role("button", name="Answer again")).to_have_count(1)
    press(page, "Answer again")
    expect(page.locator(".versions-count:visible")).to_have_text("2 / 2")
    expect(page.locator(".user .bubble")).to_have_text(["one", "two"])
    expect(page.locator(".assistant")).to_have_count(2)


def test_nothing_branches_while_an_answer_is_written(open_page: OpenPage) -> None:
    page = open_page()
    say(page, "one")
    send(page, "pack 600")
    expect(page.locator(".card-state")).to_have_text("Running")
    expect(page.get_by_role("button", name="Edit the message")).to_have_count(0)
    expect(page.get_by_role("button", name="Answer again")).to_have_count(0)
    page.click("#stop")
    expect(page.get_by_role("button", name="Edit the message")).to_have_count(2)


def test_a_refused_edit_keeps_its_text_and_says_why(open_page: OpenPage) -> None:
    page = open_page()
    shown = page.evaluate(
        """async () => {
          const { versions } = await import('/web/page/branches.js');
          const edit = () => Promise.reject({ message: 'No.', expected: 'another one' });
          const { foot, place, update } = versions(document.createElement('p'), { edit });
          document.body.append(foot, place);
          update({ id: 'u1', text: 'one' }, true);
          foot.querySelector('[title^=Edit]').click();
          place.querySelector('textarea').value = 'two';
          place.querySelector('[type=submit]').click();
          await new Promise((resolve) => setTimeout(resolve));
          return [
            place.querySelector('.problem').textContent,
            place.querySelector('textarea').value,
            place.querySelector('[type=submit]').disabled,
          ];
        }"""
    )
    assert shown == ["No. Expected: another one.", "two", False]
