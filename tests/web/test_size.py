"""The browser client stays small: it is loaded by every page that embeds a chat."""

from __future__ import annotations

import javascript

LIMIT = 10_500
"""Bytes, minified and gzipped: `python .ci/javascript.py size`."""


def test_the_browser_client_stays_below_its_size_limit() -> None:
    assert javascript.client_size() <= LIMIT
