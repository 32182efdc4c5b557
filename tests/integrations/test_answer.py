"""Properties of reading a provider's stream: text, token counts and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws.agents.usage import token_count
from agentws.integrations.answer import Counts, Unicode, error_status, unicode

units = st.text(st.sampled_from("aé😀\x00\ud83d\ude00\ud800\udfff\uffff"), max_size=12)


@given(st.lists(units, max_size=6))
def test_the_text_is_the_same_however_it_is_split_into_pieces(pieces: list[str]) -> None:
    text = Unicode()
    joined = "".join(text.add(piece) for piece in pieces) + text.flush()
    assert joined == unicode("".join(pieces).replace("\x00", ""))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), st.data())
def test_text_may_be_split_between_the_surrogates_of_a_character(
    text: str, data: st.DataObject
) -> None:
    """In JSON, a character beyond U+FFFF is two escape sequences."""
    halves = [chr(unit) for unit in memoryview(text.encode("utf-16-le")).cast("H")]
    reader, read, at = Unicode(), "", 0
    while at < len(halves):
        size = data.draw(st.integers(1, 3))
        read += reader.add(json.loads(json.dumps("".join(halves[at : at + size]))))
        at += size
    assert read + reader.flush() == text


@given(st.lists(units, max_size=6))
def test_the_text_that_is_read_can_always_be_stored(pieces: list[str]) -> None:
    text = Unicode()
    for read in [*map(text.add, pieces), text.flush()]:
        read.encode()
        assert "\x00" not in read


numbers = st.none() | st.integers(-5, 5) | st.floats() | st.text(max_size=2)


@given(st.lists(st.dictionaries(st.sampled_from("ab"), numbers), max_size=5))
def test_the_last_readable_value_of_a_token_count_is_used(usages: list[dict[str, Any]]) -> None:
    one_by_one, together = Counts(), Counts()
    for usage in usages:
        one_by_one.add(usage, "ab")
    together.add(usages, "ab")
    for name in "ab":
        known = [n for usage in usages if (n := token_count(usage.get(name))) is not None]
        assert one_by_one.get(name) == together.get(name) == (known[-1] if known else None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"code": 429}}, 429),
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}], 429),
        ({"code": "429"}, 429),
        ({"code": 429.0}, 429),
        ({"code": "Throttling.RateQuota"}, 429),
        ({"type": "RateLimitError"}, 429),
        ({"status": 503, "type": "rate_limit_error"}, 503),
        ({"status": 429, "code": "insufficient_quota"}, 402),
        ({"code": 400, "type": "context_length_exceeded"}, 413),
        ({"type": "overloaded_error"}, 529),
        ({"type": "timeout_error"}, 504),
        ({"type": "authentication_error"}, 401),
        ({"code": "invalid_api_key", "type": "invalid_request_error"}, 401),
        ({"type": "permission_error"}, 403),
        ({"code": "model_not_found"}, 404),
        ({"type": "invalid_request_error"}, 400),
        ({"type": "api_error"}, 500),
        ("Too many requests, please wait", 429),
        ({"error": "You are rate limited"}, 429),
        ({"error": True}, 0),
        ({"message": "429 Client Error", "code": None}, 429),
        ({"message": "Error code: 429 - {}", "code": None}, 429),
        ({"message": "That is worth 429 dollars"}, 0),
        ({"message": "It broke"}, 0),
        ({"code": 200}, 0),
        ({"code": True, "type": 5, "status": ["429"]}, 0),
        ({"id": "x", "object": "chat.completion.chunk", "choices": []}, 0),
        ({}, 0),
        ([], 0),
        ("", 0),
        (None, 0),
        (5, 0),
    ],
)
def test_an_error_in_a_stream_has_an_http_status(body: Any, status: int) -> None:
    assert error_status(body) == status


def test_an_error_may_be_nested_to_any_depth() -> None:
    body: Any = {"code": 429}
    for _ in range(50_000):
        body = {"error": body}
    assert error_status(body) == 0
    while isinstance(body, dict):
        body = body.get("error")
