"""The numbers and samples on the deployment page are those of the code."""

from __future__ import annotations

import re

from agentws import Limits
from agentws.cli.options import SERVING
from agentws.gateway.composition import SETTLING
from agentws.gateway.server_exit import POLL_INTERVAL
from agentws.server.draining import MIN_RESPONSE_SECONDS
from agentws.server.preset import MAX_MESSAGE_SIZE, SHUTDOWN_SECONDS
from agentws.transports.guard import Guard

from .pages import codes, page, rows, section

PAGE = page("deploy.md")
CLOSING = 2
"""Seconds: the tasks of the node and of its runs end within one, those of sessions after them."""


def test_a_shutdown_takes_as_long_as_the_page_says() -> None:
    limits = Limits()
    text = section(PAGE, "## A restart")
    said = [int(found[1]) for row in rows(text) if (found := re.fullmatch(r"(\d+) s", row[1]))]
    drain = [limits.drain_timeout, limits.cancel_grace, SETTLING]
    assert said == [*drain, MIN_RESPONSE_SECONDS, CLOSING]
    # After the longest drain, responses have only the minimum left.
    assert SHUTDOWN_SECONDS < sum(drain)
    assert sum(said) <= limits.drain_timeout + 10
    assert f"{sum(said)} seconds at worst" in text and f"{SHUTDOWN_SECONDS} seconds from" in text
    plain = SHUTDOWN_SECONDS + sum(drain) + CLOSING
    assert f"{plain:.0f} seconds at most with a timeout of {SHUTDOWN_SECONDS}" in " ".join(
        text.split()
    )
    given = re.findall(r"(?:GracePeriodSeconds: |Sec=|stop -t |process )(\d+)", text)
    assert len(given) == 5 and min(map(int, given)) > plain > sum(said)


def test_the_message_size_on_the_page_is_that_of_the_preset() -> None:
    assert f"{MAX_MESSAGE_SIZE // 1024} KiB" in section(PAGE, "## The server")


def test_the_nginx_location_is_the_prefix_of_the_gateway() -> None:
    text = section(PAGE, "## Behind nginx")
    (location,) = re.findall(r"location (/\S+)/ {", text)
    assert f"--prefix {location} " in text


def test_the_nginx_sample_passes_the_host_with_its_port() -> None:
    """Without the port, a page at another port than the default one has another origin."""
    assert "proxy_set_header Host $http_host;" in section(PAGE, "## Behind nginx")


def test_the_page_says_how_often_the_gateway_checks_for_a_shutdown_of_the_server() -> None:
    assert POLL_INTERVAL == 0.2
    assert "five times a second" in section(PAGE, "## A restart")


def test_every_host_and_origin_on_the_page_is_valid() -> None:
    tables = section(PAGE, "## Hosts and origins").split("| `allowed_origins` |")
    hosts, origins = ([one for row in rows(table) for one in codes(row[0])] for table in tables)
    assert len(hosts) > 5 and len(origins) > 5
    guard = Guard(allowed_hosts=hosts, allowed_origins=origins)
    assert guard.any_origin and len(guard.origins) == len(origins) - 1


def test_every_option_on_the_page_exists() -> None:
    used = set(re.findall(r"agentws run [^`]*?(--[a-z-]+)", PAGE))
    assert used <= {option.flag for option in SERVING}
