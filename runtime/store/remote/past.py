"""What is older than the mirror's memory: read from etcd when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.errors import CompactedError, FutureRevisionError, StoreError
from reconcile.runtime.store.index import covers
from reconcile.runtime.store.log import Replay
from reconcile.runtime.store.model import Event, Range, RangeResponse

from .connection import RANGE, WATCH, Connection
from .errors import UnreachableError
from .keyspace import NONCE_BYTES, Keyspace, Message
from .mirror import Mirror

_REPLAY_BYTES_MAX = 8 << 20


class Past:
    """Ranges, causes and events of old revisions."""

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

    async def cause(self, revision: int) -> str | None:
        """The journal's entry at a revision, if it was written there."""
        if revision > self._mirror.revision:
            return None
        try:
            found = await self._connection.ask(RANGE, pb.RangeRequest(key=self._keyspace.root, revision=revision))
        except StoreError as error:
            if error.text == CompactedError.text:
                return None
            raise
        for kv in found.kvs:
            if kv.mod_revision == revision:
                text: str = kv.value[NONCE_BYTES:].decode(errors="replace")
                return text or None
        return None

    async def replay(self, key: bytes, range_end: bytes, first: int, last: int) -> Replay:
        """The events of a range from `first` to where the mirror's memory begins, by a watch of their own.

        It watches all of the prefix: then it is sure to meet the first event that the mirror remembers, and knows that it
        has seen all before it.

        Raises:
            UnreachableError.
        """
        upto = self._mirror.recent.first - 1
        if self._mirror.newest <= upto:
            await self._fence()
        endpoint = self._connection.endpoint
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._replay(endpoint, key, range_end, first, upto)
        except grpc.aio.AioRpcError as error:
            self._connection.failed(endpoint)
            raise UnreachableError(self._connection.address.endpoints, self._connection.unclear(endpoint, error)) from error
        except TimeoutError as error:
            raise UnreachableError(self._connection.address.endpoints, "the watch of the past is silent") from error

    async def _replay(self, endpoint: str, key: bytes, range_end: bytes, first: int, upto: int) -> Replay:
        found: dict[int, list[Event]] = {}
        size, keyspace = 0, self._keyspace
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
                    return Replay((), first)
                for sub, event in enumerate(answer.events):
                    revision = event.kv.mod_revision
                    if revision > upto:
                        return _replay(found, upto)
                    if event.kv.key != keyspace.root:
                        size += self._collect(found.setdefault(revision, []), event, sub, key, range_end)
                if size > _REPLAY_BYTES_MAX:
                    return _replay(found, max(found))
        finally:
            stream.cancel()

    def _collect(self, events: list[Event], event: Message, sub: int, key: bytes, range_end: bytes) -> int:
        kind, kv = self._keyspace.change(event, sub)
        if not covers(key, range_end, kv.key):
            return 0
        events.append(Event(kind, kv, self._keyspace.key_value(event.prev_kv) if event.HasField("prev_kv") else None))
        return len(kv.value)


def _replay(found: dict[int, list[Event]], upto: int) -> Replay:
    return Replay(tuple((revision, tuple(events)) for revision, events in found.items() if events), upto)
