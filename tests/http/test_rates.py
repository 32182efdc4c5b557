"""The rates of messages, bytes and reads over HTTP, for each caller."""

from __future__ import annotations

import asyncio

import pytest

from agentws import BearerKeys, Limits
from agentws.errors import TooMany
from agentws.testing.virtual import virtual_run
from agentws.transports.rates import EXPENSIVE, REMEMBERED, Paces

from .calling import client, say, served


async def test_a_caller_over_the_message_rate_gets_429_with_retry_after() -> None:
    limits = Limits(message_rate=0.5, message_burst=3)
    async with served(limits=limits) as (_, http):
        statuses = [(await say(http, "/help", f"m{number}")).status_code for number in range(4)]
        assert statuses == [200, 200, 200, 429]
        response = await say(http, "/help")
        assert 1 <= int(response.headers["retry-after"]) <= 2
        assert response.json()["retryAfter"] > 0
        assert (await http.get("/stats")).status_code == 200


async def test_reads_are_rate_limited_by_what_they_cost() -> None:
    keys = BearerKeys({"ann": "ann", "bob": "bob"})
    limits = Limits(read_rate=0.5, read_burst=2 * EXPENSIVE + 3)
    async with served(authenticate=keys, limits=limits) as (gateway, _):
        ann, bob = (client(gateway, authorization=f"Bearer {key}") for key in ("ann", "bob"))
        session = "ses_of_ann_0123456789"
        assert (await say(ann, "/help", session=session)).status_code == 200
        for path in ("/sessions?query=words", f"/sessions/{session}/export"):
            assert (await ann.get(path)).status_code == 200
        for path in ("", "/messages", "/state"):
            assert (await ann.get(f"/sessions/{session}{path}")).status_code == 200
        refused = await ann.get("/sessions")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
        assert int(refused.headers["retry-after"]) <= 2
        # What is no read, and what others do.
        polled = {"accept": "application/json"}
        assert (await ann.get(f"/sessions/{session}/events", headers=polled)).status_code == 200
        assert (await say(ann, "/help", session=session)).status_code == 200
        assert (await ann.get("/health")).status_code == 200
        assert (await bob.get("/sessions?query=words")).status_code == 200


async def test_each_caller_has_its_own_rate_limit() -> None:
    keys = BearerKeys({"ann": "ann", "bob": "bob"})
    limits = Limits(message_rate=0.001, message_burst=1)
    async with served(authenticate=keys, limits=limits) as (gateway, _):
        for key in ("ann", "bob"):
            http = client(gateway, authorization=f"Bearer {key}")
            url = f"ses_of_{key}_0123456789"
            assert (await say(http, "/help", session=url)).status_code == 200
            assert (await say(http, "/help", session=url)).status_code == 429


async def test_body_bytes_are_rate_limited() -> None:
    limits = Limits(byte_rate=1.0, max_message_size=1000)
    async with served(limits=limits) as (_, http):
        assert (await say(http, "/help " + "x" * 800, "m1")).status_code == 200
        assert (await say(http, "/help " + "x" * 800, "m2")).status_code == 429


async def test_the_number_of_remembered_callers_is_bounded() -> None:
    paces = Paces(Limits())
    for number in range(REMEMBERED + 10):
        paces.count(f"address {number}")
    assert repr(paces) == f"<Paces callers={REMEMBERED}>"


@pytest.mark.parametrize("rate", [3.0, 7.0, 300.0, 900.0])
def test_a_caller_that_waits_as_long_as_it_is_told_is_not_refused_again(rate: float) -> None:
    async def call_twice() -> None:
        paces = Paces(Limits(message_rate=rate, message_burst=1))
        paces.count("address")
        with pytest.raises(TooMany) as refused:
            paces.count("address")
        assert refused.value.retry_after is not None
        await asyncio.sleep(refused.value.retry_after)
        paces.count("address")

    virtual_run(call_twice())
