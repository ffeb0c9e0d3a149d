"""What was observed on a real etcd, request by request, holds of ours; and still of a real one, run beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aetcd.rpc import rpc_pb2 as pb

from tests.etcd.client import Client, delete, get, nested, plain, put, refusal

if TYPE_CHECKING:
    from tests.etcd.conftest import RealEtcd, Served

C = pb.Compare
_COMPACTED = "OUT_OF_RANGE: etcdserver: mvcc: required revision has been compacted"
_FUTURE = "OUT_OF_RANGE: etcdserver: mvcc: required revision is a future revision"
_NO_KEY = "INVALID_ARGUMENT: etcdserver: key is not provided"
_KEY_NOT_FOUND = "INVALID_ARGUMENT: etcdserver: key not found"
_NO_LEASE = "NOT_FOUND: etcdserver: requested lease not found"
_DUPLICATE = "INVALID_ARGUMENT: etcdserver: duplicate key given in txn request"
_TOO_MANY = "INVALID_ARGUMENT: etcdserver: too many operations in txn request"
_TOO_LARGE = "INVALID_ARGUMENT: etcdserver: request is too large"


def _kv(answer: Any) -> list[tuple[bytes, bytes, int, int, int]]:
    return [(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in answer.kvs]


def _summary(answer: Any) -> tuple[list[bytes], int, bool, int]:
    return [kv.key for kv in answer.kvs], answer.count, answer.more, answer.header.revision


async def test_revisions_begin_at_one_and_move_with_each_effective_write(etcd: RealEtcd) -> None:
    """Clients resume from revisions: a store that starts elsewhere, or skips some, breaks them."""
    async with etcd() as client:
        assert _summary(await client.get(b"a")) == ([], 0, False, 1)
        assert (await client.compact(0)).header.revision == 1
        assert await refusal(client.compact(0)) == _COMPACTED
        assert await refusal(client.compact(-1)) == _COMPACTED
        assert (await client.compact(1)).header.revision == 1
        assert await refusal(client.compact(2)) == _FUTURE
        header = (await client.put(b"a", b"1")).header
        assert (header.revision, header.raft_term, header.cluster_id > 0, header.member_id > 0) == (2, 2, True, True)
        prev = (await client.put(b"a", b"2", prev_kv=True)).prev_kv
        assert (prev.key, prev.value, prev.create_revision, prev.mod_revision, prev.version) == (b"a", b"1", 2, 2, 1)
        assert _kv(await client.get(b"a")) == [(b"a", b"2", 2, 3, 2)]
        nothing = await client.delete(b"zz")
        assert (nothing.header.revision, nothing.deleted) == (3, 0)
        gone = await client.delete(b"a", prev_kv=True)
        assert (gone.header.revision, gone.deleted, gone.prev_kvs[0].value) == (4, 1, b"2")
        await client.put(b"a", b"3")
        assert _kv(await client.get(b"a")) == [(b"a", b"3", 5, 5, 1)]


async def test_a_malformed_request_is_refused_in_etcds_words(etcd: RealEtcd) -> None:
    """Clients turn codes and texts into their own error values."""
    async with etcd() as client:
        await client.put(b"a", b"1")
        assert await refusal(client.get(b"")) == _NO_KEY
        assert await refusal(client.put(b"")) == _NO_KEY
        assert await refusal(client.delete(b"")) == _NO_KEY
        assert await refusal(client.txn([C(key=b"", target=C.VERSION, version=0)])) == _NO_KEY
        assert await refusal(client.get(b"a", revision=999)) == _FUTURE
        assert _kv(await client.get(b"a", revision=-5)) == [(b"a", b"1", 2, 2, 1)]
        assert _summary(await client.get(b"b", b"a")) == ([], 0, False, 2)
        assert _summary(await client.get(b"a", sort_order=9)) == ([b"a"], 1, False, 2)
        assert await refusal(client.put(b"none", b"", ignore_value=True)) == _KEY_NOT_FOUND
        assert await refusal(client.put(b"none", b"x", ignore_lease=True)) == _KEY_NOT_FOUND
        assert await refusal(client.put(b"a", b"x", ignore_value=True)) == "INVALID_ARGUMENT: etcdserver: value is provided"
        lease_given = await refusal(client.put(b"a", b"x", lease=5, ignore_lease=True))
        assert lease_given == "INVALID_ARGUMENT: etcdserver: lease is provided"
        assert await refusal(client.put(b"a", b"x", lease=12345)) == _NO_LEASE
        kept = await client.put(b"a", b"", ignore_value=True, prev_kv=True)
        assert (kept.header.revision, kept.prev_kv.value) == (3, b"1")
        assert _kv(await client.get(b"a")) == [(b"a", b"1", 2, 3, 2)]
        assert await refusal(client.put(b"big", bytes(1536 * 1024 + 1024))) == _TOO_LARGE
        above = await refusal(client.put(b"big", bytes(2048 * 1024 + 1024)))
        assert above == "RESOURCE_EXHAUSTED: grpc: received message larger than max (2098186 vs. 2097152)"
        assert (await client.put(b"big", bytes(1536 * 1024 - 1024))).header.revision == 4
        unknown = client.channel.unary_unary("/etcdserverpb.KV/Nope")
        assert await refusal(unknown(b"")) == "UNIMPLEMENTED: unknown method Nope for service etcdserverpb.KV"
        unknown = client.channel.unary_unary("/no.Such/Nope")
        assert await refusal(unknown(b"")) == "UNIMPLEMENTED: unknown service no.Such"


async def test_a_txn_takes_what_etcd_takes_and_refuses_what_it_refuses(etcd: RealEtcd) -> None:
    """The gaps in etcd's check of duplicates are part of the contract, too."""
    async with etcd() as client:
        assert await refusal(client.txn(then=[put(b"k%d" % i) for i in range(129)])) == _TOO_MANY
        assert (await client.txn(then=[put(b"k%d" % i) for i in range(128)])).header.revision == 2
        outer = [put(b"n%d" % i) for i in range(99)]
        assert await refusal(client.txn(then=[*outer, nested([put(b"m%d" % i) for i in range(29)])])) == _TOO_MANY
        assert (await client.txn(then=[*outer, nested([put(b"m%d" % i) for i in range(28)])])).header.revision == 3
        assert await refusal(client.txn(then=[pb.RequestOp()])) == _KEY_NOT_FOUND
        empty = await client.txn()
        assert (empty.succeeded, empty.header.revision) == (True, 3)
        for refused in (
            [put(b"x"), put(b"x")],
            [put(b"x"), delete(b"x")],
            [delete(b"x", b"z"), put(b"y")],
            [nested([delete(b"x")]), nested([put(b"x")])],
            [nested([put(b"x")]), put(b"x")],
        ):
            assert await refusal(client.txn(then=refused)) == _DUPLICATE
        for number, allowed in enumerate(
            (
                [nested([put(b"q")], [put(b"q")])],
                [delete(b"k1"), delete(b"k1")],
                [nested([put(b"s")]), nested([delete(b"s")])],
                [delete(b"s", b"\0"), put(b"t")],
                [put(b"t", b"2"), delete(b"s", b"\0")],
            )
        ):  # fmt: skip (one line a case)
            assert (await client.txn(then=allowed)).header.revision == 4 + number
        assert _summary(await client.get(b"q", b"\0")) == ([b"q"], 1, False, 8)


