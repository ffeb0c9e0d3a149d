"""Runs plain functions in threads of their own.

A pool that all share starves: a few handlers that wait (or daemons, which never end) take all its threads, and the others never
start, silently. How many run at once is bounded by each handler's workers already. A thread keeps nobody from ending the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class EachItsOwn(Executor):
    """An executor with a thread for each call."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a thread that calls `fn`."""
        done: Future[Any] = Future()
        done.set_running_or_notify_cancel()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                done.set_exception(error)
            else:
                done.set_result(result)

        threading.Thread(target=run, name=getattr(fn, "__name__", "handler"), daemon=True).start()
        return done


_EXECUTOR = EachItsOwn()


async def in_thread(fn: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a thread of its own, with the caller's context (its cause, most of all)."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_EXECUTOR, functools.partial(context.run, fn, *args))
