"""How much history a store keeps, and the task that forgets the rest.

Compaction itself is the store's: this only decides how far, from time to time. The rows go in small slices between the
writes of clients, and a crash in the middle is resumed at the next start.
"""

from __future__ import annotations

import logging
from typing import Self

import attrs

from reconcile.clock import Clock, duration_s

from .errors import CompactedError, StoreError
from .interface import WatchStore

log = logging.getLogger(__name__)

_CHECK_S_MIN, _CHECK_S_MAX = 10.0, 300.0


@attrs.frozen
class HistoryKeep:
    """How much history stays readable: what either bound asks for, whichever is more."""

    seconds: float = 3600.0
    revisions: int = 10_000

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1h/10000` (what --history-keep takes); `30m` and `/500` name one bound, and the other is zero.

        Raises:
            ValueError: it is not of that form; the message says what is.
        """
        time, _, count = text.partition("/")
        try:
            if not (time or count):
                raise ValueError("it is empty")
            if count and not count.isdecimal():
                raise ValueError(f"{count!r} is not a number of revisions")
            return cls(duration_s(time) if time else 0.0, int(count or 0))
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; give DURATION/REVISIONS, for example 1h/10000, 30m or /500") from None

    def __str__(self) -> str:
        return f"{self.seconds:g}s/{self.revisions}"

    async def due(self, store: WatchStore, now_s: float) -> int | None:
        """The revision that history may begin at now; None if all that there is shall stay."""
        old = await store.revision_at(now_s - self.seconds)
        if old is None:
            return None
        revision = min(old, store.revision - self.revisions)
        return revision if revision > max(1, store.compacted) else None


async def keep_history(store: WatchStore, clock: Clock, keep: HistoryKeep) -> None:
    """Forget what `keep` does not ask for, every few minutes, until cancelled or until the store serves no more."""
    check_s = min(_CHECK_S_MAX, max(_CHECK_S_MIN, keep.seconds / 10))
    while True:
        await clock.sleep(check_s)
        try:
            revision = await keep.due(store, clock.now())
            if revision is not None:
                await store.compact(revision)
        except CompactedError:
            continue  # somebody did so over the wire, up to here or further
        except StoreError as error:
            log.warning("the store was not compacted, it will be tried again", extra={"error": str(error)})