async def test_operations_of_a_txn_see_those_before_them(etcd: RealEtcd) -> None:
    """Each inner response tells the revision that it saw."""
    async with etcd() as client:
        first = await client.txn(then=[put(b"pr", b"1"), get(b"pr")])
        assert [response.response_range.header.revision for response in first.responses[1:]] == [2]
        second = await client.txn(then=[get(b"pr"), put(b"pr", b"2")])
        seen = second.responses[0].response_range
        assert (seen.header.revision, seen.kvs[0].value, second.responses[1].response_put.header.revision) == (2, b"1", 3)
        third = await client.txn(then=[delete(b"pr"), get(b"pr"), nested([put(b"in")], compare=[_version(b"pr", 2)])])
        assert (third.responses[0].response_delete_range.deleted, third.responses[1].response_range.count) == (1, 0)
        # All compares are made before anything is done; the header of a nested response is there, and empty.
        inner = third.responses[2].response_txn
        assert (inner.succeeded, inner.HasField("header"), inner.header.revision) == (True, True, 0)
        assert await refusal(client.txn(then=[get(b"a", revision=10**6), put(b"zz1")])) == _FUTURE
        assert await refusal(client.txn(then=[put(b"l1"), put(b"l2", lease=777)])) == _NO_LEASE
        assert _summary(await client.get(b"l", b"m")) == ([], 0, False, 4)
        failed = await client.txn([_version(b"a", 99)], [put(b"a")])
        assert (failed.succeeded, failed.header.revision) == (False, 4)


