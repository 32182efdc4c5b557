"""What browsers load stays small: the client, which pages embed, and the built-in page."""

from __future__ import annotations

import javascript
import vendored

CLIENT = 14_000
"""Bytes, minified and gzipped: `python .ci/javascript.py size`."""
PAGE = 60_000
"""The same, of all that the page loads at once: HTML, styles, and scripts with vendored ones."""


def test_the_browser_client_stays_below_its_size_limit() -> None:
    assert javascript.client_size() <= CLIENT


def test_the_page_stays_below_its_size_limit() -> None:
    sizes = javascript.page_sizes()
    assert sum(sizes.values()) <= PAGE, sizes


def test_the_vendored_files_are_what_is_made() -> None:
    for name, text in vendored.made().items():
        assert (vendored.VENDOR / name).read_text("utf-8") == text, name
