"""The list of chats: searched, and each chat renamed and deleted in its place, in all tabs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from .talking import OpenPage, say

if TYPE_CHECKING:
    from .conftest import Server

pytestmark = pytest.mark.timeout(120)

FOUND = """async () => {
  const headers = { authorization: 'Bearer sesame' };
  const answer = await fetch('sessions?query=said%20one', { headers });
  return (await answer.json()).sessions.length;
}"""
"""How many chats are found by what was said: the index follows a few seconds later."""


def show_list(page: Page) -> None:
    if page.locator("#sidebar-open").is_visible():
        page.click("#sidebar-open")
    expect(page.locator("#sidebar-close")).to_be_visible()


def open_chat(page: Page, text: str) -> None:
    page.goto(page.url.partition("?")[0] + f"?session=ses_{text.replace(' ', '_'):_<20}")
    expect(page.locator("#connection")).to_have_attribute("data-state", "open")


def begin_chat(page: Page, text: str) -> None:
    """Begins a chat with a message, which becomes its title."""
    open_chat(page, text)
    say(page, text)


def titles(page: Page) -> Locator:
    return page.locator("#sessions a:visible")


def row(page: Page, title: str) -> Locator:
    return page.locator(".chat").filter(has=page.get_by_role("link", name=title, exact=True))


def act(page: Page, does: str, title: str) -> None:
    row(page, title).hover()
    page.get_by_role("button", name=f"{does}: {title}", exact=True).click()


def answer_with(page: Page, method: str, status: int, failure: dict[str, object]) -> None:
    """Answers requests for sessions by that method with a failure."""

    def answer(route: Route) -> None:
        if route.request.method == method:
            route.fulfill(status=status, json=failure)
        else:
            route.fallback()

    page.route("**/sessions**", answer)


def with_limit(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}limit=1"


@pytest.fixture
def server(own_server: Server) -> Server:
    """Chats of several tests have the same ids."""
    return own_server


@pytest.fixture
def two_chats(open_page: OpenPage) -> Page:
    page = open_page()
    begin_chat(page, "trip to oslo")
    begin_chat(page, "my invoice")
    show_list(page)
    expect(titles(page)).to_have_text(["my invoice", "trip to oslo"])
    return page


@pytest.fixture
def ann(browser: Browser, locked_server: Server) -> Iterator[Page]:
    """Signed in at a server that lists her chats, none of which her browser remembers."""
    with_key = browser.new_context(reduced_motion="reduce")
    key = "sessionStorage.setItem('agentws:key:/', 'sesame')"
    with_key.add_init_script(f"{key}; localStorage.clear()")
    page = with_key.new_page()
    page.goto(locked_server.url)
    yield page
    with_key.close()


def test_a_chat_is_renamed_in_all_tabs(two_chats: Page, open_page: OpenPage) -> None:
    page, here = two_chats, open_page(two_chats.url)
    elsewhere = open_page(two_chats.url.replace("my_invoice__________", "trip_to_oslo________"))
    act(page, "Rename", "my invoice")
    title = page.get_by_role("textbox", name="Title")
    expect(title).to_be_focused()
    title.fill("  Taxes <b>2026</b> ")
    page.keyboard.press("Enter")
    for tab in (page, here, elsewhere):
        show_list(tab)
        expect(titles(tab)).to_have_text(["Taxes <b>2026</b>", "trip to oslo"])
    for tab in (page, here):
        expect(tab.locator("#title")).to_have_text("Taxes <b>2026</b>")
    expect(page.get_by_role("button", name="Rename: Taxes <b>2026</b>")).to_be_focused()
    page.evaluate("localStorage.clear()")
    page.reload()
    expect(page.locator("#title")).to_have_text("Taxes <b>2026</b>")


def test_a_title_that_is_not_changed_is_not_sent(two_chats: Page) -> None:
    sent = []
    two_chats.on("request", lambda one: sent.append(one.method))
    for typed, key in [("", "Enter"), ("  my invoice ", "Enter"), ("other", "Escape")]:
        act(two_chats, "Rename", "my invoice")
        two_chats.get_by_role("textbox", name="Title").fill(typed)
        two_chats.keyboard.press(key)
        expect(titles(two_chats)).to_have_text(["my invoice", "trip to oslo"])
    act(two_chats, "Rename", "my invoice")
    two_chats.get_by_role("textbox", name="Title").fill("other")
    two_chats.get_by_role("button", name="Cancel").click()
    expect(titles(two_chats)).to_have_text(["my invoice", "trip to oslo"])
    assert "PATCH" not in sent


def test_a_refused_title_stays_in_its_field_with_the_reason(
    two_chats: Page, console_errors: list[str]
) -> None:
    page = two_chats
    refusal = {"code": "too_large", "message": "This title is too large.", "retryable": False}
    answer_with(page, "PATCH", 413, refusal)
    act(page, "Rename", "my invoice")
    title = page.get_by_role("textbox", name="Title")
    title.fill("Taxes")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".chat .problem:visible")).to_have_text("This title is too large.")
    expect(title).to_have_value("Taxes")
    page.unroute("**/sessions**")
    page.get_by_role("button", name="Save").click()
    expect(titles(page)).to_have_text(["Taxes", "trip to oslo"])
    expect(page.locator(".chat .problem:visible")).to_have_count(0)
    console_errors[:] = [text for text in console_errors if "413" not in text]


def test_a_chat_is_deleted_after_one_question_in_all_tabs(
    two_chats: Page, open_page: OpenPage
) -> None:
    page, here = two_chats, open_page(two_chats.url)
    other = two_chats.url.replace("my_invoice__________", "trip_to_oslo________")
    elsewhere = open_page(other)
    act(page, "Delete", "my invoice")
    expect(page.get_by_role("group", name="Delete this chat?")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".empty")).to_be_visible()
    expect(here.locator("#banner")).to_contain_text("This chat was deleted.")
    expect(here.locator("#banner button")).to_have_text(["New chat"])
    expect(here.locator(".notice, .error")).to_have_count(0)
    for tab in (page, here, elsewhere):
        show_list(tab)
        expect(titles(tab)).to_have_text(["trip to oslo"])
    here.reload()
    expect(here.locator("#banner")).to_contain_text("it was deleted, or it belongs to someone else")
    show_list(here)
    expect(titles(here)).to_have_text(["trip to oslo"])
    expect(elsewhere.locator(".assistant strong")).to_have_text("trip to oslo")


def test_a_chat_is_not_deleted_by_accident(two_chats: Page) -> None:
    page = two_chats
    question = page.get_by_role("group", name="Delete this chat?")
    button = page.get_by_role("button", name="Delete: my invoice", exact=True)
    row(page, "my invoice").hover()
    button.dblclick()
    expect(question).to_be_visible()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_be_hidden()
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(button).to_be_focused()
    act(page, "Delete", "my invoice")
    act(page, "Delete", "trip to oslo")
    expect(question).to_have_count(1)
    page.reload()
    expect(titles(page)).to_have_text(["my invoice", "trip to oslo"])


def test_a_chat_that_can_not_be_deleted_stays_with_the_reason(
    two_chats: Page, console_errors: list[str]
) -> None:
    page = two_chats
    failure = {"code": "unavailable", "message": "The store is down.", "retryable": True}
    answer_with(page, "DELETE", 503, failure)
    act(page, "Delete", "my invoice")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".chat .problem:visible")).to_have_text("The store is down.")
    page.unroute("**/sessions**")
    forbidden = {"code": "forbidden", "message": "Chats are kept here.", "retryable": False}
    answer_with(page, "DELETE", 403, forbidden)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".chat .problem:visible")).to_have_text("Chats are kept here.")
    expect(titles(page)).to_have_text(["my invoice", "trip to oslo"])
    console_errors.clear()


def test_a_chat_that_the_server_lost_can_be_taken_off_the_list(
    two_chats: Page, console_errors: list[str]
) -> None:
    page = two_chats
    lost = [{"id": "ses_lost_long_ago_______", "title": "long ago", "at": 1}]
    page.evaluate(f"localStorage.setItem('agentws:chats:/', {json.dumps(json.dumps(lost))})")
    page.reload()
    show_list(page)
    expect(titles(page)).to_have_text(["my invoice", "long ago"])
    act(page, "Delete", "long ago")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(titles(page)).to_have_text(["my invoice"])
    console_errors.clear()


def test_remembered_chats_are_searched_by_their_titles(two_chats: Page) -> None:
    page = two_chats
    search = page.get_by_role("searchbox", name="Search the chats")
    search.fill("OSLO trip")
    expect(titles(page)).to_have_text(["trip to oslo"])
    search.fill("bergen")
    expect(titles(page)).to_have_count(0)
    expect(page.locator("#chats-note")).to_have_text("No chat has these words.")
    page.keyboard.press("Escape")
    expect(search).to_have_value("")
    expect(titles(page)).to_have_text(["my invoice", "trip to oslo"])
    expect(page.locator("#chats-note")).to_be_empty()


def test_listed_chats_are_found_by_what_was_said_and_shown_page_by_page(ann: Page) -> None:
    for text in ("one", "two", "three", "four"):
        open_chat(ann, f"visit {text}")
        begin_chat(ann, text)
    ann.reload()
    show_list(ann)
    expect(titles(ann)).to_have_text(["four", "three", "two", "one"])
    act(ann, "Rename", "two")
    ann.get_by_role("textbox", name="Title").fill("renamed")
    ann.keyboard.press("Enter")
    expect(titles(ann)).to_have_text(["four", "three", "renamed", "one"])
    deadline = monotonic() + 60
    while ann.evaluate(FOUND) != 1 and monotonic() < deadline:
        ann.wait_for_timeout(500)
    search = ann.get_by_role("searchbox", name="Search the chats")
    for words, found in [("renam", "renamed"), ("said one", "one")]:
        search.fill(words)
        expect(titles(ann)).to_have_text([found])
    ann.route("**/sessions*", lambda route: route.continue_(url=with_limit(route.request.url)))
    search.fill("")
    more = ann.get_by_role("button", name="More chats")
    expect(more).to_be_visible()
    # The page that lists the renamed one alone is shown with the one that the browser remembers.
    expect(titles(ann)).to_have_text(["renamed", "four"])
    for count in (3, 4):
        more.click()
        expect(titles(ann)).to_have_count(count)


def test_a_server_that_does_not_search_leaves_the_titles(ann: Page) -> None:
    for text in ("one", "two"):
        begin_chat(ann, text)
    show_list(ann)
    expect(titles(ann)).to_have_text(["two", "one"])
    refusal = {"code": "not_supported", "message": "No search.", "retryable": False}
    answer_with(ann, "GET", 501, refusal)
    ann.get_by_role("searchbox", name="Search the chats").fill("one")
    expect(ann.locator("#chats-note")).to_have_text("Only titles are searched here.")
    expect(titles(ann)).to_have_text(["one"])