def _version(key: bytes, version: int) -> Any:
    return C(key=key, target=C.VERSION, result=C.EQUAL, version=version)


async def test_compares_read_what_is_missing_as_etcd_does(etcd: RealEtcd) -> None:
    """A lock is a compare with a key that is not there."""
    async with etcd() as client:
        await client.txn(then=[put(b"k1"), put(b"k2")])
        expected = (
            (C(key=b"no", target=C.VALUE, result=C.EQUAL, value=b""), False),
            (C(key=b"no", target=C.VALUE, result=C.NOT_EQUAL, value=b"x"), False),
            (C(key=b"no", target=C.VERSION, result=C.EQUAL, version=0), True),
            (C(key=b"no", target=C.LEASE, result=C.EQUAL, lease=0), True),
            (C(key=b"k", range_end=b"l", target=C.VERSION, result=C.GREATER, version=0), True),
            (C(key=b"k", range_end=b"l", target=C.MOD, result=C.LESS, mod_revision=2), False),
            (C(key=b"qq", range_end=b"qr", target=C.VERSION, result=C.GREATER, version=0), False),
            (C(key=b"k1", target=C.VERSION, result=C.LESS), False),
        )
        assert [(await client.txn([compare])).succeeded for compare, _ in expected] == [holds for _, holds in expected]


async def test_each_option_of_a_range_shapes_its_answer(etcd: RealEtcd) -> None:
    """Paging, sorting and filtering clients count on `count` and `more` to the letter."""
    async with etcd() as client:
        for i in range(5):
            await client.put(b"s/%d" % i, bytes((122 - i,)))
        await client.put(b"s/1", b"0")
        keys = [b"s/%d" % i for i in range(5)]

        async def ask(**options: Any) -> tuple[list[bytes], int, bool, int]:
            return _summary(await client.get(b"s/", b"s0", **options))

        assert await ask(limit=2) == (keys[:2], 5, True, 7)
        assert await ask(limit=5) == (keys, 5, False, 7)
        assert await ask(count_only=True, limit=2) == ([], 5, False, 7)
        assert _kv(await client.get(b"s/", b"s0", keys_only=True, limit=1)) == [(b"s/0", b"", 2, 2, 1)]
        assert await ask(sort_order=2, sort_target=4, limit=2) == ([b"s/0", b"s/2"], 5, True, 7)
        assert await ask(sort_target=3) == ([b"s/0", b"s/2", b"s/3", b"s/4", b"s/1"], 5, False, 7)
        assert await ask(sort_order=2, sort_target=1) == ([b"s/1", b"s/0", b"s/2", b"s/3", b"s/4"], 5, False, 7)
        assert await ask(min_mod_revision=5) == ([b"s/1", b"s/3", b"s/4"], 5, False, 7)
        assert await ask(max_mod_revision=5, limit=1) == ([b"s/0"], 5, True, 7)
        assert await ask(min_create_revision=5) == ([b"s/3", b"s/4"], 5, False, 7)
        assert await ask(revision=5) == (keys[:4], 4, False, 7)
        assert _summary(await client.get(b"\0", b"\0", count_only=True)) == ([], 5, False, 7)
        assert (await client.compact(5, physical=True)).header.revision == 7
        assert await ask(revision=5) == (keys[:4], 4, False, 7)
        assert await refusal(client.get(b"s/", revision=4)) == _COMPACTED
        assert await refusal(client.txn(then=[get(b"s/", revision=4)])) == _COMPACTED
        assert await refusal(client.compact(5)) == _COMPACTED
        assert await refusal(client.compact(100)) == _FUTURE


