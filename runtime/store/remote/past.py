"""What is older than the mirror's memory: read from etcd when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby

import attrs
import grpc
from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.errors import CompactedError, FutureRevisionError, StoreError
from reconcile.runtime.store.index import covers
from reconcile.runtime.store.log import Replay
from reconcile.runtime.store.model import PUT, Change, Event, Range, RangeResponse

from .connection import RANGE, WATCH, Connection
from .errors import UnreachableError
from .journal import Entry
from .keyspace import Keyspace, Message
from .mirror import Mirror

_CHUNK_BYTES_MAX = 8 << 20


@attrs.frozen
class _Revision:
    """What happened at a revision to the keys that were asked for."""

    revision: int
    events: tuple[Event, ...]
    entry: Entry | None


class Past:
    """Ranges, journal entries and events of old revisions."""

    def __init__(self, connection: Connection, keyspace: Keyspace) -> None:
        self._connection, self._keyspace = connection, keyspace
        self._mirror: Mirror
        self._fence: Callable[[], Awaitable[None]]
        self._timeout_s = 0.0

    def begin(self, mirror: Mirror, fence: Callable[[], Awaitable[None]], timeout_s: float) -> None:
        """Serve what is older than `mirror`; `fence` makes a new revision of ours."""
        self._mirror, self._fence, self._timeout_s = mirror, fence, timeout_s

    async def range(self, request: Range) -> RangeResponse:
        """A range at an old revision.

        Raises:
            CompactedError, UnreachableError.
        """
        try:
            return self._keyspace.range_response(await self._connection.ask(RANGE, self._keyspace.range(request)))
        except StoreError as error:
            revision, mirror = request.revision, self._mirror
            if error.text == CompactedError.text:
                raise CompactedError(revision, max(revision + 1, mirror.hub.compacted)) from error
            if error.text == FutureRevisionError.text:
                raise FutureRevisionError(revision, mirror.revision) from error
            raise

    async def entry(self, revision: int) -> Entry | None:
        """The journal's entry that was written at a revision."""
        if revision > self._mirror.revision:
            return None
        try:
            newest, entry = await self._newest_entry(revision)
        except CompactedError:
            return None
        return entry if newest == revision else None

    async def revision_at(self, at_ms: int) -> int | None:
        """The newest revision that was made by then; None where history does not reach back to it.

        A binary search in the journal: it asks etcd once for each bit of the number of revisions.
        """
        mirror = self._mirror
        recent = mirror.recent.revision_before(at_ms)
        if recent is not None:
            return recent
        found, low, high = None, max(1, mirror.hub.compacted), mirror.recent.first - 1
        while low <= high:
            middle = (low + high) // 2
            try:
                _, entry = await self._newest_entry(middle)
            except CompactedError:
                low = middle + 1
                continue
            if entry.at_ms <= at_ms:  # 0 before the first entry: nothing of ours was there
                found, low = middle, middle + 1
            else:
                high = middle - 1
        return found

    async def history(self, key: bytes, first: int, last: int, limit: int) -> tuple[Change, ...]:
        """The changes of one key, oldest first.

        Raises:
            CompactedError: `first` is compacted away.
        """
        mirror, changes = self._mirror, list[Change]()
        if 0 < first < mirror.hub.compacted:
            raise CompactedError(first, mirror.hub.compacted)
        at = start = first or max(1, mirror.hub.compacted)
        while at < mirror.recent.first and at <= last:
            told, upto = await self._told(key, b"", at)
            if mirror.hub.compacted > at:
                if first:
                    raise CompactedError(first, mirror.hub.compacted)
                changes, at = [], mirror.hub.compacted
                start = at
                continue
            for each in told:
                at_ms, cause = (each.entry.at_ms, each.entry.cause) if each.entry is not None else (0, None)
                changes += _changes(key, each.revision, each.events, at_ms, cause)
            at = upto + 1
        for record in mirror.recent.records(max(at, start), 1 + mirror.revision):
            changes += _changes(key, record.revision, record.events, record.at_ms, record.cause)
        changes = [change for change in changes if change.revision <= last]
        if not first and start > 1:
            changes = [*await self._held(key, start), *changes]
        return tuple(changes[-limit:] if limit else changes)

    async def replay(self, key: bytes, range_end: bytes, first: int, last: int) -> Replay:
        """The events of a range from `first` to where the mirror's memory begins, or as far as one chunk goes.

        Raises:
            UnreachableError.
        """
        told, upto = await self._told(key, range_end, first)
        return Replay(tuple((each.revision, each.events) for each in told if each.events), upto)

    async def _told(self, key: bytes, range_end: bytes, first: int) -> tuple[list[_Revision], int]:
        """What a watch of the past tells, and how far it came; where that is compacted, the mirror knows afterwards.

        It watches all of the prefix: then it is sure to meet the first event that the mirror remembers, and knows that it
        has seen all before it.
        """
        upto = self._mirror.recent.first - 1
        if self._mirror.newest <= upto:
            await self._fence()
        endpoint = self._connection.endpoint
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read(endpoint, key, range_end, first, upto)
        except grpc.aio.AioRpcError as error:
            self._connection.failed(endpoint)
            raise UnreachableError(self._connection.address.endpoints, self._connection.unclear(endpoint, error)) from error
        except TimeoutError as error:
            raise UnreachableError(self._connection.address.endpoints, "the watch of the past is silent") from error

    async def _read(
        self, endpoint: str, key: bytes, range_end: bytes, first: int, upto: int
    ) -> tuple[list[_Revision], int]:  # fmt: skip
        keyspace, told, size = self._keyspace, list[_Revision](), 0
        stream = self._connection.stream(WATCH, endpoint, await self._connection.metadata())
        try:
            create = pb.WatchCreateRequest(key=keyspace.root, range_end=keyspace.end, start_revision=first, prev_kv=True)
            await stream.write(pb.WatchRequest(create_request=create))
            while True:
                answer = await stream.read()
                if answer is grpc.aio.EOF or (answer.canceled and not answer.compact_revision):
                    raise UnreachableError(self._connection.address.endpoints, "the watch of the past ended")
                if answer.canceled:
                    self._mirror.compact(answer.compact_revision)
                    return [], first
                for revision, events in groupby(answer.events, key=lambda event: event.kv.mod_revision):
                    if revision > upto:
                        return told, upto
                    told.append(self._revision(revision, events, key, range_end))
                    size += sum(len(event.kv.value) for event in told[-1].events)
                if size > _CHUNK_BYTES_MAX:
                    return told, told[-1].revision
        finally:
            stream.cancel()

    def _revision(self, revision: int, told: Iterable[Message], key: bytes, range_end: bytes) -> _Revision:
        entry, events = None, []
        for sub, event in enumerate(told):
            if event.kv.key == self._keyspace.root:
                entry = Entry.decoded(event.kv.value)
                continue
            kind, kv = self._keyspace.change(event, sub)
            if covers(key, range_end, kv.key):
                events.append(Event(kind, kv, self._keyspace.key_value(event.prev_kv) if event.HasField("prev_kv") else None))
        return _Revision(revision, tuple(events), entry)

    async def _held(self, key: bytes, compacted: int) -> list[Change]:
        """What still held when history was cut; when and why it was made is compacted away."""
        for kv in (await self.range(Range(key, revision=compacted))).kvs:
            if kv.mod_revision < compacted:
                return [Change(kv.mod_revision, None, None, Event(PUT, kv))]
        return []

    async def _newest_entry(self, revision: int) -> tuple[int, Entry]:
        """The newest entry of the journal at a revision, and its own revision; 0: there was none.

        Raises:
            CompactedError.
        """
        try:
            found = await self._connection.ask(RANGE, pb.RangeRequest(key=self._keyspace.root, revision=revision))
        except StoreError as error:
            if error.text == CompactedError.text:
                raise CompactedError(revision, max(revision + 1, self._mirror.hub.compacted)) from error
            raise
        for kv in found.kvs:
            return kv.mod_revision, Entry.decoded(kv.value)
        return 0, Entry.decoded(b"")


def _changes(key: bytes, revision: int, events: Iterable[Event], at_ms: int, cause: str | None) -> Iterable[Change]:
    return [Change(revision, at_ms / 1000 if at_ms else None, cause, event) for event in events if event.kv.key == key]
