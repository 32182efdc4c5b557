"""What a person composes: the message box, and the messages that wait while an answer runs."""

from __future__ import annotations

import base64
from pathlib import Path
from time import monotonic

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Locator, Page, Route, expect

from .talking import OpenPage, send

pytestmark = pytest.mark.timeout(120)

HERE = Path(__file__).parent
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE = FilePayload(name="dot.png", mimeType="image/png", buffer=DOT)
NOTE = FilePayload(name="note.txt", mimeType="text/plain", buffer=b"milk and bread\n" * 100)
GIVE = """([kind, name, base64, text]) => {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: 'image/png' }));
  if (text) transfer.setData('text/plain', text);
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector('#composer-input').dispatchEvent(event);
  return event.defaultPrevented;
}"""


def begin(page: Page, text: str = "go") -> None:
    """Makes the agent write until it is stopped."""
    send(page, text)
    expect(page.locator(".assistant .prose").last).to_contain_text("on on")


def stop(page: Page) -> None:
    page.locator("#composer-input").press("Escape")


def waiting(page: Page) -> Locator:
    return page.locator("#queue .queued-text")


def button(page: Page, label: str, text: str) -> Locator:
    return page.get_by_role("button", name=f"{label}: {text}", exact=True)


def test_a_waiting_message_is_edited_in_place(chat: Page) -> None:
    begin(chat)
    for text in ("one", "two"):
        send(chat, text)
    button(chat, "Edit", "one").click()
    box = chat.get_by_role("textbox", name="Queued message")
    expect(box).to_be_focused()
    box.fill("")
    box.press("Enter")
    box.fill("first")
    box.press("Enter")
    expect(waiting(chat)).to_have_text(["first", "two"])
    expect(button(chat, "Edit", "first")).to_be_focused()
    stop(chat)
    expect(chat.locator(".assistant strong")).to_have_text(["go", "first", "two"])
    expect(chat.locator("#queue")).to_be_hidden()


def test_a_long_message_that_waits_leaves_room_for_its_buttons(chat: Page) -> None:
    begin(chat)
    send(chat, "long " * 100)
    edge = chat.get_by_role("list", name="Waiting messages").bounding_box()
    last = chat.locator(".queued .link").last.bounding_box()
    assert edge and last
    assert last["x"] + last["width"] <= edge["x"] + edge["width"]


def test_a_small_page_is_scrolled_to_each_of_its_controls(chat: Page) -> None:
    chat.set_viewport_size({"width": 240, "height": 320})
    begin(chat)
    for number in range(3):
        send(chat, f"wait {number} " * 9)
    chat.set_input_files("#picker", [NOTE])
    wait_for_uploads(chat, 1)
    chat.fill("#composer-input", "a line\n" * 9)
    for way, control in ((-999, "#sidebar-open"), (999, "#send"), (-999, "#sidebar-open")):
        chat.mouse.wheel(0, way)
        expect(chat.locator(control)).to_be_in_viewport(ratio=0.9)


def test_escape_ends_the_editing_and_not_the_run(chat: Page) -> None:
    begin(chat)
    send(chat, "one")
    button(chat, "Edit", "one").click()
    box = chat.get_by_role("textbox", name="Queued message")
    box.fill("another")
    box.press("Escape")
    expect(waiting(chat)).to_have_text(["one"])
    expect(chat.locator("#stop")).to_be_visible()
    expect(chat.locator(".aside")).to_have_count(0)


def test_what_was_written_for_a_message_that_runs_by_now_is_kept(chat: Page) -> None:
    begin(chat)
    send(chat, "one")
    send(chat, "two")
    button(chat, "Edit", "two").click()
    chat.get_by_role("textbox", name="Queued message").fill("two, but better")
    chat.fill("#composer-input", "a draft")
    stop(chat)
    expect(chat.locator(".assistant strong")).to_have_text(["go", "one", "two"])
    expect(chat.locator("#composer-input")).to_have_value("a draft\n\ntwo, but better")


