"""What becomes of a handler that raised: tried again, and when, or not until its object changes."""

from __future__ import annotations

import attrs

from reconcile.errors import ApiError, ConflictError, PermanentError, TemporaryError
from reconcile.registry import Handler

CONFLICTS_QUIET = 5


@attrs.frozen
class Verdict:
    """`stop`: not until the object changes; else after `delay_s` (None: the usual back-off). `quiet`: no reason for alarm.

    `ignored`: the handler is done all the same, as its declaration says.
    """

    stop: bool
    delay_s: float | None
    quiet: bool
    ignored: bool = False


def verdict(handler: Handler, error: Exception, failures: int, running_s: float = 0.0) -> Verdict:
    """Judge the failure number `failures` + 1 in a row, `running_s` seconds after the first of these attempts began."""
    if isinstance(error, PermanentError):
        return Verdict(True, None, False)
    if handler.errors != "temporary" and not isinstance(error, TemporaryError | ConflictError):
        return Verdict(True, None, handler.errors == "ignored", handler.errors == "ignored")
    if handler.retries_max and failures + 1 >= handler.retries_max:
        return Verdict(True, None, False)
    if handler.deadline_s and running_s >= handler.deadline_s:
        return Verdict(True, None, False)
    if isinstance(error, TemporaryError):
        # A handler that says "later" is at work as meant; one that was cancelled for its time is not.
        return Verdict(False, error.delay_s, not isinstance(error.__cause__, TimeoutError))
    if isinstance(error, ConflictError):
        # Somebody else wrote first: part of life, unless it never ends.
        return Verdict(False, None, failures < CONFLICTS_QUIET)
    if isinstance(error, ApiError) and (after_s := error.details.get("retryAfterSeconds")):
        return Verdict(False, float(after_s), False)
    return Verdict(False, None, False)
