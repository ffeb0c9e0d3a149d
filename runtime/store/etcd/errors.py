"""What the etcd face refuses that the store knows nothing of, with etcd's codes and texts.

    ReconcileError
    ├── StoreError
    │   └── Refusal     one class for all: clients tell them apart by text
    └── AddressError    the address to listen on cannot be had

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
    """There are no users here."""
    return Refusal("FAILED_PRECONDITION", "etcdserver: authentication is not enabled")


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
