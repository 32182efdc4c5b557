"""What browsers load stays small: the client, which pages embed, and the built-in page."""

from __future__ import annotations

import javascript

CLIENT = 14_000
"""Bytes, minified and gzipped: `python .ci/javascript.py size`."""
PAGE = 88_000
"""The same, with styles and the vendored parser of Markdown, which has half of them."""


def test_the_browser_client_stays_below_its_size_limit() -> None:
    assert javascript.client_size() <= CLIENT


def test_the_page_stays_below_its_size_limit() -> None:
    sizes = javascript.page_sizes()
    assert sum(sizes.values()) <= PAGE, sizes
