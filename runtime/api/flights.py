"""Work that many want at the same time and that is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Asks `work` for what nobody is asking for already. Whoever comes meanwhile waits for the same answer, or error.

    Nothing is kept: who comes afterwards asks again. The work is done by the first who wants it; should that one be cancelled,
    those who wait do it themselves.
    """

    def __init__(self, work: Callable[[Sequence[K]], Awaitable[Sequence[V]]]) -> None:
        self._work = work
        self._flying: dict[K, asyncio.Future[V]] = {}

    async def of(self, keys: Sequence[K]) -> list[V]:
        """The values of `keys`, in their order. Raises what the work raises."""
        mine = [key for key in dict.fromkeys(keys) if key not in self._flying]
        others = {key: self._flying[key] for key in keys if key in self._flying}
        found: dict[K, V] = {}
        if mine:
            found = await self._do(mine)
        left = []
        for key, future in others.items():
            try:
                found[key] = await asyncio.shield(future)
            except asyncio.CancelledError:
                if not future.cancelled() or _is_cancelled():
                    raise
                left.append(key)  # whoever did it is gone
        if left:
            found.update(zip(left, await self.of(left), strict=True))
        return [found[key] for key in keys]

    async def _do(self, keys: list[K]) -> dict[K, V]:
        loop = asyncio.get_running_loop()
        futures = {key: loop.create_future() for key in keys}
        self._flying.update(futures)
        try:
            values = await self._work(keys)
        except Exception as error:
            for future in futures.values():
                future.set_exception(error)
                future.exception()  # nobody need be waiting for it
            raise
        else:
            for key, value in zip(keys, values, strict=True):
                futures[key].set_result(value)
            return dict(zip(keys, values, strict=True))
        finally:
            for key in keys:
                del self._flying[key]
                futures[key].cancel()  # unless it is done


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
