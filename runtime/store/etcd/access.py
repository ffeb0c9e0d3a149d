"""Who calls, and what the caller may do.

A caller is known by a token in the metadata of its call (`token` or `authorization`), else, where clients must show a
certificate, by the common name in it. `Rights` answer for one call; they are asked only while authentication is enabled.

Source: etcd server/auth/store.go, server/etcdserver/v3_server.go
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from reconcile.runtime.store.check import check_txn
from reconcile.runtime.store.model import Txn
from reconcile.runtime.store.store import Store

from . import errors
from .accounts import Accounts
from .http2.stream import Stream
from .tokens import Caller, Tokens

_TOKEN_NAMES = ("token", "authorization")
_BEARER = "Bearer "


class Access:
    """Tells callers apart."""

    def __init__(self, store: Store, accounts: Accounts, tokens: Tokens, *, by_certificate: bool) -> None:
        self.store = store
        self.accounts = accounts
        self.tokens = tokens
        self._by_certificate = by_certificate

    @property
    def enabled(self) -> bool:
        """Whether anybody is asked."""
        return self.accounts.enabled

    def caller(self, context: Stream) -> Caller:
        """Who sends a call.

        Raises:
            Refusal: its token is not valid.
        """
        metadata = dict(reversed(tuple(context.invocation_metadata())))  # of two of a name, the first counts
        token = next((metadata[name] for name in _TOKEN_NAMES if name in metadata), None)
        if token is not None:
            caller = self.tokens.caller(str(token).removeprefix(_BEARER), self.accounts.revision)
            if caller is None:
                raise errors.invalid_token()
            return caller
        # The gateway of a real etcd shows the certificate of that etcd, not of the user behind it.
        if self._by_certificate and "grpcgateway-accept" not in metadata:
            names = context.auth_context().get("x509_common_name", ())
            if names:
                return Caller(names[0].decode(), self.accounts.revision)
        return Caller()

    def rights(self, context: Stream) -> Rights:
        """What the sender of a call may do."""
        return Rights(self, context)


class Rights:
    """What the sender of one call may do: each method returns, or raises the refusal that etcd answers."""

    def __init__(self, access: Access, context: Stream) -> None:
        self._access = access
        self._context = context

    @cached_property
    def caller(self) -> Caller:
        """Who it is; looked up when it matters first, as a malformed request is refused before."""
        return self._access.caller(self._context)

    def well_formed(self, txn: Txn) -> None:
        """A malformed request is refused as such, whoever sends it."""
        settings = self._access.store.settings
        check_txn(txn, settings.txn_operations_max, settings.request_bytes_max)

    def sound(self) -> None:
        """Anybody may do it, but not with a token that is none: its owner believes to be somebody."""
        _ = self.caller

    def known(self) -> None:
        """Any user may do it."""
        if not self.caller.user:
            raise errors.user_name_empty()

    def admin(self) -> None:
        """Only users with the root role may do it."""
        self.known()
        if not self._access.accounts.user(self.caller.user).is_root:
            raise errors.permission_denied()

    @property
    def is_admin(self) -> bool:
        """Whether it is a user with the root role."""
        user = self._access.accounts.users.get(self.caller.user)
        return user is not None and user.is_root

    def has_role(self, role: str) -> bool:
        """Whether it is a user with that role."""
        user = self._access.accounts.users.get(self.caller.user)
        return user is not None and role in user.roles

    def read(self, key: bytes, range_end: bytes = b"") -> None:
        """It reads the range."""
        self._reaches(key, range_end, writes=False)

    def write(self, key: bytes, range_end: bytes = b"") -> None:
        """It puts or deletes the range."""
        self._reaches(key, range_end, writes=True)

    def write_lease(self, lease: int) -> None:
        """It ends a lease, or hangs a key on it: it could then delete all that hangs there."""
        if not self.is_admin:
            for key in self._access.store.lease_time_to_live(lease, keys=True).keys:
                self.write(key)

    def read_leases(self, leases: Iterable[int]) -> None:
        """It is told of leases, and of the keys that hang on them."""
        self.known()
        if not self.is_admin:
            for lease in leases:
                for key in self._access.store.lease_time_to_live(lease, keys=True).keys:
                    self.read(key)

    def read_all_leases(self) -> None:
        """It is told which leases there are."""
        self.read_leases(self._access.store.lease_ids())

    def _reaches(self, key: bytes, range_end: bytes, *, writes: bool) -> None:
        accounts, caller = self._access.accounts, self.caller
        if not caller.revision:
            raise errors.user_name_empty()
        if caller.revision < accounts.revision:
            raise errors.old_auth_revision()
        user = accounts.users.get(caller.user)
        if user is None:
            raise errors.permission_denied()
        if user.is_root:
            return
        reach = accounts.reach(user)
        if not (reach.writable if writes else reach.readable).hold(key, range_end):
            raise errors.permission_denied()
