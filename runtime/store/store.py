"""The store: the facade over index, writer, ring, hub, leases and disk.

All state lives on the event loop's thread, without locks; only functions on a connection run elsewhere. A write goes
through `Writer.submit`; what it changed becomes visible in `_publish`, one step of the loop after its commit: index,
leases, ring, watches, then its caller. Reads see published state only.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from reconcile.clock import Clock

from .answer import answer
from .archive import Archive
from .check import check_txn
from .compaction import Compactor
from .database import MEMORY, AioDatabase, Database, DatabaseFactory, Place
from .errors import (
    CompactedError,
    FutureRevisionError,
    KeyEmptyError,
    RequestError,
    StoreClosedError,
    StoreFailedError,
)
from .evaluate import NO_HISTORY, History, evaluate
from .hub import Hub
from .index import Index
from .lease import Lease, LeaseChange, LeaseTable
from .lessor import Lessor
from .lock import FolderLock
from .log import Loaded, Note, checkpoint, copy_to, load
from .model import (
    Change,
    DeleteRange,
    DeleteResponse,
    KeyValue,
    LeaseStatus,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Txn,
    TxnResponse,
    WatchFilter,
)
from .narrow import Narrow
from .reserve import Reserve
from .ring import Ring
from .schema import check_pages, ensure_schema
from .settings import Settings
from .stage import Batch, Stage
from .watch import Watch
from .writer import Writer

log = logging.getLogger(__name__)

FILE_NAME = "member.db"


class Store:
    """An open store. Make one with `Store.open`; `close` it, or use it as an async context manager."""

    def __init__(self, database: Database, lock: FolderLock | None, loaded: Loaded, clock: Clock, settings: Settings) -> None:
        self._database = database
        self._lock = lock
        self._clock = clock
        self.settings = settings
        self._closed = False
        self._failure: str | None = None
        self._revision = loaded.revision
        self._notes = loaded.notes
        self._index = Index(loaded.kvs)
        self._leases = self._load_leases(loaded)
        self._ring = Ring(loaded.revision, settings.ring_bytes_max)
        self._archive = Archive(database, self._index, self._ring, loaded.compacted, self._serving)
        self._hub = Hub(self._ring, clock, settings, loaded.compacted, self._archive.replay)
        reserve = Reserve(database, settings.reserve_bytes)
        self._compactor = Compactor(database, reserve, clock, settings, loaded.compacted_done, self._fail)
        self._stage = Stage(self._index, self._leases, loaded.revision, loaded.compacted, clock, loaded.at_ms)
        self._writer = Writer(
            database, reserve, self._stage, settings, self._publish, lambda: (self._revision, self.compacted), self._fail
        )
        create_task = asyncio.get_running_loop().create_task
        self._writer_task = create_task(self._writer.run())
        self._lessor = Lessor(self._writer, self._leases, clock, settings)
        self._lessor.start()
        self._compactor.start(loaded.compacted)

    @classmethod
    async def open(
        cls,
        path: Place,
        clock: Clock,
        *,
        database: DatabaseFactory = AioDatabase,
        settings: Settings | None = None,
    ) -> Store:
        """Open the store in the folder `path` (":memory:": nowhere), making it if it is missing.

        Reads the newest value of each key into memory and resumes an interrupted compaction.

        Raises:
            StoreLockedError: another process has the folder.
            SchemaVersionError: the file there is not a store of this version.
            DamagedError: it does not hold together.
        """
        settings = settings or Settings()
        folder = path if isinstance(path, Path) else None
        lock = FolderLock(folder) if folder is not None else None
        place: Place = folder / FILE_NAME if folder is not None else MEMORY
        opened = database(place, settings.unsafe_no_fsync)
        try:
            loaded = await _open_and_load(opened, str(place), settings)
            await Reserve(opened, settings.reserve_bytes).keep()
        except BaseException:
            await opened.close()
            if lock is not None:
                lock.release()
            raise
        return cls(opened, lock, loaded, clock, settings)

    async def close(self) -> None:
        """Finish the writes that wait, end the watches, close the files. Later calls raise StoreClosedError."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        await self._lessor.close()
        await asyncio.gather(self._writer_task, return_exceptions=True)
        await self._compactor.close()
        self._hub.fail(StoreClosedError)
        try:
            if self._failure is None:
                await self._database.write(partial(checkpoint, truncate=True))
        finally:
            await self._database.close()
            if self._lock is not None:
                self._lock.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # Reading

    @property
    def revision(self) -> int:
        """The newest published revision; 1 in an empty store."""
        return self._revision

    @property
    def compacted(self) -> int:
        """History starts here; -1 before the first compaction."""
        return self._archive.compacted

    @property
    def commits(self) -> int:
        """How many transactions the writes took so far."""
        return self._writer.commits

    def __len__(self) -> int:
        return len(self._index)

    def get(self, key: bytes) -> KeyValue | None:
        """The newest value of a key, from memory."""
        self._serving()
        return self._index.get(key)

    def count(self, key: bytes, range_end: bytes = b"") -> int:
        """How many keys a range holds now; O(log keys)."""
        self._serving()
        return self._index.count(key, range_end)

    def range(self, request: Range) -> RangeResponse:
        """Answer a range at the newest revision, from memory; `range_at` answers older ones.

        Raises:
            KeyEmptyError, FutureRevisionError.
            ValueError: the request names an older revision: await `range_at` instead.
        """
        self._serving()
        if not request.key:
            raise KeyEmptyError("in a range")
        if request.revision > 0 and request.revision != self._revision:
            if request.revision > self._revision:
                raise FutureRevisionError(request.revision, self._revision)
            raise ValueError(f"range() reads the present, not revision {request.revision}; await range_at() for the past")
        index, key, range_end = self._index, request.key, request.range_end
        return answer(request, self._revision, index.scan(key, range_end), index.count(key, range_end))

    async def range_at(self, request: Range) -> RangeResponse:
        """Answer a range at any revision that is not compacted: from memory if it is recent, else from the disk.

        Raises:
            KeyEmptyError, FutureRevisionError, CompactedError.
        """
        if request.revision <= 0 or request.revision == self._revision:
            return self.range(request)
        self._serving()
        return await self._archive.range(request)

    async def history(self, key: bytes, *, first: int = 0, last: int = 0, limit: int = 0) -> tuple[Change, ...]:
        """The changes of one key in revisions first..last (0: all that are kept, up to now), oldest first.

        With a `limit`, the newest ones. The first may be older than `compacted`: what still held when history was cut.

        Raises:
            KeyEmptyError, FutureRevisionError, CompactedError.
        """
        self._serving()
        return await self._archive.history(key, first, last, limit)

    async def revision_at(self, time_s: float) -> int | None:
        """What was the newest revision at `time_s`, since the epoch; None when history does not reach back to it.

        If the wall clock was ever set back, the revisions made before it caught up count as made at its highest.
        """
        self._serving()
        return await self._archive.revision_at(time_s)

    async def time_of(self, revision: int) -> float | None:
        """When `revision` was made, since the epoch; None if it is compacted away, or from a store of schema version 1."""
        self._serving()
        return await self._archive.time_of(revision)

    async def catch_up(self) -> int:
        """Return once reads show all that anybody was told to be written: here they always do."""
        self._serving()
        return self._revision

    async def cause(self, revision: int) -> str | None:
        """The cause that was given with the txn that made `revision`; None if there was none, or it is compacted away."""
        self._serving()
        return await self._archive.cause(revision)

    async def causes(self, first: int, last: int = 0) -> Sequence[tuple[int, float | None, str]]:
        """Revision, time and cause of the revisions first..last (0: now) that have one and are kept; one read."""
        self._serving()
        return await self._archive.causes(first, last)

    async def hash_kv(self, revision: int = 0) -> int:
        """The hash of the history up to `revision` (0: all), equal to a real etcd's for the same history.

        Raises:
            FutureRevisionError, CompactedError.
        """
        self._serving()
        return await self._archive.hash_kv(revision)

    async def sizes_bytes(self) -> tuple[int, int]:
        """What the database takes on disk, and how much of that is in use."""
        self._serving()
        return await self._archive.sizes_bytes()

    async def copy_to(self, path: Path, copy: Callable[[sqlite3.Connection, Path], None] = copy_to) -> None:
        """Write the store, as it is at one moment, into a new file at `path` in the form of `copy`; writers go on meanwhile."""
        self._serving()
        await self._archive.copy_to(path, copy)

    @property
    def notes(self) -> Mapping[str, Note]:
        """What others keep in the file, beside the keys; see `note`."""
        return self._notes

    # Writing

    async def txn(self, request: Txn, cause: str | None = None) -> TxnResponse:
        """Run a txn; the answer comes when what it did, or was judged on, is durable.

        `cause` is a small text that is kept beside the revision it makes.

        Raises:
            RequestError: it is malformed, or an operation of it is impossible; nothing of it is written.
            BusyError: the disk or the queue is full; nothing of it is written.
            StoreFailedError: it is not known whether it is written.
        """
        self._serving()
        check_txn(request, self.settings.txn_operations_max, self.settings.request_bytes_max)
        history = await self._history(request) if _reads(request) else NO_HISTORY
        return await self._writer.submit(partial(evaluate, txn=request, cause=cause, history=history))

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        lease: int = 0,
        prev_kv: bool = False,
        attachment: object | None = None,
        cause: str | None = None,
    ) -> PutResponse:
        """Write one key: a txn of one Put."""
        put = Put(key, value, lease, prev_kv, attachment=attachment)
        response = (await self.txn(Txn(success=(put,)), cause)).responses[0]
        assert isinstance(response, PutResponse)
        return response

    async def delete(
        self, key: bytes, range_end: bytes = b"", *, prev_kv: bool = False, cause: str | None = None
    ) -> DeleteResponse:
        """Delete one key or a range: a txn of one DeleteRange."""
        response = (await self.txn(Txn(success=(DeleteRange(key, range_end, prev_kv),)), cause)).responses[0]
        assert isinstance(response, DeleteResponse)
        return response

    async def compact(self, revision: int, physical: bool = False) -> None:
        """Forget history below `revision`; the newest value of each key at it stays.

        Returns when that is durable; with `physical` when the rows are off the disk too.

        Raises:
            CompactedError: `revision` is at or below the last compaction.
            FutureRevisionError: the store has not reached `revision`.
            NoSpaceError: the rows are forgotten, but the disk has no room to take them off.

        Source: etcd Compact
        """
        self._serving()
        await self._writer.submit(partial(_compact, revision=revision))
        if physical:
            await self._compactor.finish()
            self._serving()

    async def note(self, changes: Mapping[str, Note | None]) -> None:
        """Keep numbers or bytes in the file by name, all in one step, without a revision; None takes one away."""
        self._serving()
        await self._writer.submit(partial(Stage.note, changes=changes))

    async def defragment(self) -> None:
        """Give the space that compaction freed back to the file system, slice by slice between the writes of clients."""
        self._serving()
        await self._compactor.free()

    # Following

    def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        start_revision: int = 0,
        *,
        prev_kv: bool = False,
        filters: Iterable[WatchFilter] = (),
        progress_interval_s: float | None = None,
        on_ready: Callable[[Watch], None] | None = None,
        narrow: Narrow | None = None,
    ) -> Watch:
        """Follow a key or a range from `start_revision` on (0: from the next revision); see Watch.

        With `on_ready` nobody iterates: it is called whenever something is queued, or the watch has failed. A watch that is
        `narrow` is not told of what surely does not concern it.

        Raises:
            KeyEmptyError, EmptyRangeError. A compacted start is told by the first step of the iteration.
        """
        self._serving()
        return self._hub.watch(key, range_end, start_revision, prev_kv, filters, progress_interval_s, on_ready, narrow)

    # Leases

    async def lease_grant(self, ttl_s: int, lease: int = 0) -> LeaseStatus:
        """Grant a lease of `ttl_s` seconds (at least 2), with the id asked for or a free one.

        Raises:
            LeaseExistsError, LeaseTooLongError.
        """
        self._serving()
        return await self._lessor.grant(ttl_s, lease)

    async def lease_revoke(self, lease: int) -> int:
        """Revoke a lease and delete its keys, in key order, in one revision; returns the store's revision.

        Raises:
            LeaseNotFoundError.
        """
        self._serving()
        return await self._lessor.revoke(lease)

    async def lease_keep_alive(self, lease: int) -> int:
        """Give a lease its full time again; returns that time in seconds, 0 when there is no such lease any more."""
        self._serving()
        return await self._lessor.keep_alive(lease)

    def lease_time_to_live(self, lease: int, keys: bool = False) -> LeaseStatus:
        """What is left of a lease (`ttl_s` -1: there is none), with its keys in order if asked for."""
        self._serving()
        return self._lessor.time_to_live(lease, keys)

    def lease_ids(self) -> tuple[int, ...]:
        """All leases."""
        self._serving()
        return self._leases.ids()

    # Inside

    def _serving(self) -> None:
        if self._failure is not None:
            raise StoreFailedError(self._failure)
        if self._closed:
            raise StoreClosedError

    def _fail(self, reason: str) -> None:
        """Stop serving: from here on every call raises, and so does every watch."""
        if self._failure is None:
            self._failure = reason
            log.error("store failed", extra={"reason": reason, "place": str(self._database.place)})
            self._writer.close()
            self._hub.fail(lambda: StoreFailedError(reason))

    def _publish(self, batch: Batch) -> None:
        """Make a committed batch visible: one step of the loop, no await."""
        for change in batch.leases:
            self._leases.apply(change)
        leased = len(self._leases) > 0
        for record in batch.records:
            for event in record.events:
                self._index.apply(event)
            if leased:
                self._leases.attach(record.events)
            self._revision = record.revision
            self._ring.append(record)
            self._hub.publish(record)
        if batch.compacted is not None:
            self._archive.compacted = batch.compacted
            self._ring.drop_below(batch.compacted)
            self._hub.compact(batch.compacted)
            self._compactor.start(batch.compacted)
        if batch.leases:
            self._lessor.start()
        batch.keep_notes(self._notes)

    async def _history(self, request: Txn) -> History:
        """Read what a txn wants to know of the past: it does not change, and reading may take a while."""
        history: dict[int, RangeResponse | RequestError] = {}
        for past in _past_ranges((*request.success, *request.failure)):
            try:
                history[id(past)] = await self.range_at(past)
            except RequestError as error:
                history[id(past)] = error
        return history

    def _load_leases(self, loaded: Loaded) -> LeaseTable:
        leases = LeaseTable(self._clock)
        for lease_id, ttl_s in loaded.leases:
            leases.apply(LeaseChange(lease_id, Lease(lease_id, ttl_s)))
        for kv in loaded.kvs:
            if kv.lease and (lease := leases.get(kv.lease)) is not None:
                lease.keys.add(kv.key)
        return leases


async def _open_and_load(database: Database, place: str, settings: Settings) -> Loaded:
    try:
        await database.open()
        await database.write(partial(check_pages, place=place, bytes_max=settings.boot_check_bytes_max))
        await database.write(partial(ensure_schema, place=place))
        return await database.write(load)
    except sqlite3.Error as error:
        raise StoreFailedError(f"{place} cannot be opened: {type(error).__name__}: {error}") from error


def _reads(request: Txn) -> bool:
    """Whether a txn may want to know of the past: it has a range somewhere."""
    for branch in (request.success, request.failure):
        for operation in branch:
            if isinstance(operation, Range | Txn):
                return True
    return False


def _past_ranges(operations: Iterable[Operation]) -> Iterable[Range]:
    for operation in operations:
        if isinstance(operation, Range):
            if operation.revision > 0:
                yield operation
        elif isinstance(operation, Txn):
            yield from _past_ranges((*operation.success, *operation.failure))


def _compact(stage: Stage, revision: int) -> None:
    if revision <= stage.compacted:
        raise CompactedError(revision, stage.compacted)
    if revision > stage.revision:
        raise FutureRevisionError(revision, stage.revision)
    stage.compact(revision)
