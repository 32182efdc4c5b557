"""Tasks with an owner: who starts one ends it, and knows how it ended."""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final

logger: Final = logging.getLogger("agentws")


class Tasks:
    """Owns every task of one object with a lifespan.

    Not an ``asyncio.TaskGroup``: one failing task must not end the others, and a task that ignores
    its cancellation must not keep the owner from closing.
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Runs ``work`` in a task of its own; that it failed is logged."""
        return self._own(work, name, self._ended)

    def start(
        self,
        work: Coroutine[Any, Any, Any],
        *,
        name: str,
        quiet: tuple[type[Exception], ...] = (),
    ) -> asyncio.Task[Any] | None:
        """Runs ``work`` at once until it first has to wait; only then does it cost a task.

        ``None`` when it finished. An exception of the part that ran here is raised here; one of
        the rest is logged, unless it is ``quiet``.
        """
        try:
            waiting = work.send(None)
        except StopIteration:
            return None
        ended = partial(self._ended, quiet=quiet) if quiet else self._ended
        return self._own(resume(work, waiting), name, ended)

    def ask(self, work: Coroutine[Any, Any, Any], *, name: str, immediate: bool) -> None:
        """Runs ``work``, which asks a store that may be ``immediate``.

        Any other may use timeouts and the like, which belong to a task: it gets one of its own,
        never that of whoever began this.
        """
        if immediate:
            self.start(work, name=name)
        else:
            self.spawn(work, name=name)

    def _own(
        self,
        work: Coroutine[Any, Any, Any],
        name: str,
        ended: Callable[[asyncio.Task[Any]], None],
    ) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
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
        current = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not current}
        for task in tasks:
            task.cancel()
        if not tasks:
            return 0
        _, ignoring = await asyncio.wait(tasks, timeout=grace)
        return len(ignoring)


@types.coroutine
def resume(work: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """The rest of ``work``, which was begun by hand and has asked its loop to wait for ``waiting``.

    Awaited in the task in which it was begun, or in another that nothing in it knows of.
    """
    try:
        while True:
            try:
                value = yield waiting
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:
                waiting = work.throw(error)
            else:
                waiting = work.send(value)
    except StopIteration as done:
        return done.value
