"""Why a write happens: the handler that makes it, carried in a context variable from the engine to the store.

The engine sets `TRIGGER` around each run of a handler; the API server keeps a `Cause` beside every revision that is written
meanwhile. A context variable follows tasks and `asyncio.to_thread`, so a handler need not know of it (nor can it lie about
it). A component that decides in one place and writes in another says on whose behalf it writes: `with because(pod): ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from .clock import Clock
    from .errors import Tree

_FIELDS = 6


@attrs.frozen
class Trigger:
    """What makes a write happen: a handler (or a client's name), and the newest revision that woke it (0: none did).

    `attempt` numbers the run of the handler within its process (0: no run of a handler), `merged` counts the changes that the
    run stands for, `source` is where a person asked for it (`web.yaml:14`), and `trace` the span that it is part of, as a
    traceparent. What is written meanwhile is noted in `wrote`.
    """

    handler: str
    revision: int = 0
    reason: str = "change"
    attempt: int = 0
    merged: int = 1
    source: str = ""
    trace: str = ""
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
    trace: str = ""

    @classmethod
    def of(cls, trigger: Trigger) -> Cause:
        """The cause that a trigger stands for."""
        return cls(
            trigger.handler, trigger.revision, trigger.reason, trigger.attempt, trigger.merged, trigger.source, trigger.trace
        )

    def encode(self) -> str:
        """The text that the store keeps."""
        words: tuple[object, ...] = (self.handler, self.revision, self.reason, self.attempt, self.merged, self.source)
        if self.trace:
            words = (*words, self.trace)
        return "\t".join(str(word).replace("\t", " ") for word in words)

    @classmethod
    def decode(cls, text: str | None) -> Cause | None:
        """What was kept; a text of another origin is the name of who wrote. None: nothing is known."""
        if not text:
            return None
        words = text.split("\t")
        if len(words) not in (_FIELDS, _FIELDS + 1):
            return cls(text)
        try:
            revision, attempt, merged = int(words[1]), int(words[3]), int(words[4])
        except ValueError:
            return cls(text)
        return cls(words[0], revision, words[2], attempt, merged, *words[5:])


_TRACEPARENT = re.compile(r"[0-9a-e][0-9a-f]-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
TRACEPARENT = "traceparent"
"""The HTTP header in which clients say of which trace a request is part. Source: https://www.w3.org/TR/trace-context/"""


def parse_traceparent(text: str) -> tuple[str, str, str] | None:
    """Trace, span and flags of a traceparent; None if it is none."""
    match = _TRACEPARENT.fullmatch(text)
    return (match[1], match[2], match[3]) if match is not None else None


class Span(Protocol):
    """Something that takes time, and is current until it ends."""

    traceparent: str

    def end(self, attributes: Mapping[str, Any] | None = None, error: str = "") -> None:
        """It is over; `error` says what went wrong."""


class Spans(Protocol):
    """Where spans are told; there is none unless somebody wants traces."""

    def begin(
        self, name: str, kind: str, attributes: Mapping[str, Any], *, clock: Clock | None = None, parent: str = "",
        revisions: Sequence[int] = (),
    ) -> Span:  # fmt: skip
        """Begin a span (internal, client or server), as part of `parent` or of the current one, and make it the current one.

        It is linked to the spans under which `revisions` were written, where that is known.
        """

    def wrote(self, revision: int, traceparent: str) -> None:
        """A revision was written under a span."""


_spans: Spans | None = None


def spans() -> Spans | None:
    """Where spans are told, if somebody wants them."""
    return _spans


def use_spans(wanted: Spans | None) -> None:
    """Tell spans there from now on."""
    global _spans
    _spans = wanted


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
