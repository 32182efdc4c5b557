"""A card shows the JSON of a tool call with its spelling."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .talking import OpenPage, call_tool, open_tool, send

pytestmark = pytest.mark.timeout(120)


def test_json_is_pretty_printed_and_keeps_its_spelling(open_page: OpenPage) -> None:
    page = open_page()
    arguments = '{"id":9007199254740993,"price":10.00,"far":1e400,"id":"\\u00e9"}'
    shown = '{\n  "id": 9007199254740993,\n  "price": 10.00,\n  "far": 1e400,\n  "id": "\\u00e9"\n}'
    call_tool(page, arguments, "[1.0, {}]")
    assert page.locator(".tool pre").all_text_contents() == [shown, "[\n  1.0,\n  {}\n]"]
    page.reload()
    open_tool(page)
    assert page.locator(".tool pre").all_text_contents() == [shown, "[\n  1.0,\n  {}\n]"]


def test_a_text_that_is_not_json_is_shown_unchanged(open_page: OpenPage) -> None:
    page = open_page()
    for text in ('{"id":90071992547', "{'id': 1}", "10.00", ' {"a":1} and more'):
        call_tool(page, text, text)
        assert page.locator(".tool pre").all_text_contents() == [text, text]
        page.click("#new-chat-small")
        expect(page.locator(".empty")).to_be_visible()


def test_streaming_arguments_are_pretty_printed_when_they_are_complete(open_page: OpenPage) -> None:
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


def test_an_activity_keeps_the_spelling_of_its_numbers(open_page: OpenPage) -> None:
    page = open_page()
    send(page, 'show {"title": "Plan", "id": 9007199254740993}')
    for _ in range(2):
        page.locator(".card summary").click()
        expect(page.locator(".card pre")).to_contain_text("9007199254740993")
        page.reload()
