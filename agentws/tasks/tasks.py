"""Tasks with an owner, which cancels them when it closes and logs those that fail."""

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
    coroutine: Coroutine[Any, Any, T], *, name: str, context: Context | None = None
) -> asyncio.Task[T]:
    """A task with the context variables of ``context``, by default none.

    It starts in a later pass of the event loop, also on a loop with ``asyncio.eager_task_factory``,
    which would start it before this returns.
    """
    loop = asyncio.get_running_loop()
    context = Context() if context is None else context
    return asyncio.Task(coroutine, loop=loop, name=name, context=context)


class Tasks:
    """Owns every task of one object with a lifespan.

    Not an ``asyncio.TaskGroup``: one failing task must not end the others, and a task that ignores
    its cancellation must not keep the owner from closing.

    A task sees the context variables of the given ``context``, and none of its caller's: it may
    outlive the request that it was made in.
    """

    __slots__ = ("_eager", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._eager = EagerStarts()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Runs ``coroutine`` in a :func:`new_task` that is owned here; a failure is logged."""
        return self._add(new_task(coroutine, name=name, context=context), self._task_ended)

    def start(
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        name: str,
        context: Context | None = None,
        quiet: tuple[type[Exception], ...] = (),
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Task[Any] | None:
        """Runs ``coroutine`` in its own task, and its first step, until it first waits, at once.

        ``None`` when it has ended by then. An exception of the first step is raised here; a later
        one is logged, unless it is of a type in ``quiet``. A caller that has the running ``loop``
        gives it, since asking for it is a system call before Python 3.12.
        """
        if context is None:
            context = Context()
        if loop is None:
            loop = asyncio.get_running_loop()
        task = self._eager.start(coroutine, name, context, loop)
        if task is None:
            return None
        return self._add(
            task, partial(self._task_ended, quiet=quiet) if quiet else self._task_ended
        )

    def call_store(
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        name: str,
        immediate: bool,
        context: Context | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Runs ``coroutine``, which calls a store: at once if the store is ``immediate``."""
        if immediate:
            self.start(coroutine, name=name, context=context, loop=loop)
        else:
            self.spawn(coroutine, name=name, context=context)

    def _add(
        self, task: asyncio.Task[Any], ended: Callable[[asyncio.Task[Any]], None]
    ) -> asyncio.Task[Any]:
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any], quiet: tuple[type[Exception], ...] = ()) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, quiet):
            logger.error("%s failed", task.get_name(), exc_info=error)

    async def aclose(self, *, grace: float) -> int:
        """Cancels the tasks that still run, and waits for them at most ``grace`` seconds.

        Returns how many of them ignored their cancellation.
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
