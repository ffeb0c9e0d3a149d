"""Runs the handlers that are about the operator itself: startup, cleanup, probe and login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconcile.causality import Trigger
from reconcile.clock import Clock
from reconcile.registry import Handler

from .attempt import Attempt, Call
from .queue import backoff_s
from .verdict import verdict

if TYPE_CHECKING:
    from .operation import Operation


async def run_activity(operation: Operation, handler: Handler) -> Any:
    """Call one until it succeeds; what it returned, or None if its errors are to be ignored.

    Raises:
        Exception: what it raised, once that is no reason to try again.
    """
    clock: Clock = operation.clock
    first_s, failures = clock.now(), 0
    call = Call(handler)
    while True:
        attempt = Attempt(operation, handler, failures=failures)
        attempt.first_s, attempt.reason = first_s, handler.trigger
        try:
            return await call.run(attempt, Trigger(operation.trigger_name(handler), 0, handler.trigger))
        except Exception as error:
            judged = verdict(handler, error, failures, clock.now() - first_s)
            if judged.ignored:
                return None
            if judged.stop:
                raise
            delay_s = judged.delay_s if judged.delay_s is not None else backoff_s(handler, failures, clock)
            operation.failed(handler, error, failures=failures, retry_s=delay_s, quiet=judged.quiet)
            failures += 1
            await clock.sleep(delay_s)
