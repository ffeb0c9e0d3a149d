"""The Auth service: users, roles, permissions, passwords, and tokens for those who know theirs.

Whether the caller may do it was asked before (`guards`); here it is done, or refused for another reason.

Source: etcd server/etcdserver/api/v3rpc/auth.go, server/auth/store.go
"""

from __future__ import annotations

from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.hashkv import varint

from . import errors
from .access import Access
from .accounts import User, permission_message, permission_of
from .member import Member
from .methods import Methods, parse
from .passwords import Passwords
from .requests import Message


class Auth:
    """Users and roles, on the wire."""

    def __init__(self, member: Member, access: Access) -> None:
        self._member = member
        self._accounts = access.accounts
        self._tokens = access.tokens
        self._passwords = Passwords()

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.unary(
            "etcdserverpb.Auth",
            AuthStatus=self.status,
            AuthEnable=self.enable,
            AuthDisable=self.disable,
            Authenticate=self.authenticate,
            UserAdd=self.user_add,
            UserGet=self.user_get,
            UserList=self.user_list,
            UserDelete=self.user_delete,
            UserChangePassword=self.user_change_password,
            UserGrantRole=self.user_grant_role,
            UserRevokeRole=self.user_revoke_role,
            RoleAdd=self.role_add,
            RoleGet=self.role_get,
            RoleList=self.role_list,
            RoleDelete=self.role_delete,
            RoleGrantPermission=self.role_grant_permission,
            RoleRevokePermission=self.role_revoke_permission,
        )

    def _header(self) -> bytes:
        return self._member.header(self._member.store.revision)

    def _answer(self, message: Message) -> bytes:
        answer: bytes = message.SerializeToString()
        return self._header() + answer

    # Authentication

    async def status(self, _: bytes) -> bytes:
        """AuthStatus."""
        enabled = b"\x10\x01" if self._accounts.enabled else b""
        return self._header() + enabled + b"\x18" + varint(self._accounts.revision)

    async def enable(self, _: bytes) -> bytes:
        """AuthEnable."""
        await self._accounts.enable()
        return self._header()

    async def disable(self, _: bytes) -> bytes:
        """AuthDisable: all tokens end."""
        if await self._accounts.disable():
            self._tokens.forget()
        return self._header()

    async def authenticate(self, raw: bytes) -> bytes:
        """Authenticate: a token for a name and its password."""
        request = parse(pb.AuthenticateRequest, raw)
        if not self._accounts.enabled:
            raise errors.auth_not_enabled()
        while True:
            revision = self._accounts.revision
            user = self._accounts.users.get(request.name, User(request.name))
            if user.no_password:
                raise errors.no_password_user()
            if not await self._passwords.match(request.password, user.password_hash):
                raise errors.authentication_failed()
            if revision == self._accounts.revision:  # else it may not be the right one any more
                break
        token = self._tokens.issue(user.name, self._member.store.revision, self._accounts.revision)
        return self._answer(pb.AuthenticateResponse(token=token))

    # Users

    async def user_add(self, raw: bytes) -> bytes:
        """UserAdd."""
        request = parse(pb.AuthUserAddRequest, raw)
        no_password = request.options.no_password
        password_hash = b"" if no_password else await self._passwords.hash(request.password)
        await self._accounts.add_user(User(request.name, password_hash, no_password))
        return self._header()

    async def user_get(self, raw: bytes) -> bytes:
        """UserGet: its roles."""
        roles = self._accounts.user(parse(pb.AuthUserGetRequest, raw).name).roles
        return self._answer(pb.AuthUserGetResponse(roles=roles))

    async def user_list(self, _: bytes) -> bytes:
        """UserList: names, in the order of their bytes."""
        users = sorted(self._accounts.users, key=str.encode)
        return self._answer(pb.AuthUserListResponse(users=users))

    async def user_delete(self, raw: bytes) -> bytes:
        """UserDelete: its tokens end."""
        name = parse(pb.AuthUserDeleteRequest, raw).name
        await self._accounts.delete_user(name)
        self._tokens.forget(name)
        return self._header()

    async def user_change_password(self, raw: bytes) -> bytes:
        """UserChangePassword: its tokens end. An empty one is no password: none is right then, as in etcd."""
        request = parse(pb.AuthUserChangePasswordRequest, raw)
        password_hash = await self._passwords.hash(request.password) if request.password else b""
        await self._accounts.change_password(request.name, password_hash)
        self._tokens.forget(request.name)
        return self._header()

    async def user_grant_role(self, raw: bytes) -> bytes:
        """UserGrantRole."""
        request = parse(pb.AuthUserGrantRoleRequest, raw)
        await self._accounts.grant_role(request.user, request.role)
        return self._header()

    async def user_revoke_role(self, raw: bytes) -> bytes:
        """UserRevokeRole."""
        request = parse(pb.AuthUserRevokeRoleRequest, raw)
        await self._accounts.revoke_role(request.name, request.role)
        return self._header()

    # Roles

    async def role_add(self, raw: bytes) -> bytes:
        """RoleAdd."""
        await self._accounts.add_role(parse(pb.AuthRoleAddRequest, raw).name)
        return self._header()

    async def role_get(self, raw: bytes) -> bytes:
        """RoleGet: what it was granted; that root permits everything is not among it."""
        role = self._accounts.role(parse(pb.AuthRoleGetRequest, raw).role)
        return self._answer(pb.AuthRoleGetResponse(perm=map(permission_message, role.permissions)))

    async def role_list(self, _: bytes) -> bytes:
        """RoleList: names, in the order of their bytes."""
        roles = sorted(self._accounts.roles, key=str.encode)
        return self._answer(pb.AuthRoleListResponse(roles=roles))

    async def role_delete(self, raw: bytes) -> bytes:
        """RoleDelete: its users lose it."""
        await self._accounts.delete_role(parse(pb.AuthRoleDeleteRequest, raw).role)
        return self._header()

    async def role_grant_permission(self, raw: bytes) -> bytes:
        """RoleGrantPermission."""
        request = parse(pb.AuthRoleGrantPermissionRequest, raw)
        if not request.HasField("perm"):
            raise errors.permission_not_given()
        await self._accounts.grant_permission(request.name, permission_of(request.perm))
        return self._header()

    async def role_revoke_permission(self, raw: bytes) -> bytes:
        """RoleRevokePermission."""
        request = parse(pb.AuthRoleRevokePermissionRequest, raw)
        await self._accounts.revoke_permission(request.role, request.key, request.range_end)
        return self._header()
