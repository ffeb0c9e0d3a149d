"""The Lock and Election services: etcd's client recipes, run by the server.

Whoever wants the lock (or to lead) puts a key of its own, `name/<lease in hex>`; the oldest key has it. Everybody else
waits until all older keys are gone. A key goes with its lease, so a dead owner is no obstacle.

Source: etcd server/etcdserver/api/v3lock, v3election; client/v3/concurrency
"""

from __future__ import annotations

from reconcile.runtime.store.errors import LeaseNotFoundError
from reconcile.runtime.store.model import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    KeyValue,
    Put,
    Range,
    RangeResponse,
    SortOrder,
    SortTarget,
    Txn,
    WatchFilter,
    prefix_end,
)

from . import descriptors, errors, wire
from .member import Member
from .methods import Call, Methods, parse
from .requests import Message

_SESSION_TTL_S = 60


class Concurrency:
    """Locks and elections."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._store = member.store

    def register(self, methods: Methods) -> None:
        """Serve both."""
        methods.unary("v3lockpb.Lock", Lock=self.lock, Unlock=self.unlock)
        methods.unary(
            "v3electionpb.Election",
            Campaign=self.campaign,
            Proclaim=self.proclaim,
            Leader=self.leader,
            Resign=self.resign,
        )
        methods.stream("v3electionpb.Election", Observe=self.observe)

    # Locks

    async def lock(self, raw: bytes) -> bytes:
        """Lock: returns when the caller has the lock, with the key that stands for it."""
        request = parse(descriptors.LockRequest, raw)
        key, _ = await self._queue_up(request.name, request.lease, b"")
        return self._header() + wire.field(b"\x12", key)

    async def unlock(self, raw: bytes) -> bytes:
        """Unlock: the key goes."""
        gone = await self._store.delete(parse(descriptors.UnlockRequest, raw).key)
        return self._member.header(gone.revision)

    # Elections

    async def campaign(self, raw: bytes) -> bytes:
        """Campaign: returns when the caller leads, with the key that it proclaims by and resigns with."""
        request = parse(descriptors.CampaignRequest, raw)
        lease = await self._session(request.lease)
        key, revision = await self._queue_up(request.name, lease, request.value)
        leader = descriptors.LeaderKey(name=request.name, key=key, rev=revision, lease=lease)
        return self._header() + wire.field(b"\x12", leader.SerializeToString())

    async def proclaim(self, raw: bytes) -> bytes:
        """Proclaim: the leader says something new."""
        request = parse(descriptors.ProclaimRequest, raw)
        leader = _leader(request)
        put = Put(leader.key, request.value, leader.lease)
        response = await self._store.txn(Txn((_created_at(leader.key, leader.rev),), (put,)))
        if not response.succeeded:
            raise errors.not_leader()
        return self._member.header(response.revision)

    async def resign(self, raw: bytes) -> bytes:
        """Resign: the leader's key goes, if it is still the same."""
        leader = _leader(parse(descriptors.ResignRequest, raw))
        delete = DeleteRange(leader.key)
        response = await self._store.txn(Txn((_created_at(leader.key, leader.rev),), (delete,)))
        return self._member.header(response.revision)

    async def leader(self, raw: bytes) -> bytes:
        """Leader: who leads, and what it says."""
        kv = self._first(parse(descriptors.LeaderRequest, raw).name + b"/")
        if kv is None:
            raise errors.no_leader()
        return self._told(kv)

    async def observe(self, call: Call) -> None:
        """Observe: an answer for each leader, and for each thing that it says; ends when the client goes."""
        raw = await call.read()
        prefix = parse(descriptors.LeaderRequest, raw or b"").name + b"/"
        told = (0, 0)
        async with self._store.watch(prefix, prefix_end(prefix)) as watch:
            # The watch is opened first: a leader that comes between the two is then seen twice, never missed.
            while True:
                kv = self._first(prefix)
                if kv is not None and (kv.create_revision, kv.mod_revision) != told:
                    told = (kv.create_revision, kv.mod_revision)
                    await call.write(self._told(kv))
                await anext(watch)

    # Both

    async def _queue_up(self, name: bytes, lease: int, value: bytes) -> tuple[bytes, int]:
        """Put the caller's key, unless it is there, and wait until it is the oldest: the key, and when it was created."""
        lease = await self._session(lease)
        prefix = name + b"/"
        key = prefix + (b"%x" % lease if lease >= 0 else b"-%x" % -lease)
        put = Put(key, value, lease)
        response = await self._store.txn(Txn((Compare(key, CompareTarget.CREATE, CompareOp.EQUAL, 0),), (put,), (Range(key),)))
        created = response.revision
        if not response.succeeded:
            (mine,) = response.responses
            assert isinstance(mine, RangeResponse)
            created = mine.kvs[0].create_revision
            if value and mine.kvs[0].value != value:
                await self._store.txn(Txn((_created_at(key, created),), (put,)))
        try:
            await self._wait_for_turn(prefix, created)
        except BaseException:
            # Who gives up must not be waited for.
            await self._store.txn(Txn((_created_at(key, created),), (DeleteRange(key),)))
            raise
        if self._store.get(key) is None:
            raise errors.session_expired()
        return key, created

    async def _wait_for_turn(self, prefix: bytes, created: int) -> None:
        while True:
            last = self._store.range(
                Range(
                    prefix,
                    prefix_end(prefix),
                    limit=1,
                    sort_target=SortTarget.CREATE,
                    sort_order=SortOrder.DESCEND,
                    max_create_revision=created - 1,
                )
            )
            if not last.kvs:
                return
            async with self._store.watch(
                last.kvs[0].key, start_revision=last.revision + 1, filters=(WatchFilter.NOPUT,)
            ) as watch:
                await anext(watch)

    async def _session(self, lease: int) -> int:
        """The lease of the caller; one of a minute is made when it has none."""
        if not lease:
            await self._member.check_room(0)
            return (await self._store.lease_grant(_SESSION_TTL_S)).id
        if self._store.lease_time_to_live(lease).ttl_s < 0:
            raise LeaseNotFoundError(lease)
        return lease

    def _first(self, prefix: bytes) -> KeyValue | None:
        request = Range(prefix, prefix_end(prefix), limit=1, sort_target=SortTarget.CREATE, sort_order=SortOrder.ASCEND)
        kvs = self._store.range(request).kvs
        return kvs[0] if kvs else None

    def _header(self) -> bytes:
        return self._member.header(self._store.revision)

    def _told(self, kv: KeyValue) -> bytes:
        return self._header() + wire.field(b"\x12", wire.key_value(kv))


def _created_at(key: bytes, revision: int) -> Compare:
    return Compare(key, CompareTarget.CREATE, CompareOp.EQUAL, revision)


def _leader(request: Message) -> Message:
    if not request.HasField("leader"):
        raise errors.leader_field_missing()
    return request.leader
