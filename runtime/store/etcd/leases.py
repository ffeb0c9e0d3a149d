"""The Lease service: LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases."""

from __future__ import annotations

from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.hashkv import varint

from . import wire
from .member import Member
from .methods import Call, Methods, parse

_LEASE_BYTES = 64


class Leases:
    """Leases, on the wire."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._store = member.store

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.unary(
            "etcdserverpb.Lease",
            LeaseGrant=self.grant,
            LeaseRevoke=self.revoke,
            LeaseTimeToLive=self.time_to_live,
            LeaseLeases=self.leases,
        )
        methods.stream("etcdserverpb.Lease", LeaseKeepAlive=self.keep_alive)

    def _header(self) -> bytes:
        return self._member.header(self._store.revision)

    async def grant(self, raw: bytes) -> bytes:
        """LeaseGrant; a lease takes space, so it is refused when there is none."""
        await self._member.check_room(_LEASE_BYTES)
        request = parse(pb.LeaseGrantRequest, raw)
        lease = await self._store.lease_grant(request.TTL, request.ID)
        return b"".join((self._header(), b"\x10", varint(lease.id), b"\x18", varint(lease.granted_ttl_s)))

    async def revoke(self, raw: bytes) -> bytes:
        """LeaseRevoke."""
        self._member.check_serving()
        revision = await self._store.lease_revoke(parse(pb.LeaseRevokeRequest, raw).ID)
        return self._member.header(revision)

    async def keep_alive(self, call: Call) -> None:
        """LeaseKeepAlive: an answer to each request; TTL 0 when there is no such lease."""
        while (raw := await call.read()) is not None:
            lease = parse(pb.LeaseKeepAliveRequest, raw).ID
            # The header is taken before: an expiry that the request waits for comes after it.
            parts = [self._header(), b"\x10", varint(lease)] if lease else [self._header()]
            ttl_s = await self._store.lease_keep_alive(lease)
            if ttl_s:
                parts += (b"\x18", varint(ttl_s))
            await call.write(b"".join(parts))

    async def time_to_live(self, raw: bytes) -> bytes:
        """LeaseTimeToLive."""
        request = parse(pb.LeaseTimeToLiveRequest, raw)
        lease = self._store.lease_time_to_live(request.ID, request.keys)
        parts = [self._header()]
        for tag, number in ((b"\x10", request.ID), (b"\x18", lease.ttl_s), (b"\x20", lease.granted_ttl_s)):
            if number:
                parts += (tag, varint(number))
        parts += (wire.field(b"\x2a", key) for key in lease.keys)
        return b"".join(parts)

    async def leases(self, _: bytes) -> bytes:
        """LeaseLeases."""
        ids = (wire.field(b"\x12", b"\x08" + varint(lease)) for lease in self._store.lease_ids())
        return b"".join((self._header(), *ids))
