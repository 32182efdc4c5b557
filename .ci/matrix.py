"""./dev ci: static checks, then the suite on each supported Python.

===================================  ====================================================
the oldest Python                    the whole suite
each other one                       the suite without LEFT_OUT and SAME_EVERYWHERE
the newest one, eager tasks          EAGER, with ``asyncio.eager_task_factory`` set
the oldest one, the oldest packages  the suite without LEFT_OUT, with tests/floors.txt
===================================  ====================================================

Every part runs, even if another one fails. Two run at a time, as a part waits half of its time; the
first one in two processes, since it is the longest.
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

AT_ONCE = 2
SOAK = 0.5
"""The share of the random schedules that the other Pythons run."""
LEFT_OUT = {
    "tests/browser": "the page runs in the browser",
    "tests/cluster": "kills, freezes and cuts off whole nodes, as tests/failover does",
    "tests/cli/test_usage.py": "reads arguments",
    "tests/crowds": "measures the load that one process can take",
    "tests/docs": "compares pages with the code",
    "tests/examples/test_pages.py": "tests the browser's side of the examples",
    "tests/mission": "kills what the other tests run",
    "tests/protocol/test_browser.py": "runs the browser's client",
    "tests/server/test_attacks.py": "measures what attacks cost",
    "tests/server/test_bench.py": "runs the benchmark",
    "tests/soak": "runs the scenarios of tests/cluster at random",
    "tests/stores/test_postgres_faults.py": "makes the database server fail, not its client",
    "tests/test_checkout.py": "installs what the other parts have installed",
    "tests/test_layers.py": "reads imports",
    "tests/test_packaging.py": "builds the wheel, which is the same everywhere",
}
"""Tests that run on the oldest Python only, and why that is enough."""
SAME_EVERYWHERE = {
    "tests/agents": "asks models by their own packages",
    "tests/dev": "finds Pythons and makes environments",
    "tests/integrations": "asks models by their own packages",
    "tests/protocol": "computes without tasks, sockets or threads",
}
"""Tests that run with the oldest Python only, as their result can't depend on the version."""
PACKAGES = frozenset({"tests/agents", "tests/integrations"})
"""Those of SAME_EVERYWHERE that run with the oldest packages, too."""
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
        chosen = checks.BESIDE if self.whole else [f"--soak={SOAK}", *self._parts()]
        pytest = functools.partial(checks.pytest, python, chosen)
        result = by_test(log, "pytest", pytest, env)
        if self.whole:
            result.add(by_test(log, "node --test", functools.partial(checks.javascript, env), env))
        return result

    def _parts(self) -> list[str]:
        left_out = [f"--ignore={path}" for path in LEFT_OUT]
        if self.eager:
            left_out += [f"--deselect={test}" for test in NOT_EAGER]
            left_out += [f"tests/{part}" for part in EAGER]
        else:
            packages = PACKAGES if self.oldest else frozenset()
            left_out += [f"--ignore={path}" for path in sorted(SAME_EVERYWHERE.keys() - packages)]
        return left_out


def plan() -> list[Suite]:
    oldest, *others = pythons.supported()
    return [
        Suite(version=oldest, whole=True),
        *(Suite(version=version) for version in others),
        # The longer one first, so that the last two parts end at about the same time.
        Suite(version=oldest, oldest=True),
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
