"""The one watch that keeps a mirror up to date, over lost connections, members that go, and compaction.

A stream begins where the mirror is, so that nothing is missed between two streams. Where what is missing is compacted, the
mirror is read anew and its watches are told that history is lost, as a kube-apiserver does after a long pause.

A member that hangs breaks no connection. While nobody waits for the mirror, pings find it after a while; but somebody who waits
does not wait for that: a stream that is silent for as long as a request may take is given up for the next endpoint's.

How far a quiet mirror has come is asked by a progress request. An etcd before 3.4.25 or 3.5.8 may answer that before events
that belong in front of it; there, a write of the journal shows how far we are (see `Feed.nudge`).

Source: etcd server/etcdserver/api/v3rpc/watch.go, https://github.com/etcd-io/etcd/issues/15220
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import Any

import grpc
from aetcd.rpc import rpc_pb2 as pb

from reconcile.clock import Clock
from reconcile.runtime.store.errors import CompactedError, StoreError

from .connection import RANGE, STATUS, WATCH, Connection, Unclear
from .journal import Entry
from .keyspace import Keyspace, Message
from .mirror import Mirror

log = logging.getLogger(__name__)

_PAGE = 2_000
_FENCE_AFTER_S = 0.15
"""etcd lets new watches catch up each 100 ms: before that, a write would tell nothing that does not come anyway."""
_PAUSE_S, _PAUSE_S_MAX = 0.05, 1.0
_TRUE_PROGRESS_34, _TRUE_PROGRESS_35 = (3, 4, 25), (3, 5, 8)


class Feed:
    """Reads the prefix once, then follows it until `close`."""

    def __init__(self, connection: Connection, keyspace: Keyspace, clock: Clock) -> None:
        self.connected = asyncio.Event()
        self.cluster_id = 0
        """Which cluster it is, whatever its endpoints are called; there once loaded."""
        self.why = "not connected yet"
        """Why there is no stream, while there is none."""
        self._connection, self._keyspace, self._clock = connection, keyspace, clock
        self._mirror: Mirror | None = None
        self._stream: Any = None  # Any: a grpc.aio call has no type
        self._until: asyncio.Timeout | None = None
        """When the stream is given up."""
        self._heard_s = 0.0
        """When it last said something, on the monotonic clock."""
        self._wanted = asyncio.Event()
        self._true_progress = False
        self._notice: Callable[[int, bytes], dict[bytes, object] | None] = lambda _revision, _nonce: None
        self._fence: Callable[[], Awaitable[None]] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(
        self, mirror: Mirror, notice: Callable[[int, bytes], dict[bytes, object] | None], fence: Callable[[], Awaitable[None]]
    ) -> None:
        """Keep `mirror` up to date from here on.

        `notice(revision, nonce)` hears of each journal entry right before its revision shows, and gives the objects that
        belong to the keys of that write. `fence` writes the journal.
        """
        self._mirror, self._notice, self._fence = mirror, notice, fence
        self._task = asyncio.create_task(self._run(mirror), name="etcd feed")

    async def load(self) -> tuple[int, list[Any]]:
        """Everything below the prefix at one revision, page by page.

        Raises:
            UnreachableError, EtcdRefusal.
        """
        keyspace = self._keyspace
        while True:
            kvs: list[Any] = []
            start, revision = keyspace.root, 0
            try:
                while True:
                    request = pb.RangeRequest(key=start, range_end=keyspace.end, limit=_PAGE, revision=revision)
                    answer = await self._connection.ask(RANGE, request)
                    revision = revision or answer.header.revision
                    self.cluster_id = answer.header.cluster_id
                    kvs += keyspace.key_values(answer.kvs)
                    if not answer.more:
                        return revision, kvs
                    start = answer.kvs[-1].key + b"\0"
            except StoreError as error:
                if error.text != CompactedError.text:
                    raise
                # Compaction was faster than we are; the next try begins at a newer revision.

    async def nudge(self, waited_s: float) -> None:
        """Have etcd say how far the mirror has come, although nothing of ours may have happened."""
        stream = self._stream
        if stream is None:
            self._wanted.set()
            return
        patience_s = self._connection.attempt_timeout_s
        if min(waited_s, self._clock.monotonic() - self._heard_s) > patience_s and self._until is not None:
            self._until.reschedule(0)
            self._until = None
        elif self._true_progress:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):  # `_run` sees it as well
                async with asyncio.timeout(patience_s):
                    await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
        elif self._fence is not None and waited_s > _FENCE_AFTER_S:
            await self._fence()

    async def close(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, mirror: Mirror) -> None:
        pause_s = _PAUSE_S
        while True:
            endpoint, before = self._connection.endpoint, mirror.revision
            try:
                async with asyncio.timeout(None) as self._until:
                    await self._follow(mirror, endpoint, self._until)
            except (Unclear, StoreError, grpc.aio.AioRpcError, TimeoutError) as error:
                why = str(error)
                if isinstance(error, grpc.aio.AioRpcError):
                    why = self._connection.unclear(endpoint, error)
                elif isinstance(error, TimeoutError):
                    why = f"{endpoint}: no answer"
                if self.connected.is_set() or why != self.why:
                    log.warning("the watch of etcd ended, it begins again", extra={"endpoint": endpoint, "error": why})
                self.why = why
                self._connection.failed(endpoint)
            finally:
                self._stream = self._until = None
                self.connected.clear()
            if mirror.revision > before:
                pause_s = _PAUSE_S
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not long while somebody else waits for the mirror."""
        self._wanted.clear()
        await self._clock.sleep(_PAUSE_S)
        rest = asyncio.create_task(self._clock.sleep(seconds - _PAUSE_S))
        wanted = asyncio.create_task(self._wanted.wait())
        try:
            await asyncio.wait({rest, wanted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rest.cancel()
            wanted.cancel()

    async def _follow(self, mirror: Mirror, endpoint: str, until: asyncio.Timeout) -> None:
        """One stream, until it breaks; returns when what is missing was compacted and the mirror was read anew."""
        connection, keyspace = self._connection, self._keyspace
        self._true_progress = await self._tells_true_progress()
        until.reschedule(asyncio.get_running_loop().time() + connection.attempt_timeout_s)
        stream = connection.stream(WATCH, endpoint, await connection.metadata())
        try:
            create = pb.WatchCreateRequest(
                key=keyspace.root, range_end=keyspace.end, start_revision=mirror.revision + 1, progress_notify=True
            )
            await stream.write(pb.WatchRequest(create_request=create))
            while True:
                answer = await stream.read()
                self._heard_s = self._clock.monotonic()
                if answer is grpc.aio.EOF:
                    raise Unclear(f"{endpoint}: the stream ended")
                if answer.canceled:
                    if answer.compact_revision:
                        log.warning("history of etcd is lost, reading all", extra={"revision": answer.compact_revision})
                        mirror.replace(*await self.load())
                        return
                    raise Unclear(f"{endpoint}: {answer.cancel_reason or 'the watch was cancelled'}")
                if answer.created:
                    until.reschedule(None)
                    self._stream = stream
                    self.connected.set()
                elif answer.events:
                    self._apply(mirror, answer.events)
                else:
                    mirror.advance(answer.header.revision)
        finally:
            stream.cancel()

    def _apply(self, mirror: Mirror, events: Message) -> None:
        """Make whole revisions visible; the journal's part in them tells whose they are."""
        keyspace = self._keyspace
        for revision, group in groupby(events, key=lambda event: event.kv.mod_revision):
            if revision <= mirror.revision:
                continue
            changes, entry, attachments = [], None, None
            for sub, event in enumerate(group):
                if event.kv.key == keyspace.root:
                    entry = Entry.decoded(event.kv.value)
                    attachments = self._notice(revision, entry.nonce)
                else:
                    changes.append(keyspace.change(event, sub))
            if attachments:
                for _, kv in changes:
                    kv.attachment = attachments.get(kv.key)
            mirror.apply(revision, changes, entry)

    async def _tells_true_progress(self) -> bool:
        try:
            version = (await self._connection.once(STATUS, pb.StatusRequest())).version
        except StoreError:
            return False  # we may not ask: then the slower way
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
        return numbers >= _TRUE_PROGRESS_35 or _TRUE_PROGRESS_34 <= numbers < (3, 5)
