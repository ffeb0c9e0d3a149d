"""Users, roles and tokens: what the real etcd of the tests is too old to refuse, and what only ours can show.

`test_etcd_auth_differential.py` holds everything else against a real one.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aetcd.rpc import auth_pb2
from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store
from reconcile.runtime.store.etcd import EtcdServer, descriptors
from reconcile.runtime.store.etcd.guards import GUARDS
from reconcile.runtime.store.etcd.passwords import Passwords
from reconcile.runtime.store.etcd.permissions import Keys
from reconcile.runtime.store.etcd.tokens import Caller, SimpleTokens
from tests.etcd.client import Client, Message, delete, get, nested, plain, put, refusal, txn
from tests.store.conftest import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.etcd.conftest import Served

_DENIED = "PERMISSION_DENIED: etcdserver: permission denied"
_NOBODY = "INVALID_ARGUMENT: etcdserver: user name is empty"
_BAD_TOKEN = "UNAUTHENTICATED: etcdserver: invalid auth token"
_GO_DENIED = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
_READ, _WRITE, _READWRITE = range(3)


class User:
    """A client with a token, or without one."""

    def __init__(self, client: Client, token: str | None = None) -> None:
        self.client = client
        self.token = token
        self.metadata = (("token", token),) if token is not None else ()

    def __call__(self, method: str, request: Message | None = None) -> Any:
        """Call a method by `service.Name`; the request defaults to an empty one."""
        service, _, name = method.partition(".")
        if request is None:
            request = getattr(pb, f"{'Auth' if service == 'auth' and not name.startswith('Auth') else ''}{name}Request")()
        return getattr(getattr(self.client, service), name)(request, metadata=self.metadata)

    def raw(self, path: str, request: Message) -> Any:
        """Call a method by its path."""
        return self.client.channel.unary_unary(path, type(request).SerializeToString)(request, metadata=self.metadata)


async def _log_in(client: Client, name: str) -> User:
    answer = await client.auth.Authenticate(pb.AuthenticateRequest(name=name, password=f"{name}'s"))
    return User(client, answer.token)


async def guard(client: Client, *permissions: tuple[int, bytes, bytes]) -> None:
    """Make users root and alice, who has some permissions, and have callers say who they are."""
    ask = User(client)
    await ask("auth.RoleAdd", pb.AuthRoleAddRequest(name="some"))
    for kind, key, end in permissions:
        permission = auth_pb2.Permission(permType=kind, key=key, range_end=end)
        await ask("auth.RoleGrantPermission", pb.AuthRoleGrantPermissionRequest(name="some", perm=permission))
    for name, role in (("root", "root"), ("alice", "some")):
        await ask("auth.UserAdd", pb.AuthUserAddRequest(name=name, password=f"{name}'s"))
        await ask("auth.UserGrantRole", pb.AuthUserGrantRoleRequest(user=name, role=role))
    await ask("auth.AuthEnable")


@asynccontextmanager
async def guarded(served: Served, *permissions: tuple[int, bytes, bytes], **settings: Any) -> AsyncIterator[tuple[User, User]]:
    """A server that asks who calls; gives root, and alice with some permissions."""
    async with served(**settings) as client:
        await guard(client, *permissions)
        yield await _log_in(client, "root"), await _log_in(client, "alice")


async def test_every_method_has_a_guard(tmp_path: Path) -> None:
    """What the table lacks is root's; a new method must say what it wants."""
    clock = SystemClock()
    async with await Store.open(tmp_path, clock) as store:
        server = await EtcdServer.serve(store, clock, "127.0.0.1:0")
        assert server.paths == set(GUARDS)
        await server.close()