def test_a_waiting_message_is_moved_to_the_front(chat: Page) -> None:
    begin(chat)
    for text in ("one", "two", "three"):
        send(chat, text)
    expect(button(chat, "Move to front", "one")).to_be_hidden()
    button(chat, "Move to front", "three").press("Enter")
    expect(waiting(chat)).to_have_text(["three", "one", "two"])
    expect(button(chat, "Edit", "three")).to_be_focused()
    stop(chat)
    expect(chat.locator(".assistant strong")).to_have_text(["go", "three", "one", "two"])


@pytest.mark.parametrize("how", ["button", "key"])
def test_a_message_is_sent_into_the_run(chat: Page, how: str) -> None:
    expect(chat.locator("#send-now")).to_be_hidden()
    begin(chat)
    chat.fill("#composer-input", "halt")
    if how == "button":
        chat.click("#send-now")
    else:
        chat.keyboard.press("Control+Enter")
    expect(chat.locator(".assistant .prose").last).to_contain_text("Understood: halt")
    expect(chat.locator(".user .bubble")).to_have_text(["go", "halt"])
    expect(chat.locator("#transcript")).to_have_attribute("aria-busy", "false")
    expect(chat.locator("#composer-input")).to_have_value("")


def test_a_message_that_the_run_may_take_can_only_be_taken_back(open_page: OpenPage) -> None:
    page = open_page()
    send(page, "count 400")
    expect(page.locator(".assistant .prose")).to_contain_text("n2 ")
    send(page, "later")
    page.fill("#composer-input", "soon")
    page.click("#send-now")
    expect(waiting(page)).to_have_text(["soon", "later"])
    row = page.locator(".queued").first
    expect(row.locator(".note")).to_have_text("Will be read at the next step")
    expect(row.get_by_role("button")).to_have_text(["Take back"])
    button(page, "Take back", "soon").click()
    expect(waiting(page)).to_have_text(["later"])
    expect(page.locator("#composer-input")).to_have_value("soon")


def test_what_the_agent_does_not_allow_is_not_offered(chat: Page) -> None:
    begin(chat)
    chat.fill("#composer-input", "soon")
    expect(chat.locator("#send-now")).to_be_visible()
    chat.get_by_role("combobox", name="Agent").select_option("busybody")
    expect(chat.locator("#send-now")).to_be_hidden()
    expect(chat.locator("#send")).to_be_visible()


def test_a_message_that_an_agent_does_not_take_is_not_lost(chat: Page) -> None:
    picker = chat.get_by_role("combobox", name="Agent")
    picker.select_option("busy")
    begin(chat)
    chat.fill("#composer-input", "wait, stop")
    chat.click("#send-now")
    error = chat.locator(".error")
    expect(error).to_contain_text("does not allow")
    expect(chat.locator(".user .bubble").last).to_have_text("wait, stop")
    chat.fill("#composer-input", "next")
    expect(chat.locator("#send-now")).to_be_hidden()
    error.get_by_role("button", name="Try again").click()
    expect(waiting(chat)).to_have_text(["wait, stop"])
    picker.select_option("guide")
    expect(chat.locator("#send-now")).to_be_visible()


def give(page: Page, kind: str, text: str = "") -> bool:
    """Has the browser paste, drag or drop a picture; whether the page handled that."""
    handled = page.evaluate(GIVE, [kind, "dot.png", base64.b64encode(DOT).decode(), text])
    return bool(handled)


def wait_for_uploads(page: Page, count: int) -> None:
    expect(page.locator(".chip")).to_have_count(count)
    expect(page.locator(".chip progress:not([hidden])")).to_have_count(0)


def wait_for_request(page: Page, held: list[Route], name: str) -> Route:
    """The upload of that file, once the browser has sent it: an upload that is stopped before is
    never seen."""
    deadline = monotonic() + 60
    while not (found := [one for one in held if name in one.request.url]):
        assert monotonic() < deadline, f"no upload of {name}"
        page.wait_for_timeout(10)
    return found[-1]


