"""Reading the past: from the ring if it is recent, else from the disk.

What lies before the compacted revision is refused. That is looked at again after each read: a compaction meanwhile may
have taken rows that the read needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from .answer import answer
from .database import Database
from .errors import CompactedError, FutureRevisionError, KeyEmptyError, StoreFailedError
from .hashkv import hash_log
from .index import Index
from .log import Replay, cause_at, causes_of, changes_of, made_at, range_at, replay, revision_before, sizes_bytes
from .model import Change, Range, RangeResponse
from .ring import Ring

_REPLAY_BYTES_MAX = 8 << 20
_Result = TypeVar("_Result")


class Archive:
    """The past of a store. `compacted` is where it begins; `serving` raises when the store serves no more."""

    def __init__(self, database: Database, index: Index, ring: Ring, compacted: int, serving: Callable[[], None]) -> None:
        self._database = database
        self._index = index
        self._ring = ring
        self._serving = serving
        self.compacted = compacted

    async def range(self, request: Range) -> RangeResponse:
        """Answer a range at a revision before the present; see Store.range_at."""
        revision, key, range_end = request.revision, request.key, request.range_end
        if not key:
            raise KeyEmptyError("in a range")
        self._check(revision)
        patch = self._ring.undo(revision, key, range_end)
        if patch is not None:
            index = self._index
            return answer(request, self._ring.last, index.scan(key, range_end, patch), index.count(key, range_end, patch))
        kvs = await self._read(partial(range_at, key=key, range_end=range_end, revision=revision))
        self._check(revision)
        return answer(request, self._ring.last, kvs, len(kvs))

    async def history(self, key: bytes, first: int, last: int, limit: int) -> tuple[Change, ...]:
        """The changes of one key; see Store.history."""
        if not key:
            raise KeyEmptyError("in a history")
        if first > 0:
            self._check(first)
        last = last if last > 0 else self._ring.last
        while True:
            compacted = self.compacted
            read = partial(changes_of, key=key, first=first, last=last, limit=limit, compacted=compacted)
            changes = await self._read(read)
            if compacted == self.compacted:
                return tuple(changes)

    async def revision_at(self, time_s: float) -> int | None:
        """The newest revision that was made by then; see Store.revision_at."""
        at_ms = int(time_s * 1000)
        recent = self._ring.revision_before(at_ms)
        if recent is not None:
            return recent
        read = partial(revision_before, at_ms=at_ms, first=max(2, self.compacted), last=self._ring.first - 1)
        found = await self._read(read)
        if found is None or found < self.compacted:
            # Before the first change there was nothing; what was before a compaction is not known.
            return 1 if self.compacted <= 1 else None
        return found

    async def time_of(self, revision: int) -> float | None:
        """When a revision was made; see Store.time_of."""
        record = self._ring.get(revision)
        at_ms = record.at_ms if record is not None else await self._read(partial(made_at, revision=revision))
        return at_ms / 1000 if at_ms else None

    async def cause(self, revision: int) -> str | None:
        """The cause that a revision was made with; see Store.cause."""
        record = self._ring.get(revision)
        return record.cause if record is not None else await self._read(partial(cause_at, revision=revision))

    async def causes(self, first: int, last: int) -> list[tuple[int, float | None, str]]:
        """The causes of the revisions first..last; see Store.causes."""
        found = await self._read(partial(causes_of, first=first, last=last or self._ring.last))
        return [(revision, at_ms / 1000 if at_ms else None, cause) for revision, at_ms, cause in found]

    async def hash_kv(self, revision: int) -> int:
        """The hash of the history; see Store.hash_kv."""
        if revision > 0:
            self._check(revision)
        return await self._aside(partial(hash_log, revision=revision or self._ring.last, compacted=self.compacted))

    async def sizes_bytes(self) -> tuple[int, int]:
        """What the database takes on disk, and how much of that is in use."""
        return await self._read(sizes_bytes)

    async def copy_to(self, path: Path, copy: Callable[[sqlite3.Connection, Path], None]) -> None:
        """Copy the database; see Store.copy_to."""
        await self._aside(lambda connection: copy(connection, path))

    async def replay(self, key: bytes, range_end: bytes, first: int, last: int) -> Replay:
        """The events of the range in revisions first..last, as far as one read goes."""
        read = partial(replay, key=key, range_end=range_end, first=first, last=last, bytes_max=_REPLAY_BYTES_MAX)
        return await self._read(read)

    def _check(self, revision: int) -> None:
        if revision > self._ring.last:
            raise FutureRevisionError(revision, self._ring.last)
        if revision < self.compacted:
            raise CompactedError(revision, self.compacted)

    async def _read(self, function: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await self._told(self._database.read(function))

    async def _aside(self, function: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await self._told(self._database.aside(function))

    async def _told(self, reading: Awaitable[_Result]) -> _Result:
        try:
            return await reading
        except sqlite3.Error as error:
            self._serving()  # a store closed meanwhile says so
            raise StoreFailedError(f"a read ended with {type(error).__name__}: {error}") from error
