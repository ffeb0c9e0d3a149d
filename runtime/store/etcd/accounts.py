"""Users and roles: who there is, what they may do, and whether anybody asks.

They are kept in the store's file as notes, as etcd's own messages, beside the keys and not among them: no revision
moves and no hash changes. Each change is durable before it is seen, and one change follows the other; `revision` counts
them.

Source: etcd server/auth/store.go
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs
from aetcd.rpc import auth_pb2

from reconcile.runtime.store.log import Note
from reconcile.runtime.store.store import Store

from . import errors
from .permissions import Keys, Permission

ROOT = "root"
"""The user that must be there, and the role that may do everything."""
ENABLED, REVISION, USER, ROLE = "auth enabled", "auth revision", "auth user ", "auth role "
"""The notes' names; those of users and roles go on with theirs."""


@attrs.frozen
class User:
    """A user; with an empty hash no password is right."""

    name: str
    password_hash: bytes = b""
    no_password: bool = False
    """Known by its certificate only."""
    roles: tuple[str, ...] = ()

    @property
    def is_root(self) -> bool:
        """Whether it may do everything."""
        return ROOT in self.roles


@attrs.frozen
class Role:
    """A role: permissions, in the order of their keys."""

    name: str
    permissions: tuple[Permission, ...] = ()


@attrs.frozen
class Reach:
    """The keys that a user may read, and those it may write."""

    readable: Keys
    writable: Keys


