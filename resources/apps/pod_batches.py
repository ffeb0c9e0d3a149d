"""Creating and deleting many Pods: a few first, and twice as many with every batch that went well.

A quota or a webhook that refuses everything then costs one failed request instead of hundreds.

Source: slowStartBatch in k8s.io/kubernetes/pkg/controller/replicaset/replica_set.go
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from reconcile.errors import ApiError, Tree

T = TypeVar("T")
BURST_MAX = 500  # creations or deletions in one pass over a ReplicaSet


async def slow_start(count: int, create: Callable[[], Awaitable[T]]) -> tuple[list[T], ApiError | None]:
    """Call `create` up to `count` times, in batches of 1, 2, 4 ...; stop after the batch in which one failed.

    Returns what was made, and the first error.
    """
    made: list[T] = []
    size = 1
    while count > 0:
        size = min(size, count)
        done, error = await _all([create() for _ in range(size)])
        made += done
        if error is not None:
            return made, error
        count -= size
        size *= 2
    return made, None


async def all_at_once(items: Iterable[Tree], act: Callable[[Tree], Awaitable[T]]) -> tuple[list[T], ApiError | None]:
    """Call `act` for every item, concurrently; returns the answers and the first error."""
    return await _all([act(item) for item in items])


async def _all(calls: Sequence[Awaitable[T]]) -> tuple[list[T], ApiError | None]:
    if len(calls) == 1:
        try:
            return [await calls[0]], None
        except ApiError as error:
            return [], error
    answers = await asyncio.gather(*calls, return_exceptions=True)
    done: list[T] = []
    first: ApiError | None = None
    for answer in answers:
        if isinstance(answer, ApiError):
            first = first or answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            done.append(answer)
    return done, first