def test_files_are_sent_with_the_message(chat: Page) -> None:
    with chat.expect_file_chooser() as choosing:
        chat.click("#attach")
    choosing.value.set_files([PICTURE, NOTE])
    wait_for_uploads(chat, 2)
    expect(chat.locator(".chip-name")).to_have_text(["dot.png", "note.txt"])
    expect(chat.locator(".chip-about")).to_have_text(["70 B", "1.5 kB"])
    expect(chat.locator(".chip img")).to_have_js_property("naturalWidth", 1)
    expect(chat.locator(".chip").last.locator("img")).to_have_count(0)
    expect(chat.locator("#send")).to_be_enabled()
    send(chat, "look")
    expect(chat.locator(".assistant .prose")).to_contain_text("with 2 files dot.png note.txt")
    expect(chat.locator("#attached")).to_be_hidden()
    send(chat, "and now")
    expect(chat.locator(".assistant .prose").last).to_contain_text("with 0 files")


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_is_pasted_or_dropped(chat: Page, kind: str) -> None:
    if kind == "drop":
        assert give(chat, "dragenter")
        expect(chat.locator("#drop")).to_be_visible()
    assert give(chat, kind)
    expect(chat.locator("#drop")).to_be_hidden()
    wait_for_uploads(chat, 1)
    send(chat, "look")
    expect(chat.locator(".assistant .prose")).to_contain_text("with 1 files dot.png")


def test_a_file_is_pasted_with_its_name_and_a_text_without_its_image(chat: Page) -> None:
    assert not give(chat, "paste", "cells\tof a table")
    assert give(chat, "paste", "/home/ann/dot.png")
    wait_for_uploads(chat, 1)


def test_a_file_that_is_removed_before_it_is_sent_is_deleted(chat: Page) -> None:
    with chat.expect_response(lambda one: one.request.method == "PUT") as uploading:
        chat.set_input_files("#picker", [NOTE])
    wait_for_uploads(chat, 1)
    id = uploading.value.json()["id"]
    with chat.expect_response(lambda one: one.request.method == "DELETE") as deleting:
        chat.get_by_role("button", name="Remove note.txt").press("Enter")
    assert f"/files/{id}?" in deleting.value.url
    assert deleting.value.status == 204


def test_files_are_sent_without_a_text(chat: Page) -> None:
    send_button = chat.get_by_role("button", name="Send", exact=True)
    expect(send_button).to_be_disabled()
    chat.set_input_files("#picker", [NOTE])
    wait_for_uploads(chat, 1)
    expect(send_button).to_be_enabled()
    chat.locator("#composer-input").press("Enter")
    expect(chat.locator(".assistant .prose")).to_contain_text("with 1 files note.txt")
    expect(chat.locator(".user .bubble")).to_be_hidden()
    expect(send_button).to_be_disabled()
    expect(chat.locator("#title")).to_have_text("note.txt")
    chat.click("#new-chat-small")
    expect(chat.locator("#sessions a")).to_have_text(["note.txt"])


def test_a_refused_file_says_why_and_holds_the_message(
    chat: Page, console_errors: list[str]
) -> None:
    archive = FilePayload(name="photo.png", mimeType="image/png", buffer=b"PK\x03\x04" + 60 * b"x")
    large = FilePayload(name="large.txt", mimeType="text/plain", buffer=200_001 * b"x")
    chat.set_input_files("#picker", [archive, large])
    about = chat.locator(".chip.is-failed .chip-about")
    expect(about).to_have_count(2)
    # The browser logs every refused request.
    assert "415" in console_errors.pop()
    expect(about.last).to_have_text("A file has at most 200000 bytes.")
    send(chat, "look")
    expect(chat.locator("#composer-note")).to_contain_text("Remove it")
    expect(chat.locator("#composer-input")).to_have_value("look")
    for name in ("photo.png", "large.txt"):
        chat.get_by_role("button", name=f"Remove {name}").click()
    expect(chat.locator("#attached")).to_be_hidden()
    expect(chat.locator("#composer-note")).to_be_empty()
    chat.locator("#composer-input").press("Enter")
    expect(chat.locator(".assistant .prose")).to_contain_text("with 0 files")


def test_more_files_than_a_message_may_have_are_not_added(chat: Page) -> None:
    chat.set_input_files("#picker", [PICTURE, NOTE, PICTURE])
    wait_for_uploads(chat, 2)
    expect(chat.locator("#composer-note")).to_have_text("A message has at most 2 files.")