class Accounts:
    """The users and roles of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._reach: dict[str, Reach] = {}
        notes = store.notes
        self.enabled = bool(notes.get(ENABLED))
        """Whether callers must say who they are."""
        self.revision = int(notes.get(REVISION, 1))
        """How often users and roles were changed; 1 at first, as in etcd."""
        self._users = {
            name.removeprefix(USER): _user(note)
            for name, note in notes.items()
            if name.startswith(USER) and isinstance(note, bytes)
        }
        self._roles = {
            name.removeprefix(ROLE): _role(note)
            for name, note in notes.items()
            if name.startswith(ROLE) and isinstance(note, bytes)
        }

    # Reading

    @property
    def users(self) -> Mapping[str, User]:
        """All users by name."""
        return MappingProxyType(self._users)

    @property
    def roles(self) -> Mapping[str, Role]:
        """All roles by name."""
        return MappingProxyType(self._roles)

    def user(self, name: str) -> User:
        """The user of that name, or a refusal."""
        user = self._users.get(name)
        if user is None:
            raise errors.user_not_found()
        return user

    def role(self, name: str) -> Role:
        """The role of that name, or a refusal."""
        role = self._roles.get(name)
        if role is None:
            raise errors.role_not_found()
        return role

    def reach(self, user: User) -> Reach:
        """What the roles of a user permit, together; roles that are gone permit nothing."""
        reach = self._reach.get(user.name)
        if reach is None:
            permissions = [each for name in user.roles if name in self._roles for each in self._roles[name].permissions]
            reach = self._reach[user.name] = Reach(
                Keys((each.key, each.range_end) for each in permissions if each.reads),
                Keys((each.key, each.range_end) for each in permissions if each.writes),
            )
        return reach

    # Changing

    async def enable(self) -> None:
        """Have callers say who they are; there must be a root user with the root role, or nobody could undo it."""
        async with self._turn:
            if self.enabled:
                return
            root = self._users.get(ROOT)
            if root is None:
                raise errors.root_user_missing()
            if not root.is_root:
                raise errors.root_role_missing()
            await self._store.note({ENABLED: 1})
            self.enabled = True

    async def disable(self) -> bool:
        """Let everybody do everything again; False when they could already."""
        async with self._turn:
            if not self.enabled:
                return False
            await self._keep({ENABLED: None})
            self.enabled = False
            return True

    async def add_user(self, user: User) -> None:
        """Add a user."""
        async with self._turn:
            if not user.name:
                raise errors.user_name_empty()
            if user.name in self._users:
                raise errors.user_exists()
            await self._keep_users([user])

    async def delete_user(self, name: str) -> None:
        """Delete a user; not root, while callers are asked who they are."""
        async with self._turn:
            if self.enabled and name == ROOT:
                raise errors.bad_auth_management()
            self.user(name)
            await self._keep({USER + name: None})
            del self._users[name]

    async def change_password(self, name: str, password_hash: bytes) -> None:
        """Give a user another password; one that is known by its certificate gets none."""
        async with self._turn:
            user = self.user(name)
            await self._keep_users([attrs.evolve(user, password_hash=b"" if user.no_password else password_hash)])

    async def grant_role(self, name: str, role: str) -> None:
        """Give a user a role; the root role need not be there."""
        async with self._turn:
            user = self.user(name)
            if role != ROOT:
                self.role(role)
            if role not in user.roles:
                await self._keep_users([attrs.evolve(user, roles=tuple(sorted((*user.roles, role))))])

    async def revoke_role(self, name: str, role: str) -> None:
        """Take a role from a user; not root from root, while callers are asked who they are."""
        async with self._turn:
            if self.enabled and name == ROOT == role:
                raise errors.bad_auth_management()
            user = self.user(name)
            if role not in user.roles:
                raise errors.role_not_granted()
            await self._keep_users([_without(user, role)])

    async def add_role(self, name: str) -> None:
        """Add a role that permits nothing yet."""
        async with self._turn:
            if not name:
                raise errors.role_name_empty()
            if name in self._roles:
                raise errors.role_exists()
            await self._keep_role(Role(name))

    async def delete_role(self, name: str) -> None:
        """Delete a role, also from all users; not root, while callers are asked who they are."""
        async with self._turn:
            if self.enabled and name == ROOT:
                raise errors.bad_auth_management()
            self.role(name)
            await self._keep_users(
                [_without(user, name) for user in self._users.values() if name in user.roles], {ROLE + name: None}
            )
            del self._roles[name]

    async def grant_permission(self, name: str, permission: Permission) -> None:
        """Permit a range to a role, or change what it may do there."""
        async with self._turn:
            if not permission.sound:
                raise errors.bad_auth_management()
            role = self.role(name)
            others = (each for each in role.permissions if (each.key, each.range_end) != (permission.key, permission.range_end))
            # By key alone, the older first: the order in which etcd lists them.
            permissions = tuple(sorted((*others, permission), key=lambda each: each.key))
            await self._keep_role(attrs.evolve(role, permissions=permissions))

    async def revoke_permission(self, name: str, key: bytes, range_end: bytes) -> None:
        """Take exactly this range from a role."""
        async with self._turn:
            role = self.role(name)
            rest = tuple(each for each in role.permissions if (each.key, each.range_end) != (key, range_end))
            if len(rest) == len(role.permissions):
                raise errors.permission_not_granted()
            await self._keep_role(attrs.evolve(role, permissions=rest))

    # Inside

    async def _keep_users(self, users: Iterable[User], more: Mapping[str, Note | None] = MappingProxyType({})) -> None:
        users = list(users)
        await self._keep({**{USER + user.name: _user_note(user) for user in users}, **more})
        self._users |= {user.name: user for user in users}

    async def _keep_role(self, role: Role) -> None:
        await self._keep({ROLE + role.name: _role_note(role)})
        self._roles[role.name] = role

    async def _keep(self, changes: Mapping[str, Note | None]) -> None:
        """Make a change durable, as the next revision; then forget what was made of the state before it."""
        await self._store.note({**changes, REVISION: self.revision + 1})
        self.revision += 1
        self._reach.clear()


def _without(user: User, role: str) -> User:
    return attrs.evolve(user, roles=tuple(each for each in user.roles if each != role))


def _user_note(user: User) -> bytes:
    options = auth_pb2.UserAddOptions(no_password=user.no_password)
    message = auth_pb2.User(name=user.name.encode(), password=user.password_hash, roles=user.roles, options=options)
    note: bytes = message.SerializeToString()
    return note


def _user(note: bytes) -> User:
    message = auth_pb2.User.FromString(note)
    return User(message.name.decode(), message.password, message.options.no_password, tuple(message.roles))


def _role_note(role: Role) -> bytes:
    note: bytes = auth_pb2.Role(
        name=role.name.encode(), keyPermission=map(permission_message, role.permissions)
    ).SerializeToString()
    return note


def _role(note: bytes) -> Role:
    message = auth_pb2.Role.FromString(note)
    return Role(message.name.decode(), tuple(map(permission_of, message.keyPermission)))


def permission_message(permission: Permission) -> auth_pb2.Permission:
    """A permission as etcd's message."""
    return auth_pb2.Permission(permType=permission.kind, key=permission.key, range_end=permission.range_end)


def permission_of(message: auth_pb2.Permission) -> Permission:
    """A permission from etcd's message."""
    return Permission(message.permType, message.key, message.range_end)
