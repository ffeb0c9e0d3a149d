"""What can be set on a store. The defaults are etcd's where etcd has them."""

from __future__ import annotations

import attrs


@attrs.frozen
class Settings:
    """Bounds and promises of a store."""

    unsafe_no_fsync: bool = False
    """For tests only: commits are not synced, so a power failure loses acknowledged writes and may corrupt the file."""
    request_bytes_max: int = 1_572_864
    """Keys and values of one request."""
    txn_operations_max: int = 128
    """Entries of one list of a txn."""
    writes_queued_max: int = 5_000
    """Writes that may wait for the disk; the next one is refused."""
    ring_bytes_max: int = 32 << 20
    """Recent history kept in memory, for watches that lag and for reads of recent revisions."""
    watch_queue_bytes_max: int = 8 << 20
    """Events that wait for one slow watcher; beyond it the watch is replayed from the ring or the disk."""
    replay_revisions_max: int = 1_000
    """Revisions that one step of a replay looks at."""
    compaction_rows_max: int = 1_000
    """Rows that one slice of a compaction looks at; client writes go between slices."""
    boot_check_bytes_max: int = 256 << 20
    """A larger file is opened without a look at all of its pages, which takes a millisecond a MB."""
    checkpoint_pages: int = 4_096
    """Pages (estimated) in the write-ahead log before it is moved into the file."""
    reserve_bytes: int = 4 << 20
    """Space kept for deletes and compaction on a disk that is full; 0: none."""
    lease_ttl_s_min: int = 2
    lease_ttl_s_max: int = 9_000_000_000
    lease_check_s: float = 0.5
    """How late an expiry may be noticed."""
