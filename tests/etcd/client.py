"""A client of any etcd, ours or a real one: stubs, short words for requests, and responses as plain tuples."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import grpc
from aetcd.rpc import rpc_pb2 as pb
from aetcd.rpc import rpc_pb2_grpc as stubs

Message = Any
"""A generated message: aetcd's stubs have no types."""

QUIET_S = 0.3
"""So long nothing must come for a watch to be called silent."""


class Client:
    """One channel with all stubs of etcd."""

    def __init__(self, address: str) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.aio.insecure_channel(address, options=options)
        self.kv = stubs.KVStub(self.channel)
        self.lease = stubs.LeaseStub(self.channel)
        self.watches = stubs.WatchStub(self.channel)
        self.maintenance = stubs.MaintenanceStub(self.channel)
        self.cluster = stubs.ClusterStub(self.channel)
        self.auth = stubs.AuthStub(self.channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.channel.close()

    async def put(self, key: bytes, value: bytes = b"v", **options: Any) -> Message:
        return await self.kv.Put(pb.PutRequest(key=key, value=value, **options))

    async def get(self, key: bytes, range_end: bytes = b"", **options: Any) -> Message:
        return await self.kv.Range(pb.RangeRequest(key=key, range_end=range_end, **options))

    async def delete(self, key: bytes, range_end: bytes = b"", **options: Any) -> Message:
        return await self.kv.DeleteRange(pb.DeleteRangeRequest(key=key, range_end=range_end, **options))

    async def txn(
        self, compare: Iterable[Message] = (), then: Iterable[Message] = (), otherwise: Iterable[Message] = ()
    ) -> Message:
        return await self.kv.Txn(txn(compare, then, otherwise))

    async def compact(self, revision: int, physical: bool = False) -> Message:
        return await self.kv.Compact(pb.CompactionRequest(revision=revision, physical=physical))

    async def hash_kv(self, revision: int = 0) -> Message:
        return await self.maintenance.HashKV(pb.HashKVRequest(revision=revision))

    @asynccontextmanager
    async def watch(self, metadata: tuple[tuple[str, str], ...] = ()) -> AsyncIterator[WatchStream]:
        stream = WatchStream(self.watches.Watch(metadata=metadata))
        try:
            yield stream
        finally:
            stream.call.cancel()


class WatchStream:
    """One stream of watches."""

    def __init__(self, call: Any) -> None:  # Any: grpcio has no types
        self.call = call

    async def create(self, key: bytes, range_end: bytes = b"", **options: Any) -> None:
        create = pb.WatchCreateRequest(key=key, range_end=range_end, **options)
        await self.call.write(pb.WatchRequest(create_request=create))

    async def cancel(self, watch_id: int) -> None:
        await self.call.write(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch_id)))

    async def progress(self) -> None:
        await self.call.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    async def next(self) -> Message:
        return await self.call.read()

    async def told(self, count: int = 1) -> list[dict[str, Any]]:
        """The next responses, without what is zero."""
        return [told(await self.next()) for _ in range(count)]

    async def silent(self) -> bool:
        """Nothing comes for a while; the stream is of no use after it."""
        try:
            async with asyncio.timeout(QUIET_S):
                await self.next()
        except TimeoutError:
            return True
        return False


def told(response: Message) -> dict[str, Any]:
    """A watch response as a dict without zeros; events as (kind, key, mod, create, version, prev's mod)."""
    found: dict[str, Any] = {"rev": response.header.revision, "id": response.watch_id}
    for name in ("created", "canceled", "fragment", "compact_revision", "cancel_reason"):
        if value := getattr(response, name):
            found[name] = value
    if response.events:
        found["events"] = [
            (
                "DELETE" if event.type else "PUT",
                event.kv.key,
                event.kv.mod_revision,
                event.kv.create_revision,
                event.kv.version,
                event.prev_kv.mod_revision if event.HasField("prev_kv") else 0,
            )
            for event in response.events
        ]
    return found


async def refusal(call: Any) -> str:
    """How a call is refused: "CODE: text"; what it answered if it is not."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return f"answered {answer}"


def plain(message: Message) -> str:
    """A response as text, without what names the cluster."""
    copy = type(message)()
    copy.CopyFrom(message)
    if copy.HasField("header"):
        copy.header.cluster_id = copy.header.member_id = copy.header.raft_term = 0
    return str(copy)


def put(key: bytes, value: bytes = b"v", **options: Any) -> Message:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, **options))


def get(key: bytes, range_end: bytes = b"", **options: Any) -> Message:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=range_end, **options))


def delete(key: bytes, range_end: bytes = b"", **options: Any) -> Message:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end, **options))


def txn(compare: Iterable[Message] = (), then: Iterable[Message] = (), otherwise: Iterable[Message] = ()) -> Message:
    return pb.TxnRequest(compare=list(compare), success=list(then), failure=list(otherwise))


def nested(then: Iterable[Message] = (), otherwise: Iterable[Message] = (), compare: Iterable[Message] = ()) -> Message:
    return pb.RequestOp(request_txn=txn(compare, then, otherwise))
