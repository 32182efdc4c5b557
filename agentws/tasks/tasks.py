"""Tasks with an owner: who starts one ends it, and knows how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar

from .eager import EagerStarts

logger: Final = logging.getLogger("agentws")

T = TypeVar("T")


def new_task(
    work: Coroutine[Any, Any, T], *, name: str, context: Context | None = None
) -> asyncio.Task[T]:
    """A task with the context variables of ``context``, by default none.

    It starts in a later pass of the event loop, whatever task factory that loop has:
    ``asyncio.eager_task_factory`` would start it before this returns.
    """
    loop = asyncio.get_running_loop()
    context = Context() if context is None else context
    return asyncio.Task(work, loop=loop, name=name, context=context)


class Tasks:
    """Owns every task of one object with a lifespan.

    Not an ``asyncio.TaskGroup``: one failing task must not end the others, and a task that ignores
    its cancellation must not keep the owner from closing.

    A task sees the context variables of the ``context`` that it is given, and none of whoever made
    it: it may outlive the request that it was made in.
    """

    __slots__ = ("_eager", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._eager = EagerStarts()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(
        self, work: Coroutine[Any, Any, Any], *, name: str, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Runs ``work`` in a :func:`new_task` that is owned here; that it failed is logged."""
        return self._own(new_task(work, name=name, context=context), self._ended)

    def start(
        self,
        work: Coroutine[Any, Any, Any],
        *,
        name: str,
        context: Context | None = None,
        quiet: tuple[type[Exception], ...] = (),
    ) -> asyncio.Task[Any] | None:
        """Runs ``work`` in a task of its own, at once until it first has to wait.

        ``None`` when it finished. An exception of the part that ran here is raised here; one of
        the rest is logged, unless it is ``quiet``.
        """
        context = Context() if context is None else context
        task = self._eager.start(work, name=name, context=context)
        if task is None:
            return None
        return self._own(task, partial(self._ended, quiet=quiet) if quiet else self._ended)

    def ask(
        self,
        work: Coroutine[Any, Any, Any],
        *,
        name: str,
        immediate: bool,
        context: Context | None = None,
    ) -> None:
        """Runs ``work``, which asks a store: at once where the store is ``immediate``."""
        if immediate:
            self.start(work, name=name, context=context)
        else:
            self.spawn(work, name=name, context=context)

    def _own(
        self, task: asyncio.Task[Any], ended: Callable[[asyncio.Task[Any]], None]
    ) -> asyncio.Task[Any]:
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    def _ended(self, task: asyncio.Task[Any], quiet: tuple[type[Exception], ...] = ()) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, quiet):
            logger.error("%s failed", task.get_name(), exc_info=error)

    async def aclose(self, *, grace: float) -> int:
        """Cancels what still runs and waits for it at most ``grace`` seconds.

        Returns how many tasks ignored that.
        """
        self._eager.close()
        current = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not current}
        for task in tasks:
            task.cancel()
        if not tasks:
            return 0
        _, ignoring = await asyncio.wait(tasks, timeout=grace)
        return len(ignoring)
