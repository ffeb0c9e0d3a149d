"""Random calls of users with and without rights, against ours and a real etcd: the same answers and refusals.

The real etcd of the tests is 3.5.1. What later ones refuse beyond it, and ours too, is not asked here: nested txns, puts
in txns with `prev_kv` or a lease, watches without end, leases and members without a token, empty permissions.
`test_etcd_auth.py` asks ours.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aetcd.rpc import auth_pb2
from aetcd.rpc import rpc_pb2 as pb

from tests.etcd.client import Client, Message, delete, get, plain, put, txn

if TYPE_CHECKING:
    from tests.etcd.conftest import RealEtcd, Served

_USERS = ["alice", "bob", "carol", "root", "nobody", ""]
_ROLES = ["reader", "writer", "root", "none", ""]
_KEYS = [b"a", b"ab", b"b", b"c"]
_ENDS = [b"", b"", b"b", b"c", b"d", b"\0"]
_PASSWORDS = ["right", "other", ""]
_OPERATIONS = 350
_OPENED = 60
"""After so many calls without authentication it is enabled."""


_FORGOTTEN = {
    "UNKNOWN: auth: permission denied": "PERMISSION_DENIED: etcdserver: permission denied",
    "UNKNOWN: auth: user name is empty": "INVALID_ARGUMENT: etcdserver: user name is empty",
    "UNKNOWN: auth: user not found": "FAILED_PRECONDITION: etcdserver: user name not found",
    "UNKNOWN: auth: invalid auth token": "UNAUTHENTICATED: etcdserver: invalid auth token",
}
"""Refusals of maintenance that etcd 3.5 does not turn into those of its API; 3.6 does."""


class Script:
    """A random sequence of calls, each by one of the users."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.enabled = False

    def _one(self, of: list[Any]) -> Any:
        return self.random.choice(of)

    def caller(self) -> str:
        """Who calls: most of the time somebody who exists."""
        return str(self.random.choices(["root", "alice", "bob", "", "stale"], [5, 6, 6, 2, 1])[0])

    def next(self) -> tuple[str, Message]:
        """A method with its service, and a request."""
        kinds = [self._user, self._role, self._keys, self._keys, self._admin]
        return self.random.choices(kinds, [3, 4, 5, 5, 1])[0]()

    def _user(self) -> tuple[str, Message]:
        user, role, password = self._one(_USERS), self._one(_ROLES), self._one(_PASSWORDS)
        other = "nobody" if user == "root" else user  # root must find its way back in
        options = auth_pb2.UserAddOptions(no_password=self.random.random() < 0.2)
        name, request = self._one(
            [
                ("UserAdd", pb.AuthUserAddRequest(name=user, password=password, options=options)),
                ("UserGet", pb.AuthUserGetRequest(name=user)),
                ("UserGet", pb.AuthUserGetRequest(name=user)),
                ("UserList", pb.AuthUserListRequest()),
                ("UserGrantRole", pb.AuthUserGrantRoleRequest(user=user, role=role)),
                ("UserGrantRole", pb.AuthUserGrantRoleRequest(user=user, role=role)),
                ("UserRevokeRole", pb.AuthUserRevokeRoleRequest(name=user, role=role)),
                ("UserDelete", pb.AuthUserDeleteRequest(name=user if self.enabled else other)),
                ("UserChangePassword", pb.AuthUserChangePasswordRequest(name=other, password=password)),
            ]
        )
        return f"auth.{name}", request

    def _role(self) -> tuple[str, Message]:
        role, key, end = self._one(_ROLES), self._one(_KEYS), self._one(_ENDS)
        if end not in (b"", b"\0") and end <= key:
            end = b""  # a range that holds no key is refused by later ones only
        permission = auth_pb2.Permission(permType=self.random.randrange(3), key=key, range_end=end)
        grant = pb.AuthRoleGrantPermissionRequest(name=role, perm=permission if self.random.random() < 0.95 else None)
        name, request = self._one(
            [
                ("RoleAdd", pb.AuthRoleAddRequest(name=role)),
                ("RoleGet", pb.AuthRoleGetRequest(role=role)),
                ("RoleGet", pb.AuthRoleGetRequest(role=role)),
                ("RoleList", pb.AuthRoleListRequest()),
                ("RoleGrantPermission", grant),
                ("RoleGrantPermission", grant),
                ("RoleRevokePermission", pb.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=end)),
                ("RoleDelete", pb.AuthRoleDeleteRequest(role=role)),
            ]
        )
        return f"auth.{name}", request

    def _operation(self) -> Message:
        key, end = self._one(_KEYS), self._one(_ENDS)
        return self._one([put(key), get(key, end), delete(key, end, prev_kv=self.random.random() < 0.5)])

    def _keys(self) -> tuple[str, Message]:
        key, end = self._one([*_KEYS, b""]), self._one(_ENDS)
        compare = [pb.Compare(key=self._one(_KEYS), range_end=self._one(_ENDS))] if self.random.random() < 0.5 else []
        branches = ([self._operation() for _ in range(self.random.randrange(3))] for _ in range(2))
        return self._one(  # type: ignore[no-any-return]  # one of these
            [
                ("kv.Range", pb.RangeRequest(key=key, range_end=end)),
                ("kv.Put", pb.PutRequest(key=key, value=b"v", prev_kv=self.random.random() < 0.3)),
                ("kv.DeleteRange", pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=self.random.random() < 0.3)),
                ("kv.Txn", txn(compare, *branches)),
            ]
        )

    def _admin(self) -> tuple[str, Message]:
        return self._one(  # type: ignore[no-any-return]  # one of these
            [
                ("auth.AuthStatus", pb.AuthStatusRequest()),
                ("auth.AuthEnable", pb.AuthEnableRequest()),
                ("maintenance.HashKV", pb.HashKVRequest()),
                ("auth.Authenticate", pb.AuthenticateRequest(name=self._one(_USERS), password="wrong")),
                ("cluster.MemberRemove", pb.MemberRemoveRequest(ID=1)),
            ]
        )


