"""What an answer has besides its text: sources, parts, files, and the work of other agents."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .talking import OpenPage, send
from .test_questions import server  # noqa: F401

pytestmark = pytest.mark.timeout(120)
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_sources_are_a_numbered_list_under_the_answer(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "cite")
    for _ in range(2):
        links = page.locator(".sources li")
        expect(links).to_have_text(
            ["<i>Report</i>example.comA.", "https://example.org/bexample.org"]
        )
        assert links.nth(1).get_attribute("value") == "2"
        link = page.locator(".sources a").first
        expect(link).to_have_attribute("href", "https://example.com/a")
        expect(link).to_have_attribute("rel", "noopener noreferrer")
        expect(page.locator(".card")).to_have_count(0)
        page.reload()


def test_only_web_addresses_become_links(open_page: OpenPage) -> None:
    page = open_page()
    links = page.evaluate(
        """async () => {
          const { sourcesView } = await import('/web/page/parts.js');
          const view = sourcesView();
          const urls = ['javascript:alert(1)', 'data:text/html,x', '/path', 7, 'HTTP://a.test/'];
          view.update({ sources: urls.map((url) => ({ content: { url } })) });
          return [...view.element.querySelectorAll('a')].map((link) => link.href);
        }"""
    )
    assert links == ["http://a.test/"]


def test_a_shown_part_is_a_folded_card_with_its_kind(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "show")
    expect(page.locator(".card summary")).to_have_text("My planplan")
    expect(page.locator(".card pre")).to_be_hidden()
    page.locator(".card summary").click()
    expect(page.locator(".card pre")).to_contain_text('"steps": 2')


def test_the_work_of_another_agent_is_folded_under_its_name(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "help")
    expect(page.locator(".subagent .card-title")).to_have_text("_scholar")
    expect(page.locator(".subagent .card-state")).to_have_text("Done")
    expect(page.locator(".subagent strong")).to_be_hidden()
    page.locator(".subagent summary").click()
    expect(page.locator(".subagent strong")).to_have_text("Find it")
    expect(page.locator(".subagent .task")).to_have_text("Find it")
    expect(page.locator(".assistant .prose").last).to_contain_text("I was told: Found")
    page.reload()
    expect(page.locator(".subagent .card-title")).to_have_text("_scholar")


def test_the_agent_that_answers_is_named_where_there_are_several(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "one")
    send(page, "@other two")
    expect(page.locator(".speaker")).to_have_text(["clerk", "other"])


def test_files_of_a_message_are_links_with_thumbnails_of_images(open_page: OpenPage) -> None:
    page = open_page()
    shown = page.evaluate(
        """async (pixel) => {
          const { fileLink } = await import('/web/page/parts.js');
          const { connect } = await import('/web/client.js');
          const session = new URLSearchParams(location.search).get('session');
          const chat = connect('ws/chat', { session });
          const bytes = Uint8Array.from(atob(pixel), (one) => one.charCodeAt(0));
          const image = await chat.upload(new Blob([bytes]), { name: '&lt;.png' });
          const text = await chat.upload(new Blob(['hello']), { name: 'a.txt' });
          const sent = chat.send('Look', { attachments: [image.id, text.id] });
          const isInLog = ({ id, unsent }) => id === sent && !unsent;
          await new Promise((resolve) => {
            const look = () => chat.getSnapshot().messages.some(isInLog) && resolve();
            chat.subscribe(look);
            look();
          });
          chat.close();
        }""",
        PIXEL,
    )
    assert shown is None
    for _ in range(2):
        expect(page.locator(".user .file-name")).to_have_text(["&lt;.png", "a.txt"])
        expect(page.locator(".user .file-size")).to_have_text(["70 B", "5 B"])
        expect(page.locator(".user .file img")).to_have_count(1)
        expect(page.locator(".user .file img")).to_have_js_property("naturalWidth", 1)
        page.reload()


def test_a_message_shows_all_of_its_parts(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(
        """async () => {
          const { connect } = await import('/web/client.js');
          const session = new URLSearchParams(location.search).get('session');
          const image = (name) => ({
            type: 'image',
            source: { type: 'url', value: 'https://example.com/a.png' },
            metadata: name && { filename: name },
          });
          const text = (said) => ({ type: 'text', text: said });
          connect('ws/chat', { session }).send(
            [text('Look '), text('here'), image('a.png'), image()],
          );
        }"""
    )
    expect(page.locator(".user .bubble")).to_have_text("Look here\na.png\nimage")


def test_a_file_of_the_agent_is_a_link(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "file")
    expect(page.locator(".file-name")).to_have_text("report.csv")
    with page.expect_download() as download:
        page.click(".file")
    assert download.value.path().read_text() == "name,total"


def test_the_shared_state_is_a_folded_panel_where_there_is_one(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator("#shared")).to_be_hidden()
    send(page, "share <b>tea</b>")
    page.locator("#shared summary").click()
    expect(page.locator("#shared pre")).to_contain_text("<b>tea</b>")
    send(page, "share milk")
    expect(page.locator("#shared pre")).to_contain_text("milk")
    for number in ('"price": 10.0', '"id": 9007199254740993'):
        expect(page.locator("#shared pre")).to_contain_text(number)
    page.click("#new-chat-small")
    expect(page.locator("#shared")).to_be_hidden()
