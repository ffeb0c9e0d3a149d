"""The KV service: Range, Put, DeleteRange, Txn, Compact."""

from __future__ import annotations

from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.errors import LeaseNotFoundError, NoSpaceError, RequestTooLargeError
from reconcile.runtime.store.model import DeleteResponse, PutResponse, RangeResponse, Txn, TxnResponse

from . import wire
from .member import Member
from .methods import Methods, parse
from .requests import delete_of, put_of, puts_bytes, range_of, txn_of

_ENVELOPE_BYTES = 17
"""etcd measures a request with what it wraps it in for its log."""
_KVS_AT_ONCE_MAX = 2_000
"""Keys encoded before other tasks get a turn."""


class KV:
    """Reads and writes of keys."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._store = member.store

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.unary(
            "etcdserverpb.KV", Range=self.range, Put=self.put, DeleteRange=self.delete, Txn=self.txn, Compact=self.compact
        )

    async def range(self, raw: bytes) -> bytes:
        """Range: the present from memory, the past from memory or disk."""
        self._member.check_serving()
        request = range_of(parse(pb.RangeRequest, raw))
        store = self._store
        response = store.range(request) if request.revision <= 0 else await store.range_at(request)
        header = self._member.header(response.revision)
        if len(response.kvs) <= _KVS_AT_ONCE_MAX:
            return wire.range_response(header, response)
        return await self._long_range(header, response)

    async def _long_range(self, header: bytes, response: RangeResponse) -> bytes:
        pieces = [header]
        for start in range(0, len(response.kvs), _KVS_AT_ONCE_MAX):
            pieces.append(b"".join(wire.key_values(response.kvs[start : start + _KVS_AT_ONCE_MAX])))
            await self._member.clock.sleep(0)
        return b"".join((*pieces, wire.range_end_parts(response)))

    async def put(self, raw: bytes) -> bytes:
        """Put: a txn of one put, with a plain answer."""
        await self._check(raw, len(raw))
        put = put_of(parse(pb.PutRequest, raw))
        alone = put.key and put.lease and put.ignore_value and not (put.value or put.ignore_lease)
        if alone and self._store.lease_time_to_live(put.lease).ttl_s < 0:
            # Alone, a put is refused for its lease first; in a txn, for the missing key.
            raise LeaseNotFoundError(put.lease)
        (response,) = (await self._write(Txn((), (put,)))).responses
        assert isinstance(response, PutResponse)
        return wire.put_response(self._member.header(response.revision), response)

    async def delete(self, raw: bytes) -> bytes:
        """DeleteRange: a txn of one delete; it is served when there is no space, for it makes some."""
        await self._check(raw, 0)
        (response,) = (await self._write(Txn((), (delete_of(parse(pb.DeleteRangeRequest, raw)),)))).responses
        assert isinstance(response, DeleteResponse)
        return wire.delete_response(self._member.header(response.revision), response)

    async def txn(self, raw: bytes) -> bytes:
        """Txn."""
        txn = txn_of(parse(pb.TxnRequest, raw))
        await self._check(raw, puts_bytes(txn))
        response = await self._write(txn)
        return wire.txn_response(self._member.header(response.revision), response)

    async def compact(self, raw: bytes) -> bytes:
        """Compact."""
        self._member.check_serving()
        request = parse(pb.CompactionRequest, raw)
        await self._store.compact(request.revision, request.physical)
        return self._member.header(self._store.revision)

    async def _check(self, raw: bytes, growth_bytes: int) -> None:
        if growth_bytes:
            await self._member.check_room(growth_bytes)
        else:
            self._member.check_serving()
        limit = self._member.settings.request_bytes_max
        if len(raw) + _ENVELOPE_BYTES > limit:
            raise RequestTooLargeError(len(raw), limit)

    async def _write(self, txn: Txn) -> TxnResponse:
        try:
            return await self._store.txn(txn)
        except NoSpaceError:
            await self._member.no_space()
            raise