async def test_leases_are_granted_kept_and_revoked_as_etcd_does(etcd: RealEtcd) -> None:
    """Leader elections and Kubernetes events live on leases."""
    async with etcd() as client:
        lease = client.lease

        async def granted(ttl: int, lease_id: int = 0) -> tuple[int, int]:
            answer = await lease.LeaseGrant(pb.LeaseGrantRequest(TTL=ttl, ID=lease_id))
            return answer.ID, answer.TTL

        own, ttl = await granted(0)
        assert (own > 0, ttl) == (True, 2)
        assert await granted(-5, 101) == (101, 2)
        duplicate = lease.LeaseGrant(pb.LeaseGrantRequest(TTL=10, ID=101))
        assert await refusal(duplicate) == "FAILED_PRECONDITION: etcdserver: lease already exists"
        huge = lease.LeaseGrant(pb.LeaseGrantRequest(TTL=9_000_000_001))
        assert await refusal(huge) == "OUT_OF_RANGE: etcdserver: too large lease TTL"
        assert await granted(9_000_000_000, 102) == (102, 9_000_000_000)
        assert await refusal(lease.LeaseRevoke(pb.LeaseRevokeRequest(ID=5))) == _NO_LEASE
        unknown = await lease.LeaseTimeToLive(pb.LeaseTimeToLiveRequest(ID=5))
        assert (unknown.ID, unknown.TTL, unknown.grantedTTL) == (5, -1, 0)
        call = lease.LeaseKeepAlive()
        for lease_id, expected in ((5, 0), (102, 9_000_000_000)):
            await call.write(pb.LeaseKeepAliveRequest(ID=lease_id))
            answer = await call.read()
            assert (lease_id, expected) == (answer.ID, answer.TTL)
        call.cancel()
        await granted(30, 200)
        for key in (b"le/b", b"le/a", b"le/c"):
            await client.put(key, lease=200)
        await client.put(b"le/c")
        live = await lease.LeaseTimeToLive(pb.LeaseTimeToLiveRequest(ID=200, keys=True))
        assert (live.ID, live.grantedTTL, sorted(live.keys)) == (200, 30, [b"le/a", b"le/b"])
        assert live.TTL in (29, 30)
        leases = (await lease.LeaseLeases(pb.LeaseLeasesRequest())).leases
        assert [each.ID for each in leases][-2:] == [200, 102]
        assert (await lease.LeaseRevoke(pb.LeaseRevokeRequest(ID=200))).header.revision == 6
        assert _summary(await client.get(b"le/", b"le0")) == ([b"le/c"], 1, False, 6)
        assert (await lease.LeaseRevoke(pb.LeaseRevokeRequest(ID=102))).header.revision == 6


async def test_maintenance_and_cluster_answer_as_one_member_does(etcd: RealEtcd) -> None:
    """etcdctl and kube-apiserver look at these before they trust a server."""
    async with etcd() as client:
        await client.put(b"a", b"1")
        maintenance, cluster = client.maintenance, client.cluster
        status = await maintenance.Status(pb.StatusRequest())
        assert status.version.startswith("3.5.")
        assert (status.leader == status.header.member_id, status.dbSize > 0, status.raftTerm, list(status.errors)) == (
            True,
            True,
            2,
            [],
        )
        assert list((await maintenance.Alarm(pb.AlarmRequest())).alarms) == []
        assert (await client.hash_kv()).hash == 2587454935
        assert await refusal(client.hash_kv(10**6)) == _FUTURE
        assert plain(await maintenance.Defragment(pb.DefragmentRequest())) == ""
        blobs = [piece async for piece in maintenance.Snapshot(pb.SnapshotRequest())]
        assert (len(blobs[-1].blob), blobs[-1].remaining_bytes) == (32, 0)
        assert sum(len(piece.blob) for piece in blobs) % 512 == 32
        moved = await refusal(maintenance.MoveLeader(pb.MoveLeaderRequest(targetID=1)))
        assert moved == "FAILED_PRECONDITION: etcdserver: bad leader transferee"
        listed = await cluster.MemberList(pb.MemberListRequest())
        (member,) = listed.members
        assert (listed.header.revision, member.ID, member.name) == (0, status.leader, "default")
        assert member.clientURLs[0].startswith("http://127.0.0.1:")
        added = await refusal(cluster.MemberAdd(pb.MemberAddRequest(peerURLs=["bad"])))
        assert added == "INVALID_ARGUMENT: etcdserver: given member URLs are invalid"
        removed = await refusal(cluster.MemberRemove(pb.MemberRemoveRequest(ID=1)))
        assert removed == "NOT_FOUND: etcdserver: member not found"
        promoted = await refusal(cluster.MemberPromote(pb.MemberPromoteRequest(ID=1)))
        assert promoted == "NOT_FOUND: etcdserver: member not found"


