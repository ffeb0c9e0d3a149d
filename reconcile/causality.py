"""Why a write happens: the handler that makes it, carried in a context variable from the engine to the store.

The engine sets `TRIGGER` around each run of a handler; the API server hands its text to the store with every transaction.
A context variable follows tasks and `asyncio.to_thread`, so a handler need not know of it (nor can it lie about it).
"""

from __future__ import annotations

from contextvars import ContextVar

import attrs


@attrs.frozen
class Trigger:
    """What makes a write happen: a handler (or a client's name), and the newest revision that woke it (0: none did)."""

    handler: str
    revision: int = 0
    reason: str = "change"

    def __str__(self) -> str:
        return f"{self.handler} {self.revision} {self.reason}"


TRIGGER: ContextVar[Trigger | None] = ContextVar("reconcile_trigger", default=None)
"""The trigger of what runs now; None outside handlers."""
