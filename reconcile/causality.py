"""Why a write happens: the handler that makes it, carried in a context variable from the engine to the store.

The engine sets `TRIGGER` around each run of a handler; the API server keeps a `Cause` beside every revision that is written
meanwhile. A context variable follows tasks and `asyncio.to_thread`, so a handler need not know of it (nor can it lie about
it). A component that decides in one place and writes in another says on whose behalf it writes: `with because(pod): ...`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .errors import Tree

_FIELDS = 6


@attrs.frozen
class Trigger:
    """What makes a write happen: a handler (or a client's name), and the newest revision that woke it (0: none did).

    `attempt` numbers the run of the handler within its process (0: no run of a handler), `merged` counts the changes that the
    run stands for, `source` is where a person asked for it (`web.yaml:14`). What is written meanwhile is noted in `wrote`.
    """

    handler: str
    revision: int = 0
    reason: str = "change"
    attempt: int = 0
    merged: int = 1
    source: str = ""
    wrote: list[int] = attrs.field(factory=list, eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.handler} {self.revision} {self.reason}"


CAUSE_HEADER = "Reconcile-Cause"
"""The HTTP header in which our own clients tell a server of ours why they write: a `Cause` as text, percent-encoded."""
TRIGGER: ContextVar[Trigger | None] = ContextVar("reconcile_trigger", default=None)
"""The trigger of what runs now; None outside handlers."""


@attrs.frozen
class Cause:
    """What is kept beside a revision: its trigger."""

    handler: str
    revision: int = 0
    reason: str = ""
    attempt: int = 0
    merged: int = 1
    source: str = ""

    @classmethod
    def of(cls, trigger: Trigger) -> Cause:
        """The cause that a trigger stands for."""
        return cls(trigger.handler, trigger.revision, trigger.reason, trigger.attempt, trigger.merged, trigger.source)

    def encode(self) -> str:
        """The text that the store keeps."""
        words = (self.handler, self.revision, self.reason, self.attempt, self.merged, self.source)
        return "\t".join(str(word).replace("\t", " ") for word in words)

    @classmethod
    def decode(cls, text: str | None) -> Cause | None:
        """What was kept; a text of another origin is the name of who wrote. None: nothing is known."""
        if not text:
            return None
        words = text.split("\t")
        if len(words) != _FIELDS:
            return cls(text)
        try:
            revision, attempt, merged = int(words[1]), int(words[3]), int(words[4])
        except ValueError:
            return cls(text)
        return cls(words[0], revision, words[2], attempt, merged, words[5])


@contextmanager
def because(change: Tree | int, *, by: str = "", reason: str = "change") -> Iterator[None]:
    """Within it, writes are caused by `change`: an object, or a revision.

    For who hears of an object in one place and acts in another. `by` names what acts, instead of the handler that is running.
    Outside handlers it changes nothing.
    """
    trigger = TRIGGER.get()
    if trigger is None:
        yield
        return
    revision = change if isinstance(change, int) else int(change["metadata"].get("resourceVersion") or 0)
    handler = f"{trigger.handler.partition('/')[0]}/{by}" if by else trigger.handler
    token = TRIGGER.set(attrs.evolve(trigger, handler=handler, revision=revision, reason=reason, attempt=0, merged=1))
    try:
        yield
    finally:
        TRIGGER.reset(token)
