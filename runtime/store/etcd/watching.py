"""The Watch service: many watches on one stream, and one outbound queue for all that it says.

    requests -> create, cancel, progress -> outbound queue -> one sender -> the client
    store    -> a watch is ready  ------------^

In the queue stand answers, and watches that are ready. A watch stands in it once at most, however many events it has:
they wait in the watch's own bounded queue, and when that overflows they are read again from the ring or the disk. So a
slow client costs little memory and loses nothing, and a progress answer is always behind the events before it. Reading
the past happens in a task per watch, one chunk at a time: a watch that lags does not hold up its neighbours.

Source: etcd server/etcdserver/api/v3rpc/watch.go; observed on etcd 3.5.30
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence

import attrs
from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.errors import CompactedError, EmptyRangeError, KeyEmptyError, StoreClosedError
from reconcile.runtime.store.model import WatchBatch, WatchFilter
from reconcile.runtime.store.watch import Watch

from . import wire
from .access import Access
from .errors import Refusal
from .member import Member
from .methods import Call, Methods, parse
from .requests import Message

_FILTERS = (WatchFilter.NOPUT, WatchFilter.NODELETE)
_PROGRESS_S_MIN = 0.1
"""As in etcd: an interval of 0 must not keep the server busy with saying that nothing happens."""
_MERGED_FROM = 16
"""So many revisions waiting for one watch go in one answer: it is slow, and whole revisions stay together."""


@attrs.define(eq=False)
class _Watching:
    """One watch of a stream."""

    id: int
    fragment: bool
    progress_notify: bool
    watch: Watch = attrs.field(init=False)
    queued: bool = False
    told: bool = False
    """Something was sent since the last tick: no progress needs to be told."""


class Watching:
    """The Watch service."""

    def __init__(self, member: Member, access: Access) -> None:
        self.member = member
        self.access = access
        self.encode = wire.EventEncoder()

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.stream("etcdserverpb.Watch", Watch=self.watch)

    async def watch(self, call: Call) -> None:
        """Watch: one stream of watches, until the client goes or the server stops."""
        await WatchStream(self, call).run()


class WatchStream:
    """One stream: its watches, its outbound queue, and the tasks that fill and empty it."""

    def __init__(self, service: Watching, call: Call) -> None:
        self._service = service
        self._member = service.member
        self._call = call
        self._watches: dict[int, _Watching] = {}
        self._next_id = 0
        self._outbound: deque[bytes | _Watching] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking = False

    def _close(self) -> None:
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Serve the stream.

        Raises:
            StoreClosedError: the store serves no more, or a request was no request.
        """
        self._start(self._receive())
        try:
            await self._send()
        finally:
            for watching in self._watches.values():
                watching.watch.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        raise StoreClosedError

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._close()

    def _header(self) -> bytes:
        return self._member.header(self._member.store.revision)

    # What comes in

    async def _receive(self) -> None:
        # A client that sends no more may still listen: the stream ends when the client goes.
        while (raw := await self._call.read()) is not None:
            request = parse(pb.WatchRequest, raw)
            kind = request.WhichOneof("request_union")
            if kind == "create_request":
                self._create(request.create_request)
            elif kind == "cancel_request":
                self._cancel(request.cancel_request.watch_id)
            elif kind == "progress_request":
                self._progress()

    def _create(self, request: Message) -> None:
        key = request.key or b"\0"
        watch_id, start = request.watch_id, request.start_revision
        if watch_id and watch_id in self._watches:
            self._refuse("mvcc: duplicate watch ID provided on the WatchStream")
            return
        if start < 0:
            self._refuse(CompactedError.text)
            return
        if (denied := self._denied(key, request.range_end)) is not None:
            self._refuse(denied)
            return
        watching = _Watching(watch_id, request.fragment, request.progress_notify)
        filters = [_FILTERS[number] for number in request.filters if 0 <= number < len(_FILTERS)]
        store = self._member.store
        try:
            watching.watch = store.watch(
                key, request.range_end, start, prev_kv=request.prev_kv, filters=filters, on_ready=lambda _: self._ready(watching)
            )
        except (EmptyRangeError, KeyEmptyError) as error:
            self._refuse(error.text)
            return
        # A refused watch takes no id.
        watching.id = watch_id or self._free_id()
        self._watches[watching.id] = watching
        self._push(wire.watch_response(self._header(), watching.id, created=True))
        if watching.watch.lagging:
            self._ready(watching)
        if watching.progress_notify and not self._ticking:
            self._ticking = True
            self._start(self._tick())

    def _denied(self, key: bytes, range_end: bytes) -> str | None:
        """Why the caller may not read what it wants to watch, in Go's way to write a refusal; None if it may.

        It is asked once: as in etcd, a watch goes on when its right is taken away.
        """
        access = self._service.access
        if access.enabled:
            try:
                access.rights(self._call.context).read(key, range_end)
            except Refusal as refusal:
                return f"rpc error: code = {refusal.code.title().replace('_', '')} desc = {refusal.text}"
        return None

    def _free_id(self) -> int:
        while self._next_id in self._watches:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _refuse(self, reason: str) -> None:
        self._push(wire.watch_response(self._header(), -1, created=True, canceled=True, reason=reason))

    def _cancel(self, watch_id: int) -> None:
        watching = self._watches.pop(watch_id, None)
        if watching is not None:
            watching.watch.cancel()
            self._push(wire.watch_response(self._header(), watch_id, canceled=True))

    def _progress(self) -> None:
        """Answer a progress request, behind the events before it; silence unless all watches are synced and started."""
        if all(watching.watch.synced for watching in self._watches.values()):
            self._push(wire.watch_response(self._header(), -1))

    async def _tick(self) -> None:
        interval_s = max(_PROGRESS_S_MIN, self._member.settings.progress_interval_s)
        while True:
            await self._member.clock.sleep(interval_s)
            for watching in self._watches.values():
                if watching.progress_notify:
                    if not watching.told and watching.watch.synced:
                        self._push(wire.watch_response(self._header(), watching.id))
                    watching.told = False

    # What goes out

    def _push(self, answer: bytes) -> None:
        self._outbound.append(answer)
        self._wake.set()

    def _ready(self, watching: _Watching) -> None:
        if not watching.queued:
            watching.queued = True
            self._outbound.append(watching)
            self._wake.set()

    async def _send(self) -> None:
        write, outbound = self._call.write, self._outbound
        while not self._closed:
            if not outbound:
                self._wake.clear()
                await self._wake.wait()
                continue
            item = outbound.popleft()
            if isinstance(item, bytes):
                await write(item)
                continue
            item.queued = False
            for answer in self._answers(item):
                await write(answer)

    def _answers(self, watching: _Watching) -> list[bytes]:
        """What a ready watch has to say; a watch that lags is sent to read the past."""
        watch = watching.watch
        if watching.id not in self._watches or self._watches[watching.id] is not watching:
            return []  # cancelled meanwhile
        batches = watch.take()
        header = self._member.header
        if batches:
            if watch.lagging or watch.error is not None:
                self._ready(watching)
            if len(batches) >= _MERGED_FROM:
                return self._encoded(watching, header(batches[-1].revision), batches)
            return [answer for batch in batches for answer in self._encoded(watching, header(batch.revision), (batch,))]
        error = watch.error
        if error is not None:
            del self._watches[watching.id]
            if isinstance(error, CompactedError):
                # No reason, and no revision: clients tell from the compacted revision what happened.
                return [wire.watch_response(header(0), watching.id, canceled=True, compact_revision=error.compacted)]
            self._close()
            return []
        if watch.lagging:
            watching.queued = True  # nothing else may be sent for it before the past is
            self._start(self._pull(watching))
        return []

    async def _pull(self, watching: _Watching) -> None:
        watch = watching.watch
        chunk = await watch.pull()
        # In the same step as the switch to the present: the past stands before whatever is offered next.
        watching.queued = False
        if watching.id not in self._watches:
            return
        if chunk:
            batches = [batch for batch, _ in chunk]
            for answer in self._encoded(watching, self._header(), batches):
                self._push(answer)
        self._ready(watching)

    def _encoded(self, watching: _Watching, header: bytes, batches: Sequence[WatchBatch]) -> list[bytes]:
        encode = self._service.encode
        watching.told = True
        events = [encode(event) for batch in batches for event in batch.events]
        limit = self._member.settings.message_bytes_max if watching.fragment else None
        return wire.watch_events(header, watching.id, events, limit)