def test_an_upload_is_stopped_or_tried_again(chat: Page) -> None:
    held: list[Route] = []
    chat.route("**/files/*", lambda route: held.append(route))
    chat.set_input_files("#picker", [PICTURE])
    bar = chat.get_by_role("progressbar", name="Upload of dot.png")
    expect(bar).to_be_visible()
    wait_for_request(chat, held, "dot.png")
    send(chat, "look")
    expect(chat.locator("#composer-note")).to_have_text("The files are being uploaded.")
    chat.get_by_role("button", name="Remove dot.png").click()
    expect(chat.locator(".chip")).to_have_count(0)
    chat.set_input_files("#picker", [NOTE])
    chat.wait_for_timeout(0)
    expect(bar).to_have_count(0)
    wait_for_request(chat, held, "note.txt").abort()
    chat.unroute("**/files/*")
    chat.locator(".chip.is-failed").get_by_role("button", name="Try again").click()
    wait_for_uploads(chat, 1)
    expect(chat.locator(".is-failed")).to_have_count(0)
    chat.locator("#composer-input").press("Enter")
    expect(chat.locator(".assistant .prose")).to_contain_text("with 1 files note.txt")


def test_a_message_that_is_taken_back_has_its_files_again(chat: Page) -> None:
    begin(chat)
    chat.set_input_files("#picker", [NOTE])
    wait_for_uploads(chat, 1)
    send(chat, "read this")
    button(chat, "Take back", "read this").click()
    expect(chat.locator("#composer-input")).to_have_value("read this")
    expect(chat.locator(".chip-name")).to_have_text(["note.txt"])
    stop(chat)
    chat.locator("#composer-input").press("Enter")
    expect(chat.locator(".assistant .prose").last).to_contain_text("with 1 files note.txt")


def test_a_server_without_a_file_store_gets_no_files(open_page: OpenPage) -> None:
    page = open_page()
    for control in ("#attach", "#photograph"):
        expect(page.locator(control)).to_be_hidden()
    assert not give(page, "paste")
    assert give(page, "drop"), "the browser would open the file instead of the page"
    expect(page.locator(".chip")).to_have_count(0)


def test_the_agent_is_chosen(chat: Page) -> None:
    picker = chat.get_by_role("combobox", name="Agent")
    expect(picker).to_have_value("guide")
    expect(picker.locator("option")).to_have_text(["guide", "busy", "busybody"])
    picker.select_option("busy")
    send(chat, "hello")
    expect(chat.locator(".assistant .prose")).to_contain_text("Busy with hello")
    expect(chat.locator(".command")).to_have_count(0)
    chat.reload()
    expect(picker).to_have_value("busy")
    send(chat, "/agent guide")
    expect(picker).to_have_value("guide")
    chat.click("#new-chat-small")
    expect(picker).to_have_value("guide")


def test_a_choice_that_is_refused_is_undone(chat: Page, context: BrowserContext) -> None:
    picker = chat.get_by_role("combobox", name="Agent")
    chat.evaluate(
        """() => {
          const option = new Option('nobody', 'nobody');
          document.querySelector('#agent').append(option);
        }"""
    )
    picker.select_option("nobody")
    expect(chat.locator("#composer-note")).not_to_be_empty()
    expect(picker).to_have_value("guide")
    context.set_offline(True)
    expect(picker).to_be_disabled()


def test_one_agent_is_no_choice(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator("#agent")).to_be_hidden()
    page.locator("#composer-input").press_sequentially("@")
    expect(page.locator("#palette")).to_be_hidden()


def test_a_mention_is_completed(chat: Page) -> None:
    box = chat.locator("#composer-input")
    box.press_sequentially("@B")
    options = chat.locator("#palette [role=option]")
    expect(options).to_have_text(["@busy", "@busybody"])
    box.press("ArrowDown")
    box.press("Enter")
    expect(box).to_have_value("@busybody ")
    expect(chat.locator("#palette")).to_be_hidden()
    expect(chat.locator(".user")).to_have_count(0)
    box.fill("@bus")
    options.first.click()
    expect(box).to_have_value("@busy ")
    box.press_sequentially("hello")
    box.press("Enter")
    expect(chat.locator(".assistant .prose")).to_contain_text("Busy with @busy hello")
    box.fill("hello @b")
    expect(chat.locator("#palette")).to_be_hidden()