async def test_no_operation_of_a_txn_passes_without_its_right(served: Served) -> None:
    """Older etcds let nested operations, previous values and leases through: who may write a key could read all."""
    async with guarded(served, (_READWRITE, b"a", b"b"), (_WRITE, b"w", b"")) as (root, alice):
        await root("kv.Put", pb.PutRequest(key=b"secret", value=b"x"))
        lease = (await root("lease.LeaseGrant", pb.LeaseGrantRequest(TTL=60, ID=9))).ID
        await root("kv.Put", pb.PutRequest(key=b"secret", value=b"x", lease=lease))
        permitted = [put(b"a"), get(b"a", b"b"), delete(b"a1", b"a2", prev_kv=True), put(b"w")]
        assert (await alice("kv.Txn", txn(then=permitted))).succeeded
        secrets = [
            get(b"secret"),
            put(b"secret"),
            delete(b"secret"),
            delete(b"a", b"\0"),
            put(b"w", prev_kv=True),
            get(b"w"),
            put(b"a", lease=lease),
        ]
        for secret in secrets:
            for request in (
                txn(then=[secret]),
                txn(otherwise=[secret]),
                txn(then=[nested([secret])]),
                txn(otherwise=[nested(otherwise=[nested([secret])])]),
            ):
                assert await refusal(alice("kv.Txn", request)) == _DENIED, request
        compare = [pb.Compare(key=b"secret", target=pb.Compare.VERSION, version=1)]
        assert await refusal(alice("kv.Txn", txn(compare))) == _DENIED
        assert await refusal(alice("kv.Txn", txn(then=[nested(compare=compare)]))) == _DENIED
        assert (await root("kv.Range", pb.RangeRequest(key=b"secret"))).kvs[0].version == 2


async def test_a_watch_needs_the_right_to_read_all_that_it_watches(served: Served) -> None:
    """A key's reader once saw every key behind it; the stream stays open for other watches."""
    async with guarded(served, (_READ, b"a", b"b"), (_READ, b"k", b""), (_WRITE, b"w", b"")) as (root, alice):
        async with alice.client.watch(alice.metadata) as stream:
            for key, end in ((b"b", b""), (b"a", b"c"), (b"k", b"\0"), (b"", b""), (b"\0", b"\0"), (b"w", b"")):
                await stream.create(key, end)
                denied = {"rev": 1, "id": -1, "created": True, "canceled": True, "cancel_reason": _GO_DENIED}
                assert await stream.told() == [denied]
            await stream.create(b"a", b"b")
            assert await stream.told() == [{"rev": 1, "id": 0, "created": True}]
            await root("kv.Put", pb.PutRequest(key=b"a"))
            assert await stream.told() == [{"rev": 2, "id": 0, "events": [("PUT", b"a", 2, 2, 1, 0)]}]
        for metadata, reason in (((), _NOBODY), ((("token", "none.1"),), _BAD_TOKEN)):
            async with alice.client.watch(metadata) as stream:
                await stream.create(b"a")
                (told,) = await stream.told()
                code, _, text = reason.partition(": ")
                assert told["cancel_reason"] == f"rpc error: code = {code.title().replace('_', '')} desc = {text}"


