"""The Auth service of a store without users: authentication is not enabled, and cannot be.

Roles and range permissions are not there yet. Bind to loopback, or keep the port where only friends reach it.
"""

from __future__ import annotations

from collections.abc import Callable

from . import errors
from .errors import Refusal
from .member import Member
from .methods import Methods, Unary


class Auth:
    """Says that there are no users."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.unary(
            "etcdserverpb.Auth",
            AuthStatus=self.status,
            AuthEnable=_refuse(errors.root_user_missing),
            AuthDisable=self.nothing,
            Authenticate=_refuse(errors.auth_not_enabled),
            UserList=self.nothing,
            RoleList=self.nothing,
            UserGet=_refuse(errors.user_not_found),
            UserDelete=_refuse(errors.user_not_found),
            UserChangePassword=_refuse(errors.user_not_found),
            UserGrantRole=_refuse(errors.user_not_found),
            UserRevokeRole=_refuse(errors.user_not_found),
            RoleGet=_refuse(errors.role_not_found),
            RoleDelete=_refuse(errors.role_not_found),
            RoleGrantPermission=_refuse(errors.role_not_found),
            RoleRevokePermission=_refuse(errors.role_not_found),
            UserAdd=_refuse(errors.auth_not_enabled),
            RoleAdd=_refuse(errors.auth_not_enabled),
        )

    async def status(self, _: bytes) -> bytes:
        """AuthStatus: not enabled, at the first revision of users and roles."""
        return await self.nothing(b"") + b"\x18\x01"

    async def nothing(self, _: bytes) -> bytes:
        """A header and nothing else: an empty list, or nothing to do."""
        return self._member.header(self._member.store.revision)


def _refuse(refusal: Callable[[], Refusal]) -> Unary:
    async def refuse(_: bytes) -> bytes:
        raise refusal()

    return refuse
