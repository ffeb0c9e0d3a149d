"""The store on an etcd cluster: the facade over connection, mirror and feed. See the package for how it works."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

import attrs
from aetcd.rpc import rpc_pb2 as pb

from reconcile.clock import Clock
from reconcile.runtime.store.answer import answer
from reconcile.runtime.store.check import check_txn
from reconcile.runtime.store.errors import (
    CompactedError,
    FutureRevisionError,
    KeyEmptyError,
    LeaseExistsError,
    LeaseNotFoundError,
    StoreClosedError,
    StoreError,
)
from reconcile.runtime.store.model import (
    Change,
    DeleteRange,
    DeleteResponse,
    KeyValue,
    LeaseStatus,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Txn,
    TxnResponse,
)
from reconcile.runtime.store.narrow import Narrow
from reconcile.runtime.store.ring import Record
from reconcile.runtime.store.settings import Settings
from reconcile.runtime.store.watch import Watch

from .address import EtcdAddress
from .connection import COMPACT, GRANT, PUT, RANGE, REVOKE, Connection, Unclear
from .errors import UnreachableError
from .feed import Feed
from .keyspace import Keyspace
from .mirror import Mirror
from .past import Past
from .writing import Writing

_NUDGE_S, _NUDGE_S_MAX = 0.01, 0.2


@attrs.frozen
class RemoteSettings:
    """How long to wait, and what is checked and kept here."""

    request_timeout_s: float = 6.0
    """A request that is not answered by then is given up: an election of the cluster takes a second or two."""
    attempt_timeout_s: float = 2.0
    """An endpoint that does not answer by then is left for the next one."""
    open_timeout_s: float = 5.0
    store: Settings = attrs.field(factory=Settings)
    """The limits of one request, and how much of the past is kept in memory."""


class EtcdStore:
    """A store below a prefix of an etcd cluster. Make one with `EtcdStore.open`; implements `WatchStore`."""

    def __init__(self, connection: Connection, keyspace: Keyspace, feed: Feed, clock: Clock, settings: RemoteSettings) -> None:
        self._connection, self._keyspace, self._feed = connection, keyspace, feed
        self._clock, self._settings = clock, settings
        self._past = Past(connection, keyspace)
        self._writing = Writing(self, connection, keyspace, clock)
        self._mirror: Mirror
        self._closed = False
        self._asking: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None

    @classmethod
    async def open(
        cls, address: EtcdAddress, clock: Clock, *, below: bytes = b"", settings: RemoteSettings | None = None
    ) -> Self:
        """Read what is below the prefix and begin to follow it.

        With `below`, all keys are to begin with that, and it does not appear in the cluster.

        Raises:
            UnreachableError: no endpoint answers.
            EtcdRefusal: we may not.
        """
        settings = settings or RemoteSettings()
        connection = Connection(address, clock, settings.open_timeout_s, settings.attempt_timeout_s)
        keyspace = Keyspace(address.prefix, below)
        feed = Feed(connection, keyspace, clock)
        store = cls(connection, keyspace, feed, clock, settings)
        try:
            revision, kvs = await feed.load()
        except BaseException:
            await connection.close()
            raise
        connection.request_timeout_s = settings.request_timeout_s
        mirror = store._mirror = Mirror(revision, kvs, clock, settings.store, store._past.replay)
        store._past.begin(mirror, store._fence, settings.request_timeout_s)
        feed.start(mirror, store._writing.notice, store._fence)
        try:
            # A watch that is there before the next revision is in step from the start; etcd looks after the others each 100 ms.
            async with asyncio.timeout(settings.open_timeout_s):
                await feed.connected.wait()
        except TimeoutError as error:
            await store.close()
            raise UnreachableError(address.endpoints, feed.why) from error
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """End the watches and the connections. Later calls raise StoreClosedError."""
        if self._closed:
            return
        self._closed = True
        await self._feed.close()
        for task in (self._asking, self._next):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._mirror.hub.fail(StoreClosedError)
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reading

    @property
    def revision(self) -> int:
        """The newest revision that the mirror shows."""
        return self._mirror.revision

    @property
    def compacted(self) -> int:
        """History starts here, as far as we know: others may have compacted further."""
        return self._mirror.hub.compacted

    @property
    def identity(self) -> str:
        """The cluster and the prefix: the same whichever endpoints it is reached by."""
        return f"{self._feed.cluster_id:x}{self._connection.address.prefix}"

    def __len__(self) -> int:
        return len(self._mirror.index)

    def get(self, key: bytes) -> KeyValue | None:
        """The newest value of a key, from the mirror."""
        self._serving()
        return self._mirror.index.get(key)

    def range(self, request: Range) -> RangeResponse:
        """Answer a range from the mirror; `range_at` answers older ones.

        Raises:
            KeyEmptyError, FutureRevisionError.
            ValueError: the request names an older revision.
        """
        self._serving()
        if not request.key:
            raise KeyEmptyError("in a range")
        mirror = self._mirror
        if request.revision > 0 and request.revision != mirror.revision:
            if request.revision > mirror.revision:
                raise FutureRevisionError(request.revision, mirror.revision)
            raise ValueError(f"range() reads the present, not revision {request.revision}; await range_at() for the past")
        index, key, range_end = mirror.index, request.key, request.range_end
        return answer(request, mirror.revision, index.scan(key, range_end), index.count(key, range_end))

    async def range_at(self, request: Range) -> RangeResponse:
        """Answer a range at any revision: from the mirror if it is recent, else from etcd.

        Raises:
            KeyEmptyError, FutureRevisionError, CompactedError, UnreachableError.
        """
        self._serving()
        mirror = self._mirror
        if request.revision > mirror.revision and request.revision > await self.catch_up():
            raise FutureRevisionError(request.revision, mirror.revision)
        if request.revision <= 0 or request.revision == mirror.revision:
            return self.range(request)
        revision, key, range_end = request.revision, request.key, request.range_end
        if not key:
            raise KeyEmptyError("in a range")
        if revision < mirror.hub.compacted:
            raise CompactedError(revision, mirror.hub.compacted)
        patch = mirror.recent.undo(revision, key, range_end)
        if patch is not None:
            index = mirror.index
            return answer(request, mirror.revision, index.scan(key, range_end, patch), index.count(key, range_end, patch))
        return await self._past.range(request)

    async def history(self, key: bytes, *, first: int = 0, last: int = 0, limit: int = 0) -> tuple[Change, ...]:
        """The changes of one key in revisions first..last (0: all that are kept, up to now), oldest first.

        What is older than the mirror's memory is read from etcd with all of the prefix: for a person who asks, not for a loop.

        Raises:
            KeyEmptyError, FutureRevisionError, CompactedError, UnreachableError.
        """
        self._serving()
        if not key:
            raise KeyEmptyError("in a history")
        if max(first, last) > self.revision and max(first, last) > await self.catch_up():
            raise FutureRevisionError(max(first, last), self.revision)
        return await self._past.history(key, first, last or self.revision, limit)

    async def revision_at(self, time_s: float) -> int | None:
        """What was the newest revision at `time_s`, since the epoch, by the clocks of those who wrote."""
        self._serving()
        return await self._past.revision_at(int(time_s * 1000))

    async def time_of(self, revision: int) -> float | None:
        """When `revision` was made, since the epoch; None if it is compacted away, or not ours."""
        self._serving()
        record = self._mirror.recent.get(revision)
        entry = await self._past.entry(revision) if record is None else None
        at_ms = record.at_ms if record is not None else entry.at_ms if entry is not None else 0
        return at_ms / 1000 if at_ms else None

    async def cause(self, revision: int) -> str | None:
        """The cause that was given with the txn that made `revision`, whoever ran it; None if there was none."""
        self._serving()
        record = self._mirror.recent.get(revision)
        entry = await self._past.entry(revision) if record is None else None
        return record.cause if record is not None else entry.cause if entry is not None else None

    async def causes(self, first: int, last: int = 0) -> Sequence[tuple[int, float | None, str]]:
        """Revision, time and cause of the revisions first..last (0: now), as far as anybody noted one; a look-up each."""
        found = []
        for revision in range(max(first, self.compacted, 1), (last or self.revision) + 1):
            cause = await self.cause(revision)
            if cause:
                found.append((revision, await self.time_of(revision), cause))
        return found

    async def catch_up(self) -> int:
        """Ask etcd for its revision and wait until the mirror shows it; all who ask meanwhile share the next question.

        Raises:
            UnreachableError: no endpoint answers, or the changes do not arrive.
        """
        self._serving()
        # A question that is under way may be answered with a revision from before this call: it takes the next one.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._catch_up(None), name="catching up with etcd")
            return await asyncio.shield(self._asking)
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._catch_up(self._asking), name="catching up with etcd")
        return await asyncio.shield(self._next)

    def record(self, revision: int) -> Record | None:
        """What happened at a recent revision."""
        return self._mirror.recent.get(revision)

    async def reach(self, revision: int) -> None:
        """Wait until the mirror shows `revision`.

        Raises:
            UnreachableError: it does not arrive.
        """
        mirror = self._mirror
        if mirror.revision >= revision:
            return
        began, deadline, nudge_s = self._clock.monotonic(), self._connection.deadline(), _NUDGE_S
        reached = mirror.reached(revision)
        while True:
            await asyncio.wait({reached}, timeout=nudge_s)
            if reached.done():
                return
            self._serving()
            if self._clock.monotonic() > deadline:
                why = self._feed.why if not self._feed.connected.is_set() else "the watch is silent"
                raise UnreachableError(
                    self._connection.address.endpoints, f"changes up to revision {revision} do not arrive ({why})"
                )
            await self._feed.nudge(self._clock.monotonic() - began)
            nudge_s = min(nudge_s * 2, _NUDGE_S_MAX)

    # Writing

    async def txn(self, request: Txn, cause: str | None = None) -> TxnResponse:
        """Run a txn; returns when the mirror shows what it did.

        Raises:
            RequestError: it is malformed, or an operation of it is impossible; nothing of it is written.
            BusyError: the cluster takes no more; nothing of it is written.
            UnreachableError: no endpoint answers.
            UncertainWriteError: it is not known whether it is written.
        """
        self._serving()
        limits = self._settings.store
        check_txn(request, limits.txn_operations_max, limits.request_bytes_max)
        return await self._writing.txn(request, cause)

    async def put(
        self, key: bytes, value: bytes, *, lease: int = 0, prev_kv: bool = False, attachment: object | None = None,
        cause: str | None = None,
    ) -> PutResponse:  # fmt: skip
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
        """Forget history below `revision`, of the whole cluster: etcd has no compaction of a prefix.

        Raises:
            CompactedError, FutureRevisionError.
        """
        self._serving()
        again = False

        def note() -> None:
            nonlocal again
            again = True

        request = pb.CompactionRequest(revision=revision, physical=physical)
        try:
            await self._connection.ask(COMPACT, request, retried=note)
        except StoreError as error:
            if error.text == CompactedError.text:
                if not again:  # else it was our own first try
                    raise CompactedError(revision, max(revision, self.compacted)) from error
            elif error.text == FutureRevisionError.text:
                raise FutureRevisionError(revision, self.revision) from error
            else:
                raise
        self._mirror.compact(revision)

    # Following

    def watch(
        self, key: bytes, range_end: bytes = b"", start_revision: int = 0, *, prev_kv: bool = False,
        progress_interval_s: float | None = None, narrow: Narrow | None = None,
    ) -> Watch:  # fmt: skip
        """Follow a key or a range from `start_revision` on (0: from the next revision that the mirror shows).

        Raises:
            KeyEmptyError, EmptyRangeError. A compacted start is told by the first step of the iteration.
        """
        self._serving()
        return self._mirror.hub.watch(key, range_end, start_revision, prev_kv, (), progress_interval_s, None, narrow)

    # Leases

    async def lease_grant(self, ttl_s: int, lease: int = 0) -> LeaseStatus:
        """Grant a lease, with the id asked for or a free one.

        Raises:
            LeaseExistsError, EtcdRefusal.
        """
        self._serving()
        while True:
            # We choose the id, so that a request sent twice grants one lease.
            request = pb.LeaseGrantRequest(TTL=ttl_s, ID=lease or self._clock.random.randrange(1, 1 << 63))
            again = False
            try:
                while True:
                    try:
                        granted = await self._connection.once(GRANT, request)
                        return LeaseStatus(granted.ID, granted.TTL, granted.TTL)
                    except Unclear:
                        again = True
                        await self.catch_up()
            except StoreError as error:
                if error.text != LeaseExistsError.text:
                    raise
                if again:
                    return LeaseStatus(request.ID, ttl_s, ttl_s)
                if lease:
                    raise LeaseExistsError(lease) from error

    async def lease_revoke(self, lease: int) -> int:
        """Revoke a lease and delete its keys; returns the cluster's revision.

        Raises:
            LeaseNotFoundError.
        """
        self._serving()
        again = False

        def note() -> None:
            nonlocal again
            again = True

        try:
            revision: int = (await self._connection.ask(REVOKE, pb.LeaseRevokeRequest(ID=lease), retried=note)).header.revision
        except StoreError as error:
            if error.text != LeaseNotFoundError.text:
                raise
            if not again:
                raise LeaseNotFoundError(lease) from error
            return await self.catch_up()
        await self.reach(revision)
        return revision

    async def lease_keep_alive(self, lease: int) -> int:
        """Give a lease its full time again; returns that time in seconds, 0 when there is no such lease any more."""
        self._serving()
        return await self._connection.keep_alive(lease)

    # Inside

    def _serving(self) -> None:
        if self._closed:
            raise StoreClosedError

    async def _catch_up(self, after: asyncio.Task[int] | None) -> int:
        if after is not None:
            await asyncio.wait({after})
            if not after.cancelled() and after.exception() is not None:
                return after.result()  # what could not be asked a moment ago is not asked once more by all who wait
        # The journal is one small key; what matters is the header of a linearizable read.
        found = await self._connection.ask(RANGE, pb.RangeRequest(key=self._keyspace.root, keys_only=True))
        await self.reach(found.header.revision)
        return self.revision

    async def _fence(self) -> None:
        """Make a revision of ours that the feed must come to."""
        try:
            await self._connection.once(PUT, self._keyspace.journal(self._writing.entry().encoded()))
        except (Unclear, StoreError):
            return  # whoever waits nudges again
