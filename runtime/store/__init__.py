"""An MVCC watch store with etcd's semantics, embedded, on SQLite.

`Store.open` a folder; write with `txn`, `put`, `delete`; read with `get`, `range`, `range_at`; follow with `watch`.
It promises what etcd promises: dense revisions, atomic multi-key txns, watches that lose nothing, and that what was
acknowledged survives kill -9 and power failure. It leaves the wire (gRPC), users and quotas to others.

    errors, model       what goes in and out
    interface           what the rest of the runtime uses of a store: `remote` does it on a real etcd
    store               the facade; the one place that knows all parts
    check, evaluate     is a txn well formed; what does it do (pure)
    stage, writer       group commit: staged state, and its way to the disk
    index, ring, answer the present, the recent past, and how a range is answered from them
    archive             the past: old revisions, the history of a key, which revision was when
    hub, narrow, watch  who learns of a revision, and how a slow one catches up
    lease, lessor, compaction, retention   what goes by itself
    log, schema, hashkv, database, lock     the disk
"""

from .database import MEMORY, AioDatabase, Database, InlineDatabase
from .errors import (
    BusyError,
    CompactedError,
    DamagedError,
    DuplicateKeyError,
    EmptyRangeError,
    FutureRevisionError,
    KeyEmptyError,
    KeyNotFoundError,
    LeaseExistsError,
    LeaseNotFoundError,
    LeaseProvidedError,
    LeaseTooLongError,
    NoSpaceError,
    RequestError,
    RequestTooLargeError,
    SchemaVersionError,
    StoreClosedError,
    StoreError,
    StoreFailedError,
    StoreLockedError,
    TooManyOpsError,
    TooManyRequestsError,
    UnavailableError,
    ValueProvidedError,
)
from .interface import WatchStore
from .model import (
    DELETE,
    FROM_KEY,
    PUT,
    Change,
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    DeleteResponse,
    Event,
    EventKind,
    KeyValue,
    LeaseStatus,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Response,
    SortOrder,
    SortTarget,
    Txn,
    TxnResponse,
    WatchBatch,
    WatchFilter,
    prefix_end,
)
from .narrow import Narrow
from .retention import HistoryKeep, keep_history
from .settings import Settings
from .store import Store
from .watch import Watch

__all__ = [
    "DELETE",
    "FROM_KEY",
    "MEMORY",
    "PUT",
    "AioDatabase",
    "BusyError",
    "Change",
    "CompactedError",
    "Compare",
    "CompareOp",
    "CompareTarget",
    "DamagedError",
    "Database",
    "DeleteRange",
    "DeleteResponse",
    "DuplicateKeyError",
    "EmptyRangeError",
    "Event",
    "EventKind",
    "FutureRevisionError",
    "HistoryKeep",
    "InlineDatabase",
    "KeyEmptyError",
    "KeyNotFoundError",
    "KeyValue",
    "LeaseExistsError",
    "LeaseNotFoundError",
    "LeaseProvidedError",
    "LeaseStatus",
    "LeaseTooLongError",
    "Narrow",
    "NoSpaceError",
    "Operation",
    "Put",
    "PutResponse",
    "Range",
    "RangeResponse",
    "RequestError",
    "RequestTooLargeError",
    "Response",
    "SchemaVersionError",
    "Settings",
    "SortOrder",
    "SortTarget",
    "Store",
    "StoreClosedError",
    "StoreError",
    "StoreFailedError",
    "StoreLockedError",
    "TooManyOpsError",
    "TooManyRequestsError",
    "Txn",
    "TxnResponse",
    "UnavailableError",
    "ValueProvidedError",
    "Watch",
    "WatchBatch",
    "WatchFilter",
    "WatchStore",
    "keep_history",
    "prefix_end",
]
