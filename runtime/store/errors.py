"""Every error of the store, with etcd's exact texts.

    ReconcileError
    └── StoreError                      `text` is what goes over the wire, `code` the gRPC status name
        ├── RequestError                the request is refused, nothing is written
        │   ├── KeyEmptyError           INVALID_ARGUMENT
        │   ├── KeyNotFoundError        INVALID_ARGUMENT   ignore_value or ignore_lease on a missing key
        │   ├── ValueProvidedError      INVALID_ARGUMENT
        │   ├── LeaseProvidedError      INVALID_ARGUMENT
        │   ├── DuplicateKeyError       INVALID_ARGUMENT
        │   ├── TooManyOpsError         INVALID_ARGUMENT
        │   ├── RequestTooLargeError    INVALID_ARGUMENT
        │   ├── EmptyRangeError         INVALID_ARGUMENT   a watch whose range holds no key
        │   ├── LeaseNotFoundError      NOT_FOUND
        │   ├── LeaseExistsError        FAILED_PRECONDITION
        │   ├── LeaseTooLongError       OUT_OF_RANGE
        │   ├── CompactedError          OUT_OF_RANGE
        │   └── FutureRevisionError     OUT_OF_RANGE
        ├── BusyError                   try again later
        │   ├── NoSpaceError            RESOURCE_EXHAUSTED the disk is full; the batch is rolled back, reads go on
        │   └── TooManyRequestsError    RESOURCE_EXHAUSTED the queue of the writer is full
        └── UnavailableError            the store itself does not serve
            ├── StoreClosedError        UNAVAILABLE
            ├── StoreFailedError        UNAVAILABLE        a commit whose outcome is unknown: never retried
            ├── StoreLockedError        UNAVAILABLE        another process has the data folder
            ├── SchemaVersionError      DATA_LOSS          the file is not a store that this version can read
            └── DamagedError            DATA_LOSS          the file does not hold together

Clients of etcd match on the text, so `text` and `code` are contract; `str(error)` is the text and what led to it.

Source: etcd api/v3rpc/rpctypes/error.go
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from reconcile.errors import ReconcileError


class StoreError(ReconcileError):
    """Root of what the store raises on purpose."""

    text: ClassVar[str] = "etcdserver: unknown error"
    code: ClassVar[str] = "UNKNOWN"

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"{self.text} ({detail})" if detail else self.text)
        self.detail = detail


class RequestError(StoreError):
    """The request is refused and nothing of it is written."""

    code = "INVALID_ARGUMENT"


class KeyEmptyError(RequestError):
    """A key has no bytes."""

    text = "etcdserver: key is not provided"


class KeyNotFoundError(RequestError):
    """`ignore_value` or `ignore_lease` names a key that is not there."""

    text = "etcdserver: key not found"

    def __init__(self, key: bytes) -> None:
        super().__init__(f"{key!r} has no value to keep; put it with a value first")
        self.key = key


class ValueProvidedError(RequestError):
    """A put says `ignore_value` and gives a value."""

    text = "etcdserver: value is provided"


class LeaseProvidedError(RequestError):
    """A put says `ignore_lease` and gives a lease."""

    text = "etcdserver: lease is provided"


class DuplicateKeyError(RequestError):
    """A txn would change one key twice."""

    text = "etcdserver: duplicate key given in txn request"

    def __init__(self, key: bytes) -> None:
        super().__init__(f"{key!r} is put twice, or put and deleted; a txn changes a key once")
        self.key = key


class TooManyOpsError(RequestError):
    """A list of a txn is longer than the limit."""

    text = "etcdserver: too many operations in txn request"

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} operations where {limit} are allowed; split the txn")
        self.count, self.limit = count, limit


class RequestTooLargeError(RequestError):
    """The keys and values of a request are larger than the limit."""

    text = "etcdserver: request is too large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes where {limit_bytes} are allowed")
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class EmptyRangeError(RequestError):
    """A watch is asked for a range that can hold no key."""

    text = "mvcc: watcher range is empty"


class LeaseNotFoundError(RequestError):
    """There is no lease of that id: it was never granted, it was revoked, or it expired."""

    text = "etcdserver: requested lease not found"
    code = "NOT_FOUND"

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease {lease}; grant it first")
        self.lease = lease


class LeaseExistsError(RequestError):
    """A lease of the id asked for is there already."""

    text = "etcdserver: lease already exists"
    code = "FAILED_PRECONDITION"

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease {lease}; ask for id 0 to be given a free one")
        self.lease = lease


class LeaseTooLongError(RequestError):
    """A lease is asked to live longer than the limit."""

    text = "etcdserver: too large lease TTL"
    code = "OUT_OF_RANGE"

    def __init__(self, ttl_s: int, limit_s: int) -> None:
        super().__init__(f"{ttl_s} s where {limit_s} s are allowed")


class CompactedError(RequestError):
    """The revision asked for is below the compacted one: read the present state and go on from there."""

    text = "etcdserver: mvcc: required revision has been compacted"
    code = "OUT_OF_RANGE"

    def __init__(self, revision: int, compacted: int) -> None:
        super().__init__(f"revision {revision}; history starts at {compacted}; list again and go on from there")
        self.revision, self.compacted = revision, compacted


class FutureRevisionError(RequestError):
    """The store has not reached the revision asked for."""

    text = "etcdserver: mvcc: required revision is a future revision"
    code = "OUT_OF_RANGE"

    def __init__(self, revision: int, newest: int) -> None:
        super().__init__(f"revision {revision}; the store is at {newest}")
        self.revision, self.newest = revision, newest


class BusyError(StoreError):
    """The store cannot take this write now; nothing of it is written."""

    code = "RESOURCE_EXHAUSTED"


class NoSpaceError(BusyError):
    """The disk is full: the batch is rolled back, the store stays readable."""

    text = "etcdserver: mvcc: database space exceeded"

    def __init__(self, place: str) -> None:
        super().__init__(f"{place}: no space left; free some, or compact, and write again")


class TooManyRequestsError(BusyError):
    """More writes wait than the queue holds."""

    text = "etcdserver: too many requests"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} writes wait already; try again in a moment")


class UnavailableError(StoreError):
    """The store itself does not serve."""

    code = "UNAVAILABLE"


class StoreClosedError(UnavailableError):
    """The store was closed."""

    text = "etcdserver: server stopped"


class StoreFailedError(UnavailableError):
    """The outcome of a commit, or the content of the file, is not known; only opening the store anew can tell."""

    text = "etcdserver: server stopped"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; the store serves no more and nothing is retried: look at the disk, then start again")
        self.reason = reason


class StoreLockedError(UnavailableError):
    """Another process has the data folder."""

    text = "etcdserver: unhealthy cluster"

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"{folder} is in use by {holder}; stop it, or name another data folder")
        self.folder = folder


class SchemaVersionError(UnavailableError):
    """The file is not a store, or one of another version."""

    text = "etcdserver: corrupt cluster"
    code = "DATA_LOSS"

    def __init__(self, place: str, found: str, wanted: str) -> None:
        super().__init__(f"{place}: found {found}, this version reads {wanted}; use the version that wrote it, or a new folder")
        self.found, self.wanted = found, wanted


class DamagedError(UnavailableError):
    """The file of a store does not hold together: what it says may be wrong, so nothing of it is served."""

    text = "etcdserver: corrupt cluster"
    code = "DATA_LOSS"

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(
            f"{place} is damaged: {problem}; put it aside and restore a snapshot (`reconcile store restore`), or see what is "
            f"left of it with `reconcile store verify`"
        )
        self.problem = problem
