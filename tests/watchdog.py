"""Ends a test process in which one test hangs for good, and says where.

The timer of pytest-timeout does not do this. It raises an exception once, which a callback of the
loop may catch; and a test that fails cancels it, so nothing ends a teardown that hangs afterwards.
A process of pytest-xdist that ends is replaced, and the test is reported as failed.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from types import AsyncGeneratorType, CoroutineType
from typing import Protocol, TextIO, TypeVar

import pytest

GRACE = 60.0
"""Seconds that a test, with its setup and teardown, may take beyond its timeout."""
T = TypeVar("T")


class _Settings(Protocol):
    timeout: float


class Watchdog:
    """A plugin that must be registered while the output is not captured."""

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        # A descriptor of its own, as capturing redirects the one of standard error.
        self._errors = os.fdopen(os.dup(sys.stderr.fileno()), "w", errors="backslashreplace")
        self._timer = threading.Timer(0, print)

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: _Settings) -> None:
        """Returns None, so that pytest-timeout sets its own timer, too."""
        name = item.nodeid
        seconds = settings.timeout + self._grace
        self._timer = threading.Timer(seconds, self._bite, (name, seconds))
        self._timer.daemon = True
        self._timer.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            self._timer.cancel()

    def pytest_enter_pdb(self) -> None:
        self._timer.cancel()

    def pytest_unconfigure(self) -> None:
        self._errors.close()

    def _bite(self, name: str, seconds: float) -> None:
        print(f"\n{name} has not ended after {seconds:.0f} s", file=self._errors, flush=True)
        try:
            faulthandler.dump_traceback(self._errors, all_threads=True)
            _print_waits(self._errors)
            for process in _existing(subprocess.Popen):
                process.kill()
        finally:
            os._exit(1)


def _print_waits(file: TextIO) -> None:
    """The thread of a loop that waits shows only the loop: what waits is in its coroutines."""
    for coroutine in _existing(CoroutineType):
        if coroutine.cr_await is not None:
            traceback.print_stack(coroutine.cr_frame, file=file)
    for generator in _existing(AsyncGeneratorType):
        if generator.ag_await is not None:
            traceback.print_stack(generator.ag_frame, file=file)
    file.flush()


def _existing(kind: type[T]) -> Iterator[T]:
    # The type itself: isinstance may call code of the object.
    return (one for one in gc.get_objects() if issubclass(type(one), kind))
