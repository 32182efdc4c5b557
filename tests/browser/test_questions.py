"""Questions on the page: choices, forms, JSON, approvals, and answers that are refused or late."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import processes

from .talking import OpenPage, send, wait_for_words

pytestmark = pytest.mark.timeout(120)
HERE = Path(__file__).parent


class Clerk(processes.Server):
    @property
    def url(self) -> str:
        return f"http://{self.host}/"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Clerk]:
    database = str(tmp_path / "sessions.sqlite3")
    output_file = tmp_path / "output.txt"
    with Clerk("serve_clerk.py", "{port}", database, folder=HERE, output_file=output_file) as one:
        yield one


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_choices_are_buttons_whose_text_is_escaped(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "size")
    expect(page.locator(".question p")).to_have_text("Which size?")
    expect(page.locator(".button.choice")).to_have_text(["small", "<b>large</b>"])
    press(page, "<b>large</b>")
    expect(page.locator(".question")).to_have_count(0)
    expect(page.locator(".answered")).to_have_text("Which size?Answered: <b>large</b>")
    expect(page.locator(".assistant .prose").last).to_be_visible()
    page.reload()
    expect(page.locator(".answered")).to_have_text("Which size?Answered: <b>large</b>")


def test_a_screen_reader_hears_the_question(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "size")
    expect(page.locator("#announcer")).to_have_text("Which size?")


def test_a_question_is_declined(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "size")
    press(page, "Decline")
    wait_for_words(page, "You declined.")
    expect(page.locator(".answered")).to_contain_text("Declined")


def test_a_question_survives_a_reload_and_is_answered_with_the_keyboard(
    open_page: OpenPage,
) -> None:
    page = open_page()
    send(page, "name")
    expect(page.locator(".question")).to_be_visible()
    page.reload()
    page.get_by_role("textbox", name="Your answer").fill("Ann")
    page.keyboard.press("Enter")
    wait_for_words(page, "Hello Ann.")


def test_an_object_with_simple_properties_is_a_form(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "trip")
    form = page.locator(".question form")
    form.get_by_label("city").fill("Oslo")
    form.get_by_label("nights").fill("31")
    press(page, "Answer")
    assert page.evaluate("document.querySelector('.question form :invalid').max") == "30"
    expect(page.locator(".question small")).to_have_text("At most 30.")
    form.get_by_label("nights").fill("2")
    form.get_by_label("class").select_option("first")
    form.get_by_label("pets").check()
    press(page, "Answer")
    wait_for_words(page, '{"city":"Oslo","nights":2,"class":"first","price":null,"pets":true}')


def test_a_schema_may_have_any_length(open_page: OpenPage) -> None:
    shown = open_page().evaluate(
        """async (lengths) => {
          const { formFor } = await import('/web/page/forms.js');
          return lengths.map((more) => {
            const { element, read } = formFor({ type: 'string', ...more }, 'Text');
            element.querySelector('input').value = 'four';
            return [read(), element.querySelector('input').maxLength];
          });
        }""",
        [
            {"maxLength": 5},
            {"maxLength": 2**32 - 1},
            {"minLength": 2**31},
            {"minLength": 9, "maxLength": 3},
            {"maxLength": None},
            {"maxLength": "a"},
        ],
    )
    assert shown == [["four", 5], *[["four", -1]] * 2, ["four", 3], *[["four", -1]] * 2]


def test_any_other_schema_is_a_box_for_json(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "list")
    box = page.get_by_role("textbox", name="Your answer, as JSON")
    box.fill("[1, 2")
    press(page, "Answer")
    expect(page.locator(".answer .problem")).to_contain_text("This is not JSON")
    box.fill('["one"]')
    press(page, "Answer")
    expect(page.locator(".question p")).to_contain_text("The answer does not fit")
    page.get_by_role("textbox", name="Your answer, as JSON").fill("[1, 2]")
    press(page, "Answer")
    wait_for_words(page, "Sum 3.")


def test_a_question_says_until_when_it_is_open_and_that_it_expired(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "soon 600")
    expect(page.locator(".expiry")).to_contain_text("Open until")
    press(page, "Decline")
    wait_for_words(page, "You declined.")
    send(page, "soon 0.5")
    wait_for_words(page, "Too late.")
    expect(page.locator(".answered").last).to_contain_text("Nobody answered in time")


def test_a_call_is_approved_on_its_card(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "refund o1")
    card = page.locator(".card.tool")
    expect(card.locator(".card-state")).to_have_text("Needs approval")
    expect(page.locator(".question")).to_have_count(0)
    expect(card.locator("pre").first).to_contain_text("9007199254740993")
    press(page, "Approve")
    wait_for_words(page, "refunded o1 9007199254740993")
    expect(card).to_have_attribute("data-status", "done")
    expect(card.locator(".answered-by")).to_have_text("Approved")
    page.reload()
    expect(card.locator(".answered-by")).to_have_text("Approved")


def test_a_call_is_denied_with_a_reason(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "refund o1")
    press(page, "Deny")
    expect(page.get_by_role("textbox", name="Reason, optional")).to_be_focused()
    page.keyboard.type("too much")
    page.keyboard.press("Enter")
    wait_for_words(page, "too much")
    expect(page.locator(".card-state")).to_have_text("Denied")


def test_the_arguments_of_a_call_are_edited_exactly(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "refund o1")
    press(page, "Edit")
    box = page.get_by_role("textbox", name="Arguments, as JSON")
    box.fill("[]")
    press(page, "Approve with these")
    expect(page.locator(".answer .problem")).to_contain_text("JSON object")
    box.fill('{"order": "o2"}')
    press(page, "Approve with these")
    expect(page.locator(".approval p")).to_contain_text("number")
    press(page, "Edit")
    page.get_by_role("textbox", name="Arguments, as JSON").fill(
        '{"order": "o2", "number": 9007199254740995}'
    )
    press(page, "Approve with these")
    wait_for_words(page, "refunded o2 9007199254740995")
    for _ in range(2):
        edited = page.locator(".card-part", has_text="Arguments, edited")
        expect(edited.locator("pre")).to_contain_text("9007199254740995")
        page.reload()
        page.locator(".tool summary").click()


def test_an_answer_of_another_tab_wins_and_everybody_sees_it(open_page: OpenPage) -> None:
    first = open_page()
    second = open_page(first.url)
    send(first, "size")
    expect(second.locator(".question")).to_be_visible()
    press(second, "small")
    for page in (first, second):
        expect(page.locator(".answered")).to_contain_text("Answered: small")
        expect(page.locator(".question")).to_have_count(0)


def test_a_refusal_is_shown_at_the_question(open_page: OpenPage) -> None:
    page = open_page()
    shown = page.evaluate(
        """async () => {
          const { questionView } = await import('/web/page/questions.js');
          const shown = [];
          for (const code of ['bad_request', 'already_answered', 'expired']) {
            const expected = code === 'bad_request' ? 'a, b' : undefined;
            const error = { code, message: 'No.', expected };
            const view = questionView(
              { interrupt: { id: 'i', reason: 'input_required', message: 'Why?' } },
              { answer: () => Promise.reject(error) },
            );
            document.body.append(view.element);
            view.element.querySelector('input').value = 'x';
            view.element.querySelector('[type=submit]').click();
            await new Promise((resolve) => setTimeout(resolve));
            shown.push([
              view.element.querySelector('.problem').textContent,
              view.element.querySelector('fieldset').disabled,
            ]);
            view.element.remove();
          }
          return shown;
        }"""
    )
    assert shown == [["No. Expected: a, b.", False], ["No.", True], ["No.", True]]


def test_a_call_for_another_client_waits_and_can_be_declined(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "locate")
    expect(page.locator(".card-state")).to_have_text("Waiting")
    expect(page.locator(".question .expiry").first).to_have_text(
        "Waiting for an app that can do this."
    )
    press(page, "Decline")
    expect(page.locator(".question")).to_have_count(0)


def test_the_progress_of_a_call_is_on_its_card(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "pack")
    page.locator(".tool summary").click()
    expect(page.locator(".progress span")).to_have_text("Packing · 2 of 3")
    assert page.evaluate("document.querySelector('progress').max") == 3
    expect(page.locator(".card-state")).to_have_text(re.compile(r"Done · \d\.\d s"))
    expect(page.locator(".progress")).to_be_hidden()
