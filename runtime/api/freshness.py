"""Whether what was read is still so: a store that others write to as well may be behind them.

The API server judges by what the store shows and lets the transaction's compare find out whether that was old. A refusal has no
transaction, nor has a write that changes nothing: before one is told, the store catches up, and where the object is another
one by then, it is judged again.
"""

from __future__ import annotations

from reconcile.errors import ApiError
from reconcile.runtime.store import KeyValue, StoreError, WatchStore

from . import refusals


async def newest(store: WatchStore, key: bytes) -> KeyValue | None:
    """The value of a key; None only where the store, caught up, has none."""
    found = store.get(key)
    if found is None:
        await _catch_up(store)
        found = store.get(key)
    return found


async def is_newest(store: WatchStore, key: bytes, found: KeyValue | None) -> bool:
    """Whether `found` is what the key holds, once the store has caught up."""
    await _catch_up(store)
    return store.get(key) is found


async def stands(error: ApiError, store: WatchStore, key: bytes, found: KeyValue | None) -> bool:
    """Whether a refusal that was judged by `found` is to be told."""
    return error.code >= 500 or await is_newest(store, key, found)


async def _catch_up(store: WatchStore) -> None:
    try:
        await store.catch_up()
    except StoreError as error:
        raise refusals.of_store(error) from error
