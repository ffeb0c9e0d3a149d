"""Ranges answer as etcd's do; the tables were observed on etcd 3.5.30."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconcile.runtime.store import (
    FROM_KEY,
    CompactedError,
    FutureRevisionError,
    KeyEmptyError,
    Range,
    Settings,
    SortOrder,
    SortTarget,
    Store,
    prefix_end,
)

if TYPE_CHECKING:
    from tests.store.conftest import Opened


async def _fill(store: Store) -> None:
    """s/0..s/4 with values and versions that sort differently from the keys; ends at revision 7."""
    for key, value in ((b"s/0", b"9"), (b"s/1", b"1"), (b"s/2", b"8"), (b"s/3", b"5"), (b"s/4", b"4"), (b"s/1", b"2")):
        await store.put(key, value)


_OPTIONS: list[tuple[str, dict[str, Any], list[bytes], bool]] = [
    ("all", {}, [b"s/0", b"s/1", b"s/2", b"s/3", b"s/4"], False),
    ("limit cuts", {"limit": 2}, [b"s/0", b"s/1"], True),
    ("limit equal to the count cuts nothing", {"limit": 5}, [b"s/0", b"s/1", b"s/2", b"s/3", b"s/4"], False),
    ("count only", {"count_only": True, "limit": 2}, [], False),
    (
        "by value, descending, cut after the sort",
        {"sort_target": SortTarget.VALUE, "sort_order": SortOrder.DESCEND, "limit": 2},
        [b"s/0", b"s/2"],
        True,
    ),
    ("a target without an order ascends", {"sort_target": SortTarget.MOD}, [b"s/0", b"s/2", b"s/3", b"s/4", b"s/1"], False),
    (
        "by version, descending",
        {"sort_target": SortTarget.VERSION, "sort_order": SortOrder.DESCEND},
        [b"s/1", b"s/0", b"s/2", b"s/3", b"s/4"],
        False,
    ),
    ("by key, descending", {"sort_order": SortOrder.DESCEND, "limit": 1}, [b"s/4"], True),
    ("by create", {"sort_target": SortTarget.CREATE, "sort_order": SortOrder.DESCEND, "limit": 1}, [b"s/4"], True),
    ("min mod", {"min_mod_revision": 5}, [b"s/1", b"s/3", b"s/4"], False),
    ("max mod, and more counts what the filter left", {"max_mod_revision": 5, "limit": 1}, [b"s/0"], True),
    ("max mod with exactly the limit left", {"max_mod_revision": 2, "limit": 1}, [b"s/0"], False),
    ("min create", {"min_create_revision": 5}, [b"s/3", b"s/4"], False),
    ("max create", {"max_create_revision": 3}, [b"s/0", b"s/1"], False),
]


@pytest.mark.parametrize(("options", "keys", "more"), [row[1:] for row in _OPTIONS], ids=[row[0] for row in _OPTIONS])
async def test_a_range_shapes_its_answer_as_etcd_does(
    opened: Opened, options: dict[str, Any], keys: list[bytes], more: bool
) -> None:
    """Clients page, sort and count by these rules; `count` is the whole range whatever the options say."""
    async with await opened() as store:
        await _fill(store)
        found = store.range(Range(b"s/", prefix_end(b"s/"), **options))
        assert ([kv.key for kv in found.kvs], found.count, found.more, found.revision) == (keys, 5, more, 7)


async def test_ranges_read_half_open_from_key_and_all(opened: Opened) -> None:
    """Key ranges are half open; a zero byte as end means from key; an end before the key is empty, not an error."""
    async with await opened() as store:
        await _fill(store)

        def keys(key: bytes, end: bytes = b"") -> list[bytes]:
            found = store.range(Range(key, end))
            assert found.count == len(found.kvs) == store.count(key, end)
            return [kv.key for kv in found.kvs]

        assert keys(b"s/1") == [b"s/1"]
        assert keys(b"s/9") == []
        assert keys(b"s/1", b"s/3") == [b"s/1", b"s/2"]
        assert keys(b"s/3", b"s/1") == []
        assert keys(b"s/3", FROM_KEY) == [b"s/3", b"s/4"]
        assert len(keys(b"\0", FROM_KEY)) == 5
        assert prefix_end(b"a\xff\xff") == b"b"
        assert prefix_end(b"\xff") == FROM_KEY


async def test_keys_only_keeps_all_but_the_value(opened: Opened) -> None:
    """Listing keys must not cost values, and must still tell revisions."""
    async with await opened() as store:
        await _fill(store)
        kv = store.range(Range(b"s/1", keys_only=True)).kvs[0]
        assert (kv.value, kv.create_revision, kv.mod_revision, kv.version) == (b"", 3, 7, 2)
        whole = store.get(b"s/1")
        assert whole is not None
        assert whole.value == b"2"


@pytest.mark.parametrize("ring_bytes_max", [1 << 20, 0], ids=["ring", "disk"])
async def test_a_past_revision_is_read_as_it_was(opened: Opened, ring_bytes_max: int) -> None:
    """A paginated list reads one revision while writes go on; the header always names the present one."""
    async with await opened(Settings(ring_bytes_max=ring_bytes_max)) as store:
        await _fill(store)
        await store.delete(b"s/0")
        await store.put(b"s/5", b"new")
        found = await store.range_at(Range(b"s/", prefix_end(b"s/"), revision=5))
        assert [(kv.key, kv.value, kv.mod_revision, kv.version) for kv in found.kvs] == [
            (b"s/0", b"9", 2, 1),
            (b"s/1", b"1", 3, 1),
            (b"s/2", b"8", 4, 1),
            (b"s/3", b"5", 5, 1),
        ]
        assert (found.count, found.more, found.revision) == (4, False, 9)
        page = await store.range_at(Range(b"s/", prefix_end(b"s/"), revision=5, limit=3))
        assert ([kv.key for kv in page.kvs], page.count, page.more) == ([b"s/0", b"s/1", b"s/2"], 4, True)
        assert (await store.range_at(Range(b"s/0", revision=7))).kvs[0].value == b"9"
        assert (await store.range_at(Range(b"s/0", revision=8))).kvs == ()


async def test_impossible_ranges_are_refused_with_etcds_words(opened: Opened) -> None:
    """Clients match on these texts."""
    async with await opened() as store:
        await _fill(store)
        with pytest.raises(KeyEmptyError, match=r"^etcdserver: key is not provided"):
            store.range(Range(b""))
        with pytest.raises(FutureRevisionError, match=r"^etcdserver: mvcc: required revision is a future revision"):
            await store.range_at(Range(b"s/0", revision=8))
        with pytest.raises(ValueError, match="await range_at"):
            store.range(Range(b"s/0", revision=3))
        await store.compact(5)
        with pytest.raises(CompactedError, match=r"^etcdserver: mvcc: required revision has been compacted") as caught:
            await store.range_at(Range(b"s/0", revision=4))
        assert caught.value.compacted == 5
        assert (await store.range_at(Range(b"s/", prefix_end(b"s/"), revision=5))).count == 4
        assert store.range(Range(b"s/0", revision=-3)).count == 1


async def test_a_fresh_store_is_at_revision_one_and_empty(opened: Opened) -> None:
    """Consumers start their first watch from the first list's revision; etcd's is 1."""
    async with await opened() as store:
        assert (store.revision, store.compacted, len(store)) == (1, -1, 0)
        assert store.range(Range(b"\0", FROM_KEY)).count == 0
