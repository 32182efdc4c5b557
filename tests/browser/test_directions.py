"""Text direction: Arabic and Hebrew text begins on the right, code never does."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .talking import OpenPage, send, stream_answer

pytestmark = pytest.mark.timeout(120)

ARABIC = "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645"
HEBREW = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"
BLOCKS = {
    "English": "ltr",
    f"{ARABIC} `code`": "rtl",
    f"`code()` {ARABIC}": "rtl",
    f"# {HEBREW}": "rtl",
    f"- {ARABIC}\n- one\n  - two": "rtl",
    f"> {HEBREW}": "rtl",
    f"1. one\n2. {HEBREW}": "ltr",
    f"| {ARABIC} | a |\n|---|---|\n| b | c |": "rtl",
    f"https://example.com {ARABIC}": "rtl",
    f"```\n{ARABIC}\n```": "ltr",
}


def directions(page: Page, selector: str) -> list[str]:
    measure = "all => all.map((one) => getComputedStyle(one).direction)"
    return list(page.locator(selector).evaluate_all(measure))


def test_each_block_of_an_answer_has_its_own_text_direction(open_page: OpenPage) -> None:
    page = open_page()
    stream_answer(page, "\n\n".join(BLOCKS))
    assert directions(page, ".assistant .prose > *") == list(BLOCKS.values())
    assert directions(page, ".assistant li") == ["rtl", "rtl", "rtl", "ltr", "ltr"]
    assert set(directions(page, ".assistant code, .assistant pre")) == {"ltr"}


def test_a_user_message_has_its_own_text_direction(open_page: OpenPage) -> None:
    page = open_page()
    for text, side in ((HEBREW, "rtl"), ("", "ltr")):
        page.fill("#composer-input", text)
        assert directions(page, "#composer-input") == [side]
    for text in (ARABIC, "Hello"):
        send(page, text)
        expect(page.locator(".assistant strong").last).to_have_text(text)
    assert directions(page, ".user .bubble") == ["rtl", "ltr"]
    expect(page.locator("#title")).to_have_text(ARABIC)
    assert directions(page, "#title, #sessions a") == ["rtl", "rtl"]


def test_every_other_kind_of_item_has_its_own_text_direction(open_page: OpenPage) -> None:
    page = open_page()
    sides = page.evaluate(
        """async (text) => {
          const { views } = await import('/web/page/views.js');
          const form = { type: 'object', properties: { a: { enum: [text, 1] } } };
          const call = { id: 'c', name: 'pay', args: '{}', status: 'error' };
          const answer = { payload: { approved: false }, by: text };
          const answered = [{ toolCallId: 'c', reason: 'tool_call', answer }];
          const items = {
            notice: { message: { level: 'info', text } },
            error: { message: { error: { message: text } } },
            question: { interrupt: { message: text, reason: 'input_required' } },
            command: { notice: { content: text, metadata: {} }, typed: `/${text}` },
            orphan: { message: { text } },
            activity: { message: { content: { title: text } } },
            working: { label: text },
            choice: { kind: 'question', interrupt: { responseSchema: { enum: [text] } } },
            option: { kind: 'question', interrupt: { responseSchema: form } },
            approval: { kind: 'assistant', message: { text: '', toolCalls: [call] }, answered },
          };
          const side = (node) => getComputedStyle(node.parentElement).direction;
          const sides = {};
          for (const [kind, item] of Object.entries(items)) {
            const view = views[item.kind ?? kind](item, {});
            view.update(item);
            document.getElementById('transcript').append(view.element);
            const texts = document.createTreeWalker(view.element, NodeFilter.SHOW_TEXT);
            sides[kind] = new Set();
            while (texts.nextNode())
              if (texts.currentNode.data.includes(text)) sides[kind].add(side(texts.currentNode));
            sides[kind] = [...sides[kind]];
          }
          return sides;
        }""",
        HEBREW,
    )
    # The data of an activity is JSON, which is code.
    assert sides.pop("activity") == ["rtl", "ltr"]
    assert len(sides) == 9
    assert all(side == ["rtl"] for side in sides.values()), sides
