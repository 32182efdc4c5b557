"""The page renders the Markdown of an answer the same, whatever deltas it arrives in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .talking import OpenPage, stream_answer

pytestmark = pytest.mark.timeout(180)
EXAMPLES = Path(__file__).parents[1] / "web/commonmark/examples.js"
TEXTS = [
    "a [b] c\n\n- d\n- e\n\n[b]: /late\n",
    "- a\n- b\n\n- c\n",
    "a\r\nb\r\n---\r\n```\r\nc\r\n```\r\nd",
    "a | b\n--|--\n`c` | **d**\n\n| e",
    "- [ ] a\n- [x] https://b.example/c.\n",
    "&copy; &notit; \\* ~~s~~ **o",
    "- one\n" * 1200 + "\ntwo [three]\n\n[three]: /x\n",
]
STREAM = """async (more) => {
  const { MarkdownView } = await import('/web/page/markdown.js');
  const { commonmark } = await import('/examples.js');
  const texts = [...commonmark.map(({ markdown }) => markdown), ...more];
  const stream = (text, cuts) => {
    const view = new MarkdownView();
    for (const cut of cuts) view.update(text.slice(0, cut), false);
    view.update(text, true);
    return view.element.innerHTML;
  };
  const isTheSame = (text) => {
    const whole = stream(text, []);
    const step = text.length < 1000 ? 1 : Math.ceil(text.length / 40);
    const cuts = Array.from({ length: text.length / step + 1 }, (_, index) => index * step);
    return stream(text, cuts) === whole && cuts.every((cut) => stream(text, [cut]) === whole);
  };
  return [texts.length, texts.filter((text) => !isTheSame(text))];
}"""


def test_every_character_of_an_answer_is_shown(open_page: OpenPage) -> None:
    page = open_page()
    said = (
        "get_user_name reads *.py and *.js, Fact[1], $HOME and $PATH,",
        "see https://example.com/a. Or (https://example.com/b_(c)).",
    )
    stream_answer(page, "\n\n".join(said))
    expect(page.locator(".assistant .prose > p")).to_have_text(said)
    links = page.locator(".assistant .prose a").evaluate_all("all => all.map((a) => a.href)")
    assert links == ["https://example.com/a", "https://example.com/b_(c)"]


def test_a_code_fence_closes_with_crlf_line_ends(open_page: OpenPage) -> None:
    page = open_page()
    stream_answer(page, "Run:\r\n```sh\r\nls\r\n```\r\n- a\r\n\r\n  > quoted\r\n- b\r\n")
    expect(page.locator(".assistant .prose > .code code")).to_have_text("ls")
    expect(page.locator(".assistant .prose > ul > li")).to_have_count(2)
    expect(page.locator(".assistant li blockquote p")).to_have_text("quoted")


def test_an_answer_is_rendered_the_same_wherever_its_deltas_are_cut(open_page: OpenPage) -> None:
    page = open_page()
    page.route("**/examples.js", lambda route: route.fulfill(path=EXAMPLES))
    count, wrong = page.evaluate(STREAM, TEXTS)
    assert count == 652 + len(TEXTS)
    assert wrong == []


def test_closed_blocks_keep_their_elements(open_page: OpenPage) -> None:
    page = open_page()
    text = "One *two*.\n\n```py\nthree = 3\n```\n\n- four\n- five\n\nsix [seven]\n\neight\n\n"
    removed, lost, link = page.evaluate(
        """async (text) => {
          const { MarkdownView } = await import('/web/page/markdown.js');
          const view = new MarkdownView();
          view.update(text, false);
          const before = [...view.element.querySelectorAll('*')];
          const records = new MutationObserver(() => {});
          records.observe(view.element, { childList: true, subtree: true });
          for (let number = 0; number < 200; number++)
            view.update((text += `word${number} `), false);
          const removed = records.takeRecords().flatMap((one) => [...one.removedNodes]);
          view.update((text += '\\n\\n[seven]: /address'), true);
          const after = new Set(view.element.querySelectorAll('*'));
          const lost = before.filter((one) => !after.has(one));
          return [removed.length, lost.length, view.element.querySelector('a')?.textContent];
        }""",
        text,
    )
    assert (removed, lost) == (0, 0)
    assert link == "seven", "a definition at the end holds for the links before it"


def test_a_large_block_is_shown_completely_while_it_grows(open_page: OpenPage) -> None:
    page = open_page()
    for line, ending in (
        ("- an *item* more\n", ""),
        ("some *words* more ", ""),
        ("x = 1\n", "```py\n"),
    ):
        short = page.evaluate(
            """async ([line, text]) => {
              const { MarkdownView } = await import('/web/page/markdown.js');
              const view = new MarkdownView();
              const letters = (shown) => shown.replace(/\\W|^```py/g, '');
              for (let count = 0; count < 1000; count++) {
                view.update((text += line), false);
                if (letters(view.element.textContent).length < letters(text).length) return text;
              }
            }""",
            [line, ending],
        )
        assert short is None, json.dumps(short)


def test_nothing_is_inserted_into_an_element_with_automatic_direction(open_page: OpenPage) -> None:
    """The browser would search the element each time: quadratic in the length of the text."""
    page = open_page()
    inserted = page.evaluate(
        """async (lines) => {
          const { MarkdownView } = await import('/web/page/markdown.js');
          const inserted = [];
          for (const [holder, name] of [[Element, 'append'], [Node, 'insertBefore']]) {
            const original = holder.prototype[name];
            holder.prototype[name] = function (child, ...rest) {
              if (this.closest('[dir=auto]')) inserted.push(this.outerHTML);
              return original.call(this, child, ...rest);
            };
          }
          for (const line of lines) {
            const view = new MarkdownView();
            for (let count = 1; count < 20; count++) view.update(line.repeat(count), false);
            view.update(line.repeat(20), true);
          }
          return inserted;
        }""",
        ["word *em* and more. ", "- an item *em*\n", "> a *b*\n>\n", "a | b\n--|--\n*c* | d\n"],
    )
    assert inserted == []


def test_a_task_in_a_task_is_set_in(open_page: OpenPage) -> None:
    page = open_page()
    stream_answer(page, "- [ ] outer\n  - [x] inner\n    - plain\n- [ ] last")
    lefts = page.locator(".assistant li").evaluate_all(
        """all => all.map((item) => {
          const range = document.createRange();
          range.selectNode([...item.childNodes].find((one) => one instanceof Text));
          return [item.querySelector(':scope > input'), range].map(
            (one) => one?.getBoundingClientRect().left);
        })"""
    )
    (outer, outer_text), (inner, inner_text), (none, plain), last = lefts
    assert none is None and last == [outer, outer_text]
    assert outer < outer_text and inner < inner_text < plain
    assert inner - outer > 16, "about the width of a letter"


def test_line_ends_and_spaces_of_an_answer_are_kept(open_page: OpenPage) -> None:
    page = open_page()
    text = "one\ntwo    three\n\n- four\n  five"
    stream_answer(page, text)
    shown = page.locator(".assistant .prose > *").evaluate_all("all => all.map((a) => a.innerText)")
    assert shown == ["one\ntwo    three", "four\nfive"]


def test_a_rare_name_of_a_character_is_shown_when_all_names_are_loaded(open_page: OpenPage) -> None:
    page = open_page()
    loaded: list[str] = []
    page.on("request", lambda one: loaded.append(one.url.rpartition("/")[2]))
    stream_answer(page, "A &amp; B &lt;b&gt; `&ngE;`")
    expect(page.locator(".assistant .prose")).to_have_text("A & B <b> &ngE;")
    assert "references.js" not in loaded
    stream_answer(page, "**Not** &ngE; and &nothing;")
    expect(page.locator(".assistant .prose").last).to_have_text("Not \u2267\u0338 and &nothing;")
    expect(page.locator(".assistant .prose strong")).to_have_text("Not")
    assert loaded.count("references.js") == 1


def test_a_rare_name_stays_as_it_is_without_a_network(
    open_page: OpenPage, console_errors: list[str]
) -> None:
    page = open_page()
    page.route("**/vendor/references.js", lambda route: route.abort())
    stream_answer(page, "Not &ngE;")
    expect(page.locator(".assistant .prose").last).to_have_text("Not &ngE;")
    page.unroute("**/vendor/references.js")
