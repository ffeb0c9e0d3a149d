"""Errors of the API server that need more than `reconcile.errors` offers.

ApiError
├── ExpiredError
│   └── ContinueExpiredError   410, with a token that goes on inconsistently in metadata.continue
└── UnavailableError
    └── FutureRevisionError    504 Timeout, cause ResourceVersionTooLarge
"""

from __future__ import annotations

from reconcile.errors import Cause, ExpiredError, Tree, UnavailableError


class ContinueExpiredError(ExpiredError):
    """A continue token names a compacted revision; `continue_token` reads the rest of the list as it is now."""

    def __init__(self, continue_token: str) -> None:
        super().__init__(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
            "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
            "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
            "deleted between the time the first chunk was returned and now may show up in the list."
        )
        self.continue_token = continue_token

    def status(self) -> Tree:
        """The Status object that goes over the wire."""
        return {**super().status(), "metadata": {"continue": self.continue_token}}


class FutureRevisionError(UnavailableError):
    """The store has not reached the revision asked for; the reference server answers 504 Timeout."""

    code, reason = 504, "Timeout"

    def __init__(self, asked: int, newest: int) -> None:
        super().__init__(
            f"Too large resource version: {asked}, current: {newest}",
            details={"retryAfterSeconds": 1},
            causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        )
