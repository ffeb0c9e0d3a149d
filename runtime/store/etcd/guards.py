"""What each method asks of its caller while authentication is enabled: one table, and whatever it lacks is root's.

A guard sees the request before the service does, and raises what etcd would answer. It refuses a malformed request
first, in the words of the service, for that is etcd's order. Services know nothing of users, but for Watch: a watch that
is refused leaves its stream open.

What etcd 3.5.33 checks is checked, nested txns, `prev_kv` and leases in them included; older ones let some of it pass.
A refusal has its code and text everywhere; etcd 3.5 forgot both in Defragment, Hash, HashKV and Snapshot. A server's own
doings, the end of leases among them, pass no guard.

Source: etcd server/etcdserver/apply/auth.go, server/etcdserver/v3_server.go, server/etcdserver/api/v3rpc
"""

from __future__ import annotations

from collections.abc import Callable

from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.errors import KeyEmptyError
from reconcile.runtime.store.model import DeleteRange, Operation, Put, Range, Txn, prefix_end

from . import descriptors
from .access import Access, Rights
from .http2.stream import Stream
from .methods import parse
from .requests import Message, delete_of, put_of, range_of, txn_of

Guard = Callable[[Rights, bytes], None]


class Guarded:
    """Holds each request against the guard of its method. Implements `methods.Gate`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def enabled(self) -> bool:
        """Whether anybody is asked."""
        return self._access.enabled

    def check(self, method: str, context: Stream, raw: bytes) -> None:
        """Let a request pass, or raise what etcd answers; what nobody thought of is root's."""
        GUARDS.get(method, _admin)(self._access.rights(context), raw)


def _anybody(_: Rights, __: bytes) -> None:
    """Nothing is told or done that needs a user."""


def _known(rights: Rights, _: bytes) -> None:
    rights.known()


def _admin(rights: Rights, _: bytes) -> None:
    rights.admin()


# Keys


def _range(rights: Rights, raw: bytes) -> None:
    request = range_of(parse(pb.RangeRequest, raw))
    if not request.key:
        raise KeyEmptyError("in a range")
    rights.read(request.key, request.range_end)


def _put(rights: Rights, raw: bytes) -> None:
    _changes(rights, Txn((), (put_of(parse(pb.PutRequest, raw)),)))


def _delete(rights: Rights, raw: bytes) -> None:
    _changes(rights, Txn((), (delete_of(parse(pb.DeleteRangeRequest, raw)),)))


def _txn(rights: Rights, raw: bytes) -> None:
    _changes(rights, txn_of(parse(pb.TxnRequest, raw)))


def _changes(rights: Rights, txn: Txn) -> None:
    rights.well_formed(txn)
    rights.sound()
    _permit(rights, txn)


def _permit(rights: Rights, txn: Txn) -> None:
    """Both branches at all levels: which one is taken must not tell what the caller may not read."""
    for compare in txn.compare:
        rights.read(compare.key, compare.range_end)
    for operation in (*txn.success, *txn.failure):
        _permit_operation(rights, operation)


def _permit_operation(rights: Rights, operation: Operation) -> None:
    if isinstance(operation, Txn):
        _permit(rights, operation)
    elif isinstance(operation, Range):
        rights.read(operation.key, operation.range_end)
    elif isinstance(operation, DeleteRange):
        rights.write(operation.key, operation.range_end)
        if operation.prev_kv:
            rights.read(operation.key, operation.range_end)
    elif isinstance(operation, Put):
        rights.write(operation.key)
        if operation.lease:
            rights.write_lease(operation.lease)
        if operation.prev_kv:
            rights.read(operation.key)


# Leases


def _revoke(rights: Rights, raw: bytes) -> None:
    rights.known()
    rights.write_lease(parse(pb.LeaseRevokeRequest, raw).ID)


def _keep_alive(rights: Rights, raw: bytes) -> None:
    rights.known()
    rights.write_lease(parse(pb.LeaseKeepAliveRequest, raw).ID)


def _time_to_live(rights: Rights, raw: bytes) -> None:
    request = parse(pb.LeaseTimeToLiveRequest, raw)
    rights.read_leases((request.ID,) if request.keys else ())


def _leases(rights: Rights, _: bytes) -> None:
    rights.read_all_leases()


# Maintenance and users