async def test_alarms_are_raised_listed_and_disarmed_for_each_member_named(etcd: RealEtcd) -> None:
    """Clients disarm what they listed, one by one; NOSPACE is over when the last is gone."""
    async with etcd() as client:
        maintenance = client.maintenance
        member = (await maintenance.Status(pb.StatusRequest())).leader

        async def alarm(action: int, kind: int = pb.NOSPACE, member_id: int = 0) -> list[tuple[int, int]]:
            answer = await maintenance.Alarm(pb.AlarmRequest(action=action, alarm=kind, memberID=member_id))
            return sorted((each.alarm, each.memberID) for each in answer.alarms)

        get, activate, deactivate = range(3)
        assert await alarm(get, pb.NONE) == []
        assert await alarm(activate, pb.NONE) == []
        assert await alarm(activate) == [(pb.NOSPACE, 0)]
        assert await alarm(activate) == [(pb.NOSPACE, 0)]
        assert await alarm(activate, pb.NOSPACE, member) == [(pb.NOSPACE, member)]
        assert await alarm(activate, pb.NOSPACE, 7) == [(pb.NOSPACE, 7)]
        every = sorted((pb.NOSPACE, each) for each in (0, 7, member))
        assert await alarm(get, pb.NONE) == await alarm(get, pb.NOSPACE, 7) == every
        assert await alarm(get, pb.CORRUPT) == []
        told = sorted((await maintenance.Status(pb.StatusRequest())).errors)
        assert told == sorted(["alarm:NOSPACE ", "memberID:7 alarm:NOSPACE ", f"memberID:{member} alarm:NOSPACE "])
        assert await alarm(deactivate, pb.NONE) == []
        assert await alarm(deactivate, pb.NOSPACE, 8) == []
        for each in (0, 7, member):
            assert (await refusal(client.put(b"a"))).startswith("RESOURCE_EXHAUSTED")
            assert await alarm(deactivate, pb.NOSPACE, each) == [(pb.NOSPACE, each)]
        await client.put(b"a")
        assert await alarm(get, pb.NONE) == []


async def test_authentication_is_not_enabled_and_cannot_be_without_root(etcd: RealEtcd) -> None:
    """Clients ask before they log in."""
    async with etcd() as client:
        auth = client.auth
        status = await auth.AuthStatus(pb.AuthStatusRequest())
        assert (status.enabled, status.authRevision) == (False, 1)
        login = await refusal(auth.Authenticate(pb.AuthenticateRequest(name="root", password="x")))
        assert login == "FAILED_PRECONDITION: etcdserver: authentication is not enabled"
        enabled = await refusal(auth.AuthEnable(pb.AuthEnableRequest()))
        assert enabled == "FAILED_PRECONDITION: etcdserver: root user does not exist"
        assert list((await auth.UserList(pb.AuthUserListRequest())).users) == []
        assert list((await auth.RoleList(pb.AuthRoleListRequest())).roles) == []
        missing = await refusal(auth.UserGet(pb.AuthUserGetRequest(name="x")))
        assert missing == "FAILED_PRECONDITION: etcdserver: user name not found"
        missing = await refusal(auth.RoleGet(pb.AuthRoleGetRequest(role="x")))
        assert missing == "FAILED_PRECONDITION: etcdserver: role name not found"


async def test_the_same_history_has_the_same_hash(served: Served, real: RealEtcd) -> None:
    """One number proves revisions, versions, leases and deletes equal."""

    async def history(client: Client) -> list[int]:
        await client.lease.LeaseGrant(pb.LeaseGrantRequest(TTL=600, ID=7))
        await client.put(b"a", b"1", lease=7)
        await client.txn(then=[put(b"b", b"2"), put(b"c"), delete(b"a")])
        await client.txn(then=[nested([put(b"s")]), nested([delete(b"s")])])
        await client.txn(then=[delete(b"b", b"\0"), put(b"t")])
        hashes = [(await client.hash_kv(revision)).hash for revision in (0, 3, 4)]
        await client.compact(4, physical=True)
        return [*hashes, (await client.hash_kv()).hash]

    async with served() as ours, real() as oracle:
        assert await history(ours) == await history(oracle)