class Side:
    """One of the two etcds, and the tokens it gave out."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.tokens = {"stale": "abcdefghijklmnop.7"}

    async def answer(self, caller: str, method: str, request: Message) -> str:
        """The answer as text, or the refusal."""
        service, _, name = method.partition(".")
        metadata = (("token", self.tokens[caller]),) if caller in self.tokens else ()
        try:
            return plain(await getattr(getattr(self.client, service), name)(request, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            told = f"{error.code().name}: {error.details()}"
            return _FORGOTTEN.get(told, told) if service == "maintenance" else told

    async def log_in(self) -> list[str]:
        """Take a token for everybody who gets one; who does."""
        found = []
        for name in ("root", "alice", "bob"):
            for password in _PASSWORDS:
                request = pb.AuthenticateRequest(name=name, password=password)
                try:
                    self.tokens[name] = (await self.client.auth.Authenticate(request)).token
                except grpc.aio.AioRpcError as error:
                    found.append(f"{name} {password}: {error.code().name}: {error.details()}")
                else:
                    found.append(f"{name} {password}: in")
                    break
        return found


def _prepared() -> list[tuple[str, Message]]:
    calls: list[tuple[str, Message]] = [
        (f"auth.{name}", request)
        for user in ("root", "alice", "bob")
        for name, request in (
            ("UserAdd", pb.AuthUserAddRequest(name=user, password="right")),
            ("UserGrantRole", pb.AuthUserGrantRoleRequest(user=user, role="root" if user == "root" else "reader")),
        )
    ]
    calls.insert(0, ("auth.RoleAdd", pb.AuthRoleAddRequest(name="reader")))
    return calls


@pytest.mark.time_limit_s(120)
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_caller_is_answered_and_refused_as_by_a_real_etcd(served: Served, real: RealEtcd, seed: int) -> None:
    """Rights are what clients rely on without looking: a gap here is found by somebody else."""
    script = Script(seed)
    denied = 0
    async with served() as ours, real() as oracle:
        sides = Side(ours), Side(oracle)

        async def ask(caller: str, method: str, request: Message) -> str:
            one, other = await asyncio.gather(*(side.answer(caller, method, request) for side in sides))
            assert one == other, f"seed {seed}: {caller} asks {method} {request}"
            return one

        for method, request in _prepared():
            await ask("", method, request)
        for _ in range(_OPENED):
            await ask("", *script.next())
        for method, request in _prepared():
            await ask("", method, request)
        await ask("", "auth.AuthEnable", pb.AuthEnableRequest())
        script.enabled = True
        for step in range(_OPERATIONS):
            if step % 50 == 0:
                assert await sides[0].log_in() == await sides[1].log_in()
            denied += (await ask(script.caller(), *script.next())).startswith("PERMISSION_DENIED")
        assert denied > _OPERATIONS // 20
        for side in sides:
            assert (await side.log_in())[0] == "root right: in"
        hashes = [
            plain(await side.client.maintenance.HashKV(pb.HashKVRequest(), metadata=(("token", side.tokens["root"]),)))
            for side in sides
        ]
        assert hashes[0] == hashes[1]