async def test_leases_of_others_are_out_of_reach(served: Served) -> None:
    """Who ends a lease deletes its keys; who lists its keys learns their names."""
    async with guarded(served, (_READWRITE, b"a", b"b")) as (root, alice):
        nobody = User(root.client)
        for each in (nobody("lease.LeaseGrant", pb.LeaseGrantRequest(TTL=60)), nobody("lease.LeaseLeases")):
            assert await refusal(each) == _NOBODY
        for lease, key in ((1, b"a"), (2, b"secret")):
            await root("lease.LeaseGrant", pb.LeaseGrantRequest(TTL=60, ID=lease))
            await root("kv.Put", pb.PutRequest(key=key, lease=lease))
        assert await refusal(alice("lease.LeaseLeases")) == _DENIED
        assert await refusal(alice("lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=2))) == _DENIED
        assert await refusal(alice("lease.LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=2, keys=True))) == _DENIED
        assert (await alice("lease.LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=2))).grantedTTL == 60
        assert await refusal(alice("kv.Put", pb.PutRequest(key=b"a", lease=2))) == _DENIED

        for lease, told in ((1, "answered"), (2, _DENIED)):
            call = alice.client.lease.LeaseKeepAlive(metadata=alice.metadata)
            await call.write(pb.LeaseKeepAliveRequest(ID=lease))
            assert (await refusal(call.read())).startswith(told)
            call.cancel()
        await alice("lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=1))
        await root("lease.LeaseRevoke", pb.LeaseRevokeRequest(ID=2))
        assert list((await alice("lease.LeaseLeases")).leases) == []


async def test_maintenance_members_and_users_are_roots(served: Served) -> None:
    """Whoever may use keys may not stop the server, copy it, or let others in."""
    known = {"cluster.MemberList", "maintenance.Status"}
    roots = {
        "cluster": ["MemberList", "MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote"],
        "maintenance": ["Status", "HashKV", "Hash", "Defragment", "MoveLeader", "Downgrade"],
        "auth": [
            "AuthEnable", "AuthDisable", "AuthStatus", "UserAdd", "UserGet", "UserList", "UserDelete", "UserChangePassword",
            "UserGrantRole", "UserRevokeRole", "RoleAdd", "RoleGet", "RoleList", "RoleDelete", "RoleGrantPermission",
            "RoleRevokePermission",
        ],
    }  # fmt: skip
    async with guarded(served) as (root, alice):
        nobody, stale = User(root.client), User(root.client, "abcdefghijklmnop.1")
        for method in [f"{service}.{name}" for service, names in roots.items() for name in names]:
            assert (await refusal(alice(method))).startswith("answered" if method in known else _DENIED), method
            if method != "auth.UserGet":  # of nobody's own name, which is no user's
                assert await refusal(nobody(method)) == _NOBODY, method
            assert await refusal(stale(method)) == _BAD_TOKEN, method
        compaction = pb.CompactionRequest(revision=1)
        assert await refusal(alice("kv.Compact", compaction)) == _DENIED
        await root("kv.Compact", compaction)
        assert list((await alice("maintenance.Alarm")).alarms) == []
        raising = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, alarm=pb.NOSPACE)
        assert await refusal(alice("maintenance.Alarm", raising)) == _DENIED
        copying = alice.client.maintenance.Snapshot(pb.SnapshotRequest(), metadata=alice.metadata)
        assert await refusal(copying.read()) == _DENIED
        # What they are they may know.
        assert list((await alice("auth.UserGet", pb.AuthUserGetRequest(name="alice"))).roles) == ["some"]
        await alice("auth.RoleGet", pb.AuthRoleGetRequest(role="some"))


async def test_locks_and_elections_need_the_rights_of_their_recipes(served: Served) -> None:
    """They are keys like any other, put by the server for a caller."""
    lock, leader = "/v3lockpb.Lock/Lock", "/v3electionpb.Election/Leader"
    async with guarded(served, (_READWRITE, b"mine/", b"mine0"), (_READ, b"seen/", b"seen0")) as (root, alice):
        await alice.raw(lock, descriptors.LockRequest(name=b"mine"))
        lease = (await alice("lease.LeaseGrant", pb.LeaseGrantRequest(TTL=60))).ID
        await alice.raw(lock, descriptors.LockRequest(name=b"mine/deeper", lease=lease))
        for name in (b"seen", b"other"):
            assert await refusal(alice.raw(lock, descriptors.LockRequest(name=name))) == _DENIED
        await root.raw("/v3electionpb.Election/Campaign", descriptors.CampaignRequest(name=b"seen", value=b"root"))
        assert b"root" in await alice.raw(leader, descriptors.LeaderRequest(name=b"seen"))
        assert await refusal(alice.raw(leader, descriptors.LeaderRequest(name=b"other"))) == _DENIED
        key = (await root("kv.Range", pb.RangeRequest(key=b"seen/", range_end=b"seen0"))).kvs[0].key
        assert await refusal(alice.raw("/v3lockpb.Lock/Unlock", descriptors.UnlockRequest(key=key))) == _DENIED
        theirs = descriptors.LeaderKey(name=b"seen", key=key, rev=2)
        assert await refusal(alice.raw("/v3electionpb.Election/Resign", descriptors.ResignRequest(leader=theirs))) == _DENIED


async def test_users_and_roles_outlive_a_restart_and_leave_no_trace_in_the_history(served: Served) -> None:
    """They are in the file, not among the keys: a hash equal to another etcd's stays equal."""
    async with served() as client:
        before = plain(await client.hash_kv())
    async with guarded(served, (_READ, b"a", b"b")) as (root, _):
        assert plain(await root("maintenance.HashKV")) == before
        status = await root("auth.AuthStatus")
        assert (status.enabled, status.authRevision) == (True, 7)
    async with served() as client:
        assert await refusal(client.put(b"a")) == _NOBODY
        assert await refusal(root_again(client, root)) == _BAD_TOKEN, "tokens end with the server, as those of etcd"
        root, alice = await _log_in(client, "root"), await _log_in(client, "alice")
        assert plain(await root("maintenance.HashKV")) == before
        await alice("kv.Range", pb.RangeRequest(key=b"a"))
        assert await refusal(alice("kv.Put", pb.PutRequest(key=b"a"))) == _DENIED
        await root("auth.AuthDisable")
        await client.put(b"a")
        assert (await client.auth.AuthStatus(pb.AuthStatusRequest())).authRevision == 8
    async with served() as client:
        await client.put(b"a")


def root_again(client: Client, user: User) -> Any:
    return client.kv.Range(pb.RangeRequest(key=b"a"), metadata=user.metadata)


async def test_a_change_of_rights_counts_at_once_and_a_password_ends_its_tokens(served: Served) -> None:
    """A right that was taken must be gone, not fade."""
    async with guarded(served, (_READ, b"a", b"b")) as (root, alice):
        read = pb.RangeRequest(key=b"a")
        await alice("kv.Range", read)
        await root("auth.RoleRevokePermission", pb.AuthRoleRevokePermissionRequest(role="some", key=b"a", range_end=b"b"))
        assert await refusal(alice("kv.Range", read)) == _DENIED
        await root("auth.UserGrantRole", pb.AuthUserGrantRoleRequest(user="alice", role="root"))
        await alice("kv.Range", read)
        await root("auth.UserChangePassword", pb.AuthUserChangePasswordRequest(name="alice", password="other"))
        assert await refusal(alice("kv.Range", read)) == _BAD_TOKEN
        wrong = await refusal(_log_in(root.client, "alice"))
        assert wrong == "INVALID_ARGUMENT: etcdserver: authentication failed, invalid user ID or password"


async def test_a_range_that_holds_no_key_cannot_be_permitted(served: Served) -> None:
    """It is somebody's mistake, and looks like a permission."""
    async with served() as client:
        await client.auth.RoleAdd(pb.AuthRoleAddRequest(name="r"))
        for key, end in ((b"", b""), (b"b", b"a"), (b"b", b"b")):
            permission = auth_pb2.Permission(permType=_READ, key=key, range_end=end)
            grant = client.auth.RoleGrantPermission(pb.AuthRoleGrantPermissionRequest(name="r", perm=permission))
            assert await refusal(grant) == "INVALID_ARGUMENT: etcdserver: invalid auth management"


def test_a_token_ends_when_it_is_not_used_for_its_time() -> None:
    """Each use gives it the full time again."""
    clock = VirtualClock()
    tokens = SimpleTokens(clock, 300)
    token, other = tokens.issue("alice", 7), tokens.issue("bob", 7)
    assert token != other
    assert token.endswith(".7")
    for _ in range(3):
        clock.time_s += 299
        assert tokens.caller(token, 9) == Caller("alice", 9)
    assert tokens.caller(other, 9) is None
    clock.time_s += 301
    assert tokens.caller(token, 9) is None


async def test_a_password_is_kept_as_a_salted_hash_only() -> None:
    """Two users of one password must not look alike, and the empty hash is nobody's."""
    passwords = Passwords()
    first, second = await asyncio.gather(passwords.hash("pä"), passwords.hash("pä"))
    assert first != second
    assert "pä".encode() not in first
    assert [await passwords.match(each, first) for each in ("pä", "pa", "")] == [True, False, False]
    assert not await passwords.match("", b"")


@pytest.mark.parametrize(
    ("key", "end", "held"),
    [
        (b"a", b"", True), (b"a", b"b", True), (b"a", b"d", True), (b"b", b"c\0", True), (b"c", b"", True),
        (b"d", b"", True), (b"d", b"e", False), (b"d\0", b"", False), (b"e", b"", False), (b"`", b"b", False),
        (b"x", b"\0", True), (b"x", b"y", True), (b"y", b"\0", True), (b"w", b"\0", False), (b"a", b"\0", False),
        (b"", b"", False), (b"c", b"a", True), (b"e", b"a", False),
    ],
)  # fmt: skip
def test_a_set_of_keys_holds_what_its_ranges_cover_together(key: bytes, end: bytes, held: bool) -> None:
    """[a, b), [b, d) and d touch: a range over all of them is permitted, as etcd permits it."""
    keys = Keys([(b"b", b"d"), (b"a", b"b"), (b"d", b""), (b"x", b"\0"), (b"xx", b"xy")])
    assert keys.hold(key, end) == held
