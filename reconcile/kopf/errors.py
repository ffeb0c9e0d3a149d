"""kopf's exceptions, as those that the engine knows.

TemporaryError (reconcile)    ── TemporaryError        a delay of 60 s unless told otherwise
PermanentError (reconcile)    ── HandlerTimeoutError, HandlerRetriesError, HandlerFatalError, LoginError
ApiError (reconcile)          ── AdmissionError        the refusal of a write, with the code of one's choice
"""

from __future__ import annotations

import enum

from reconcile.errors import ApiError, PermanentError
from reconcile.errors import TemporaryError as Temporary

DEFAULT_RETRY_S = 60.0


class ErrorsMode(enum.Enum):
    """What arbitrary exceptions mean."""

    IGNORED = "ignored"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


class TemporaryError(Temporary):
    """Try again after `delay` seconds (None: with the usual back-off)."""

    def __init__(self, message: str = "", delay: float | None = DEFAULT_RETRY_S) -> None:
        super().__init__(message, None if delay is None else float(delay))
        self.delay = delay


class HandlerFatalError(PermanentError):
    """A handler that will never succeed."""


class HandlerTimeoutError(HandlerFatalError):
    """It took too long in all."""


class HandlerRetriesError(HandlerFatalError):
    """It was tried too often."""


class LoginError(PermanentError):
    """Nobody could log in."""


class AdmissionError(ApiError):
    """Refuses a write; the code is what the client sees."""

    def __init__(self, message: str = "", code: int = 500) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # of this refusal, not of the class


__all__ = [
    "AdmissionError", "ErrorsMode", "HandlerFatalError", "HandlerRetriesError", "HandlerTimeoutError", "LoginError",
    "PermanentError", "TemporaryError",
]  # fmt: skip
