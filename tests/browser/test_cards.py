"""A card shows the JSON of a call as it was said."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .talking import OpenPage, let_it_call, say

pytestmark = pytest.mark.timeout(120)


def test_json_is_laid_out_and_spelled_as_it_was(open_page: OpenPage) -> None:
    page = open_page()
    arguments = '{"id":9007199254740993,"price":10.00,"far":1e400,"id":"\\u00e9"}'
    shown = '{\n  "id": 9007199254740993,\n  "price": 10.00,\n  "far": 1e400,\n  "id": "\\u00e9"\n}'
    let_it_call(page, arguments, "[1.0, {}]")
    assert page.locator(".tool pre").all_text_contents() == [shown, "[\n  1.0,\n  {}\n]"]
    page.reload()
    page.locator(".tool summary").click()
    assert page.locator(".tool pre").all_text_contents() == [shown, "[\n  1.0,\n  {}\n]"]


def test_what_is_no_json_is_shown_as_it_is(open_page: OpenPage) -> None:
    page = open_page()
    for text in ('{"id":90071992547', "{'id': 1}", "10.00", ' {"a":1} and more'):
        let_it_call(page, text, text)
        assert page.locator(".tool pre").all_text_contents() == [text, text]
        page.click("#new-chat-small")
        expect(page.locator(".empty")).to_be_visible()


def test_arguments_are_shown_as_they_come(open_page: OpenPage) -> None:
    page = open_page()
    shown = page.evaluate(
        """async () => {
          const { toolCard } = await import('/web/page/cards.js');
          const card = toolCard();
          const args = card.element.querySelector('pre');
          const call = { id: 'c', name: 'n', status: 'streaming' };
          const shown = [];
          for (const text of ['{"a":', '{"a":10.00', '{"a":10.00}']) {
            card.update({ ...call, args: text });
            shown.push(args.textContent);
          }
          card.update({ ...call, args: '{"a":10.00}', status: 'called' });
          return [...shown, args.textContent];
        }"""
    )
    assert shown == ['{"a":', '{"a":10.00', '{"a":10.00}', '{\n  "a": 10.00\n}']


def test_an_activity_shows_its_numbers_as_they_were_said(open_page: OpenPage) -> None:
    page = open_page()
    say(page, 'show {"title": "Plan", "id": 9007199254740993}')
    for _ in range(2):
        page.locator(".card summary").click()
        expect(page.locator(".card pre")).to_contain_text("9007199254740993")
        page.reload()
