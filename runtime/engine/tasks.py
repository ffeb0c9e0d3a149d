"""Owns tasks: everything that an operator or the engine runs ends when its owner closes."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Tasks:
    """A set of tasks with one end. An `asyncio.TaskGroup` would end all of them at the first error of one."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        # Workers are started from wherever a key was added, a handler's write included. They must not inherit its cause.
        self._context = contextvars.copy_context()
        self._closed = False

    def spawn(
        self, coroutine: Coroutine[Any, Any, None], name: str, *, inherit: bool = False, ended: Callable[[], object] | None = None
    ) -> None:
        """Run a coroutine as a task; with `inherit` in a copy of the caller's context (its cause, most of all).

        `ended` is called when it is over, also if it was cancelled before it began.
        """
        if self._closed:
            coroutine.close()
            if ended is not None:
                ended()
            return
        context = None if inherit else self._context.copy()
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self._tasks.add(task)
        if ended is not None:
            task.add_done_callback(lambda _: ended())
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        self._closed = True
        current = asyncio.current_task()
        while tasks := [task for task in self._tasks if task is not current]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s failed", task.get_name(), exc_info=error)
