"""One changed argument, ``--store``, and nothing else: page, clients and agent on every store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.cluster.stores import STORES, shared_store

from . import serving
from .test_scripts import run


@contextmanager
def echo(store: str, folder: Path) -> Iterator[serving.Service]:
    """The agent of the first example under ``agentws run``, on that store."""
    if store == "memory":
        with serving.agentws("echo:Echo", "--store", "memory") as service:
            yield service
        return
    with shared_store(store, folder) as shared:
        with serving.agentws("echo:Echo", "--store", shared.url) as service:
            yield service


@pytest.mark.parametrize("store", ["memory", *STORES])
def test_page_clients_and_agent_are_the_same_on_every_store(
    store: str, browser: Browser, tmp_path: Path
) -> None:
    with echo(store, tmp_path) as service:
        assert run("plain_client.py", service.chat).splitlines()[:2] == [
            "text: Hello from a script ",
            "system: pong",
        ]
        assert run("python_client.py", service.chat).splitlines()[:3] == [
            "Hello in one piece ",
            "Hello piece by piece ",
            "[RunFinished]",
        ]
        with browser.new_context() as context:
            use_the_page(context.new_page(), service.http)


def use_the_page(page: Page, url: str) -> None:
    page.goto(f"{url}/")
    page.wait_for_selector("#connection[data-state=open]")
    page.fill("#composer-input", "Hello from a page")
    page.keyboard.press("Enter")
    for _ in range(2):
        expect(page.locator(".assistant")).to_contain_text("Hello from a page")
        expect(page.locator("#transcript")).to_have_attribute("aria-busy", "false")
        page.reload()