def _alarm(rights: Rights, raw: bytes) -> None:
    if parse(pb.AlarmRequest, raw).action == pb.AlarmRequest.GET:
        rights.known()
    else:
        rights.admin()


def _user_get(rights: Rights, raw: bytes) -> None:
    """Everybody may see who they are."""
    if parse(pb.AuthUserGetRequest, raw).name != rights.caller.user:
        rights.admin()


def _role_get(rights: Rights, raw: bytes) -> None:
    """Everybody may see what their roles permit."""
    if not rights.has_role(parse(pb.AuthRoleGetRequest, raw).role):
        rights.admin()


# Locks and elections: what their recipes do with keys


def _queue_up(rights: Rights, name: bytes, lease: int) -> None:
    prefix = name + b"/"
    rights.read(prefix, prefix_end(prefix))
    if lease:
        rights.write_lease(lease)
        rights.write(prefix + (b"%x" % lease if lease >= 0 else b"-%x" % -lease))
    else:
        rights.write(prefix, prefix_end(prefix))  # the lease, and so the key, is not known yet


def _lock(rights: Rights, raw: bytes) -> None:
    request = parse(descriptors.LockRequest, raw)
    _queue_up(rights, request.name, request.lease)


def _unlock(rights: Rights, raw: bytes) -> None:
    rights.write(parse(descriptors.UnlockRequest, raw).key)


def _campaign(rights: Rights, raw: bytes) -> None:
    request = parse(descriptors.CampaignRequest, raw)
    _queue_up(rights, request.name, request.lease)


def _proclaim(rights: Rights, raw: bytes) -> None:
    _lead(rights, parse(descriptors.ProclaimRequest, raw).leader)


def _resign(rights: Rights, raw: bytes) -> None:
    _lead(rights, parse(descriptors.ResignRequest, raw).leader)


def _lead(rights: Rights, leader: Message) -> None:
    rights.read(leader.key)
    rights.write(leader.key)
    if leader.lease:
        rights.write_lease(leader.lease)


def _leader(rights: Rights, raw: bytes) -> None:
    prefix = parse(descriptors.LeaderRequest, raw).name + b"/"
    rights.read(prefix, prefix_end(prefix))


def _paths(service: str, **guards: Guard) -> dict[str, Guard]:
    return {f"/{service}/{name}": guard for name, guard in guards.items()}


GUARDS: dict[str, Guard] = {
    **_paths("etcdserverpb.KV", Range=_range, Put=_put, DeleteRange=_delete, Txn=_txn, Compact=_admin),
    **_paths("etcdserverpb.Watch", Watch=_anybody),  # each watch is asked for by itself
    **_paths(
        "etcdserverpb.Lease",
        LeaseGrant=_known,
        LeaseRevoke=_revoke,
        LeaseKeepAlive=_keep_alive,
        LeaseTimeToLive=_time_to_live,
        LeaseLeases=_leases,
    ),
    **_paths(
        "etcdserverpb.Cluster",
        MemberList=_known,
        MemberAdd=_admin,
        MemberRemove=_admin,
        MemberUpdate=_admin,
        MemberPromote=_admin,
    ),
    **_paths(
        "etcdserverpb.Maintenance",
        Status=_known,
        Alarm=_alarm,
        HashKV=_admin,
        Hash=_admin,
        Defragment=_admin,
        MoveLeader=_admin,
        Downgrade=_admin,
        Snapshot=_admin,
    ),
    **_paths(
        "etcdserverpb.Auth",
        Authenticate=_anybody,
        AuthStatus=_admin,
        AuthEnable=_admin,
        AuthDisable=_admin,
        UserAdd=_admin,
        UserGet=_user_get,
        UserList=_admin,
        UserDelete=_admin,
        UserChangePassword=_admin,
        UserGrantRole=_admin,
        UserRevokeRole=_admin,
        RoleAdd=_admin,
        RoleGet=_role_get,
        RoleList=_admin,
        RoleDelete=_admin,
        RoleGrantPermission=_admin,
        RoleRevokePermission=_admin,
    ),
    **_paths("v3lockpb.Lock", Lock=_lock, Unlock=_unlock),
    **_paths("v3electionpb.Election", Campaign=_campaign, Proclaim=_proclaim, Resign=_resign, Leader=_leader, Observe=_leader),
    **_paths("grpc.health.v1.Health", Check=_anybody, Watch=_anybody),
}
"""Every method that is served, by its path."""
