"""The narrow interface of a store: what the API server and the control plane use, and nothing else.

Two implementations, one contract (tests/contract): `Store`, embedded on SQLite, and `remote.EtcdStore`, over an etcd cluster
that others may write to as well. Reading the present is a look into memory with both. That memory may be behind what others
have written; `catch_up` is the one way to know that it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .model import Change, DeleteResponse, KeyValue, LeaseStatus, PutResponse, Range, RangeResponse, Txn, TxnResponse
from .narrow import Narrow
from .watch import Watch


class WatchStore(Protocol):
    """Ordered keys with revisions, transactions and watches, as etcd has them. See `Store` for what each method raises."""

    @property
    def revision(self) -> int:
        """The newest revision that reads and watches know of."""

    @property
    def compacted(self) -> int:
        """History starts here as far as this process knows; -1: nothing is known to be compacted."""

    # Reading

    def get(self, key: bytes) -> KeyValue | None:
        """The newest value of a key, from memory."""

    def range(self, request: Range) -> RangeResponse:
        """Answer a range at the newest revision, from memory."""

    async def range_at(self, request: Range) -> RangeResponse:
        """Answer a range at any revision that is not compacted."""

    async def catch_up(self) -> int:
        """Return once reads show everything that anybody was told to be written before this call; gives the revision."""

    async def history(self, key: bytes, *, first: int = 0, last: int = 0, limit: int = 0) -> tuple[Change, ...]:
        """The changes of one key in revisions first..last (0: all that are kept, up to now), oldest first."""

    async def revision_at(self, time_s: float) -> int | None:
        """What was the newest revision at `time_s`, since the epoch; None when history does not reach back to it."""

    async def time_of(self, revision: int) -> float | None:
        """When `revision` was made, since the epoch; None if it is not known."""

    async def cause(self, revision: int) -> str | None:
        """The cause that was given with the txn that made `revision`; None if there was none, or it is compacted away."""

    async def causes(self, first: int, last: int = 0) -> Sequence[tuple[int, float | None, str]]:
        """Revision, time and cause of the revisions first..last (0: now) that have one and are kept."""

    # Writing

    async def txn(self, request: Txn, cause: str | None = None) -> TxnResponse:
        """Run a txn; reads and watches of this process show what it did when it returns."""

    async def put(
        self, key: bytes, value: bytes, *, lease: int = 0, prev_kv: bool = False, attachment: object | None = None,
        cause: str | None = None,
    ) -> PutResponse:  # fmt: skip
        """Write one key."""

    async def delete(
        self, key: bytes, range_end: bytes = b"", *, prev_kv: bool = False, cause: str | None = None
    ) -> DeleteResponse:
        """Delete one key or a range."""

    async def compact(self, revision: int, physical: bool = False) -> None:
        """Forget history below `revision`."""

    # Following

    def watch(
        self, key: bytes, range_end: bytes = b"", start_revision: int = 0, *, prev_kv: bool = False,
        progress_interval_s: float | None = None, narrow: Narrow | None = None,
    ) -> Watch:  # fmt: skip
        """Follow a key or a range from `start_revision` on (0: from the next revision); see `narrow` for `narrow`."""

    # Leases

    async def lease_grant(self, ttl_s: int, lease: int = 0) -> LeaseStatus:
        """Grant a lease, with the id asked for or a free one."""

    async def lease_revoke(self, lease: int) -> int:
        """Revoke a lease and delete its keys; returns the store's revision."""

    async def lease_keep_alive(self, lease: int) -> int:
        """Give a lease its full time again; returns that time in seconds, 0 when there is no such lease any more."""

    async def close(self) -> None:
        """End the watches and let go of what is held; later calls raise StoreClosedError."""
