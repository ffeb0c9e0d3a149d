"""How the options of a range shape its answer: filters, then sort, then limit, as etcd applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import attrs

from .model import KeyValue, Range, RangeResponse, SortOrder, SortTarget

_SORT_KEYS: dict[SortTarget, Callable[[KeyValue], Any]] = {  # Any: bytes or int, compared with its like only
    SortTarget.KEY: lambda kv: kv.key,
    SortTarget.VERSION: lambda kv: kv.version,
    SortTarget.CREATE: lambda kv: kv.create_revision,
    SortTarget.MOD: lambda kv: kv.mod_revision,
    SortTarget.VALUE: lambda kv: kv.value,
}


def answer(request: Range, revision: int, kvs: Iterable[KeyValue], count: int) -> RangeResponse:
    """Answer `request` from `kvs`, the whole range in key order, of which there are `count`.

    `count` ignores limit and filters; `more` counts what the filters left. Only the default order cuts early:
    a range with a limit then costs O(limit).
    """
    if request.count_only:
        return RangeResponse(revision, (), count, False)
    kvs = _filtered(request, kvs)
    if request.sort_target is not SortTarget.KEY or request.sort_order is SortOrder.DESCEND:
        kvs = sorted(kvs, key=_SORT_KEYS[request.sort_target], reverse=request.sort_order is SortOrder.DESCEND)
    limit = request.limit
    found = tuple(islice(kvs, limit + 1) if limit > 0 else kvs)
    more = 0 < limit < len(found)
    if more:
        found = found[:limit]
    if request.keys_only:
        found = tuple(attrs.evolve(kv, value=b"", attachment=None) for kv in found)
    return RangeResponse(revision, found, count, more)


def _filtered(request: Range, kvs: Iterable[KeyValue]) -> Iterable[KeyValue]:
    if request.min_mod_revision:
        kvs = (kv for kv in kvs if kv.mod_revision >= request.min_mod_revision)
    if request.max_mod_revision:
        kvs = (kv for kv in kvs if kv.mod_revision <= request.max_mod_revision)
    if request.min_create_revision:
        kvs = (kv for kv in kvs if kv.create_revision >= request.min_create_revision)
    if request.max_create_revision:
        kvs = (kv for kv in kvs if kv.create_revision <= request.max_create_revision)
    return kvs
