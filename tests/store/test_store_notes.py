"""Notes: what others keep in the store's file, beside the keys."""

from __future__ import annotations

from pathlib import Path

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store


async def test_notes_outlive_a_restart_and_leave_no_trace_in_the_history(tmp_path: Path) -> None:
    """Users and alarms are kept there: they must neither move revisions nor differ from an etcd's hash."""
    clock = SystemClock()
    async with await Store.open(tmp_path, clock) as store:
        await store.put(b"a", b"1")
        before = store.revision, await store.hash_kv()
        await store.note({"number": 1, "bytes": b"12", "gone": b"x"})
        await store.note({"number": 2, "gone": None, "never there": None})
        assert dict(store.notes) == {"number": 2, "bytes": b"12"}
        assert (store.revision, await store.hash_kv()) == before
    async with await Store.open(tmp_path, clock) as store:
        assert dict(store.notes) == {"number": 2, "bytes": b"12"}, "bytes that look like a number stay bytes"
        assert (store.revision, await store.hash_kv()) == before
