"""./dev ci: static checks, then the suite on each supported Python.

===================================  ====================================================
the oldest Python                    the whole suite
each other one                       the suite without LEFT_OUT and OF_PACKAGES
the newest one, eager tasks          of that EAGER, with ``asyncio.eager_task_factory`` set
the oldest one, the oldest packages  the suite without LEFT_OUT and OF_PYTHON, with tests/floors.txt
===================================  ====================================================

Every part runs, even if another one fails. Three run at a time: the first one in four processes,
as it is the longest, and each other one in two, since a test that starts a server mostly waits for
it.
"""

from __future__ import annotations

import dataclasses
import functools
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import checks
import environments
import pythons
from results import Log, Part, Result, by_test, run_parts, summary, whole
from services import services
from shell import Unavailable

AT_ONCE = 3
WHOLE_IN = 4
OTHERS_IN = 2
"""Processes of the part that runs the whole suite, and of each other part."""
SOAK = 0.2
"""The share of the random schedules that the other Pythons run."""
LEFT_OUT = {
    "tests/browser": "the page runs in the browser",
    "tests/cluster": "kills, freezes and cuts off whole nodes, as tests/failover does",
    "tests/cli/test_answering.py": "answers by the client of tests/client",
    "tests/cli/test_encodings.py": "decodes bytes, by codecs that are the same on each Python",
    "tests/cli/test_postgres_store.py": "asks a store of tests/stores from the command line",
    "tests/cli/test_proxies.py": "reports what the client of tests/client raises",
    "tests/cli/test_redis_store.py": "asks a store of tests/stores from the command line",
    "tests/cli/test_usage.py": "reads arguments",
    "tests/cli/test_workers.py": "starts the workers of tests/server from the command line",
    "tests/crowds": "measures the load that one process can take",
    "tests/dev": "finds Pythons and makes environments",
    "tests/docs": "compares pages with the code",
    "tests/examples/test_cluster.py": "kills whole nodes, as tests/failover does",
    "tests/examples/test_every_store.py": "runs one example on the stores of tests/stores",
    "tests/examples/test_pages.py": "tests the browser's side of the examples",
    "tests/laws/test_cost.py": "counts calls of the store, and no task changes their number",
    "tests/mission": "kills what the other tests run",
    "tests/protocol/test_browser.py": "runs the browser's client",
    "tests/server/test_attacks.py": "measures what attacks cost",
    "tests/server/test_bench.py": "runs the benchmark",
    "tests/server/test_bench_stores.py": "runs the benchmark of the stores",
    "tests/servers": "tests the database servers of the other tests",
    "tests/soak": "runs the scenarios of tests/cluster at random",
    "tests/stores/test_faults.py": "tests a store of the tests, over the one of test_memory.py",
    "tests/stores/test_postgres_durability.py": "makes the database server fail, not its client",
    "tests/stores/test_postgres_faults.py": "makes the database server fail, not its client",
    "tests/stores/test_postgres_gateways.py": "makes the database server fail, not its client",
    "tests/stores/test_postgres_schema.py": "asks the database how it keeps the log",
    "tests/stores/test_postgres_search.py": "asks the database for what its index finds",
    "tests/stores/test_redis_cluster.py": "makes the nodes of the database fail, not its client",
    "tests/stores/test_redis_durability.py": "makes the database server fail, not its client",
    "tests/stores/test_redis_others.py": "asks other servers what test_redis.py asks one",
    "tests/stores/test_sqlite_search.py": "asks the database for what its index finds",
    "tests/test_checkout.py": "installs what the other parts have installed",
    "tests/test_layers.py": "reads imports",
    "tests/test_packaging.py": "builds the wheel, which is the same everywhere",
}
"""Tests that run once, on the oldest Python with the newest packages, and why that is enough."""
OF_PACKAGES = {
    "tests/agents": "asks models by their own packages",
    "tests/examples": "runs the servers of tests/server with other agents",
    "tests/files/test_s3.py": "stores files by obstore, which is compiled",
    "tests/http/test_access.py": "computes answers from headers",
    "tests/http/test_commands.py": "calls one route after another, without a stream",
    "tests/http/test_conversation.py": "calls one route after another, without a stream",
    "tests/http/test_export.py": "computes a page from a log",
    "tests/http/test_lists.py": "calls one route after another, without a stream",
    "tests/http/test_page.py": "serves files by Starlette",
    "tests/http/test_precedence.py": "computes the order of Starlette's routes",
    "tests/http/test_prefix.py": "computes paths of Starlette's routes",
    "tests/http/test_sending.py": "calls one route after another, without a stream",
    "tests/http/test_sessions.py": "calls one route after another, without a stream",
    "tests/http/test_state.py": "calls one route after another, without a stream",
    "tests/integrations": "asks models by their own packages",
    "tests/protocol": "computes without tasks, sockets or threads",
    "tests/server/test_reload.py": "restarts uvicorn by the signals of test_signals.py",
    "tests/session/test_large_pages.py": "computes pages from logs",
    "tests/session/test_page_reads.py": "computes pages from logs",
    "tests/session/test_page_sizes.py": "computes pages from logs",
    "tests/session/test_paged_notices.py": "computes pages from logs",
    "tests/stores/test_postgres_pooler.py": "asks the pooler what tests/stores asks the server",
    "tests/transports/test_hosts.py": "computes answers from headers",
    "tests/transports/test_origins.py": "computes answers from headers",
}
"""Tests that run on the oldest Python only, with the newest and with the oldest packages.

Their result can depend on a package, but not on the version of Python.
"""
OF_PYTHON = {
    "tests/laws": "orders the steps of tests/runs at random",
    "tests/session/test_schedules.py": "orders the steps of tests/session at random",
    "tests/topics/test_schedules.py": "orders the steps of tests/topics at random",
}
"""Tests that do not run with the oldest packages.

Their result can depend on when Python starts a task, but not on the version of a package.
"""
NOT_EAGER = {
    "tests/client/test_against_gateway.py::"
    "test_a_snapshot_brings_the_notices_that_were_pushed_before": "asks by httpx2",
    "tests/http/test_precedence.py": "serves files by Starlette's FileResponse",
    "tests/runs/test_failures.py": "raises in a task group of the agent's own",
}
"""Tests that can't run with eager tasks, because of bugs in other packages.

anyio loses a cancel scope that a child task enters before its first wait, and the
``asyncio.TaskGroup`` of Python 3.13.0 loses an exception that a child task raises before that.
"""
EAGER = (
    *("buses", "client", "http", "laws", "runs", "server", "session", "stores", "transports"),
    *("test_broadcast.py", "test_eager.py", "test_validation.py", "test_housekeeping.py"),
)
"""The parts of tests/ that create and await tasks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """The suite in one environment."""

    version: str
    whole: bool = False
    """Includes LEFT_OUT, all random schedules, and the JavaScript tests."""
    eager: bool = False
    oldest: bool = False

    @property
    def name(self) -> str:
        eager = ", eager tasks" if self.eager else ""
        oldest = ", the oldest packages" if self.oldest else ""
        return f"Python {self.version}{eager}{oldest}"

    def python(self) -> Path:
        """The interpreter of its environment, which is made if missing. Raises Unavailable."""
        return environments.prepared(self.version, eager=self.eager, oldest=self.oldest)

    def run(self, log: Log, tools: Mapping[str, str]) -> Result:
        python = self.python()
        env = {**tools, "AGENTWS_PYTHON": str(python)}
        chosen = checks.beside(WHOLE_IN) if self.whole else self._parts()
        pytest = functools.partial(checks.pytest, python, chosen)
        result = by_test(log, "pytest", pytest, env)
        if self.whole:
            result.add(by_test(log, "node --test", functools.partial(checks.javascript, env), env))
        return result

    def _parts(self) -> list[str]:
        left_out = {*LEFT_OUT, *(OF_PYTHON if self.oldest else OF_PACKAGES)}
        parts = [*checks.beside(OTHERS_IN), f"--soak={SOAK}"]
        parts += [f"--ignore={path}" for path in sorted(left_out)]
        if self.eager:
            parts += [f"--deselect={test}" for test in NOT_EAGER]
            parts += [f"tests/{part}" for part in EAGER]
        return parts


def plan() -> list[Suite]:
    oldest, *others = pythons.supported()
    return [
        Suite(version=oldest, whole=True),
        # The longer ones first, so that the last parts end at about the same time.
        Suite(version=oldest, oldest=True),
        *(Suite(version=version) for version in others),
        Suite(version=others[-1], eager=True),
    ]


def run() -> int:
    """Returns the exit status. A supported Python that can't be found is a failure."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    suites = plan()
    tools = services()
    prepare(suites[:1])
    preparations = [
        Part("static checks", static_checks),
        Part("environments", lambda log: prepare(suites[1:])),
    ]
    results = run_parts(preparations, at_once=AT_ONCE)
    parts = [Part(suite.name, functools.partial(suite.run, tools=tools)) for suite in suites]
    return summary(results | run_parts(parts, at_once=AT_ONCE))


def static_checks(log: Log) -> Result:
    result = Result()
    python = plan()[0].python()
    for name, command in checks.static(python, pythons.supported()).items():
        result.add(whole(log, name, command))
    return result


def prepare(suites: list[Suite]) -> Result:
    """Make the environments. If one fails, the part that needs it reports the failure."""
    for suite in suites:
        with suppress(Unavailable):
            suite.python()
    return Result()
