"""What the etcd face refuses that the store knows nothing of, with etcd's codes and texts.

    ReconcileError
    ├── StoreError
    │   └── Refusal     one class for all: clients tell them apart by text
    ├── AddressError        the address to listen on cannot be had
    ├── TokenOptionError    what the option for tokens asks for makes no sense
    ├── SnapshotError       a file is no snapshot of an etcd, or a damaged one
    ├── OpenAddressError    everybody could reach it, and nobody would have to say who they are
    └── TlsFileError        a file of the server's TLS is missing or broken

Everything else is the store's own errors, which carry their code and text already.

Source: etcd api/v3rpc/rpctypes/error.go
"""

from __future__ import annotations

from reconcile.errors import ReconcileError
from reconcile.runtime.store.errors import StoreError


class Refusal(StoreError):
    """A request that the face refuses; `code` and `text` go over the wire as they are."""

    def __init__(self, code: str, text: str) -> None:
        # Both are per refusal here: the class-wide values of StoreError are for errors that are a class each.
        self.code, self.text = code, text  # type: ignore[misc]  # an instance may say its own
        super().__init__()


class AddressError(ReconcileError):
    """The address to listen on cannot be had."""

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: it is in use, or not of this machine; name another with --listen")
        self.address = address


class TokenOptionError(ReconcileError):
    """What the option for tokens asks for makes no sense."""

    def __init__(self, option: str, what: str) -> None:
        super().__init__(f"--auth-token: {option}: {what}")
        self.option = option


class SnapshotError(ReconcileError):
    """A file is no snapshot of an etcd, or a damaged one."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the snapshot cannot be read: {why}")


class OpenAddressError(ReconcileError):
    """Everybody who reaches the address could do everything."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is not a loopback address: whoever reaches it could read and change everything; have clients show "
            f"certificates (a certificate, a key and a trusted CA file), listen on 127.0.0.1, or say that it is to be open"
        )
        self.address = address


class TlsFileError(ReconcileError):
    """A file of the server's TLS is missing or broken."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why.lower().replace('_', ' ')}; give a certificate, its key and an authority as PEM files")
        self.path = path


def message_too_large(size_bytes: int, limit_bytes: int) -> Refusal:
    """The transport's limit: what a Go server says before it looks into a message."""
    return Refusal("RESOURCE_EXHAUSTED", f"grpc: received message larger than max ({size_bytes} vs. {limit_bytes})")


def malformed(kind: str) -> Refusal:
    """The bytes are no message of that kind."""
    return Refusal("INTERNAL", f"grpc: error unmarshalling request: proto: illegal {kind}")


def empty_operation() -> Refusal:
    """An operation of a txn names no request."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: key not found")


def corrupt() -> Refusal:
    """The CORRUPT alarm is raised: nothing is served until it is disarmed."""
    return Refusal("DATA_LOSS", "etcdserver: corrupt cluster")


def bad_leader_transferee() -> Refusal:
    """There is no other member that could lead."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: bad leader transferee")


def member_not_found() -> Refusal:
    """No member has that id."""
    return Refusal("NOT_FOUND", "etcdserver: member not found")


def bad_member_urls() -> Refusal:
    """A member's URLs are no URLs."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: given member URLs are invalid")


def one_member_only() -> Refusal:
    """This etcd is one process on one disk: members cannot come or go. Run a real etcd cluster for that."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: re-configuration failed due to not enough started members")


def not_a_learner() -> Refusal:
    """Only a learner can be promoted."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: can only promote a learner member")


def bad_downgrade_version() -> Refusal:
    """The version to go back to is no version."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: wrong downgrade target version format")


def bad_downgrade_target() -> Refusal:
    """There is no version to go back to."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: invalid downgrade target version")


def no_downgrade() -> Refusal:
    """There is no downgrade that could be cancelled."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: no inflight downgrade job")


def auth_not_enabled() -> Refusal:
    """Nobody is asked who they are, so there are no tokens."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: authentication is not enabled")


def root_role_missing() -> Refusal:
    """Authentication cannot be enabled while the root user lacks the root role."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: root user does not have root role")


def authentication_failed() -> Refusal:
    """No user has that name and that password: which of the two is wrong is not told."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password")


def no_password_user() -> Refusal:
    """The user is known by its certificate only. etcd knows no code for it."""
    return Refusal("UNKNOWN", "auth: authentication failed, password was given for no password user")


def invalid_token() -> Refusal:
    """The token was never given out, or ended: authenticate again."""
    return Refusal("UNAUTHENTICATED", "etcdserver: invalid auth token")


def verify_only() -> Refusal:
    """Tokens can be checked here, and are signed elsewhere. etcd knows no code for it."""
    return Refusal("UNKNOWN", "auth: token signing attempted with verify-only key")


def old_auth_revision() -> Refusal:
    """Users or roles changed since the token was given out: authenticate again."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: revision of auth store is old")


def permission_denied() -> Refusal:
    """The caller's roles do not permit it."""
    return Refusal("PERMISSION_DENIED", "etcdserver: permission denied")


def bad_auth_management() -> Refusal:
    """It would lock everybody out, or permit nothing."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: invalid auth management")


def user_name_empty() -> Refusal:
    """The caller did not say who it is, or a user is to be added without a name."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: user name is empty")


def user_exists() -> Refusal:
    """A user has that name already."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: user name already exists")


def role_name_empty() -> Refusal:
    """A role is to be added without a name."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: role name is empty")


def role_exists() -> Refusal:
    """A role has that name already."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: role name already exists")


def role_not_granted() -> Refusal:
    """The user does not have the role."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: role is not granted to the user")


def permission_not_given() -> Refusal:
    """A permission is to be granted, and none is named."""
    return Refusal("INVALID_ARGUMENT", "etcdserver: permission not given")


def permission_not_granted() -> Refusal:
    """The role does not have exactly this permission."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: permission is not granted to the role")


def root_user_missing() -> Refusal:
    """Authentication cannot be enabled without a root user."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: root user does not exist")


def user_not_found() -> Refusal:
    """No user has that name."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: user name not found")


def role_not_found() -> Refusal:
    """No role has that name."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: role name not found")


def leader_field_missing() -> Refusal:
    """An election request must name the leader key that Campaign returned."""
    return Refusal("INVALID_ARGUMENT", '"leader" field must be provided')


def not_leader() -> Refusal:
    """The leader key is not there any more, or is another's."""
    return Refusal("UNKNOWN", "election: not leader")


def no_leader() -> Refusal:
    """Nobody campaigns."""
    return Refusal("UNKNOWN", "election: no leader")


def session_expired() -> Refusal:
    """The lease ended while its owner waited for its turn."""
    return Refusal("UNKNOWN", "mutex: session is expired")


def unknown_health_service() -> Refusal:
    """Health is told of the whole server only."""
    return Refusal("NOT_FOUND", "unknown service")
