"""Physical compaction: takes forgotten rows off the disk, slice by slice, between the writes of clients.

That history is forgotten is made durable first, by the writer; this only tidies up. How far it came is kept in the same
transaction as each slice, so it goes on after a crash where it was.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from reconcile.clock import Clock

from .database import Database
from .errors import NoSpaceError
from .log import checkpoint, compact_slice, free_pages, is_full
from .reserve import Reserve
from .settings import Settings

_PAGES_FREED_MAX = 256
_Result = TypeVar("_Result")


class Compactor:
    """One task, there while there is something to delete."""

    def __init__(
        self, database: Database, reserve: Reserve, clock: Clock, settings: Settings, done: int, fail: Callable[[str], None]
    ) -> None:  # fmt: skip
        self._database = database
        self._reserve = reserve
        self._clock = clock
        self._rows_max = settings.compaction_rows_max
        self._fail = fail
        self._wanted = done
        self._closing = False
        self._full = False
        self._task: asyncio.Task[None] | None = None
        self.done = done
        """History up to here is physically compacted."""

    def start(self, revision: int) -> None:
        """Delete what `revision` makes superfluous; returns at once."""
        self._wanted = max(self._wanted, revision)
        if self.done < self._wanted and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self) -> None:
        """Wait until the rows are gone and that is committed.

        Raises:
            NoSpaceError: the disk has no room even for that.
        """
        if self._task is not None:
            # Shielded: a caller that gives up does not stop the work of all.
            await asyncio.shield(self._task)
        if self._full:
            raise NoSpaceError(str(self._database.place))

    async def free(self) -> None:
        """Give all free pages back to the file system, slice by slice.

        Raises:
            NoSpaceError: the disk has no room even for that.
        """
        free = partial(free_pages, pages_max=_PAGES_FREED_MAX, every=True)
        try:
            while not self._closing and await self._with_reserve(free):
                await self._clock.sleep(0)
        except sqlite3.Error as error:
            if is_full(error):
                raise NoSpaceError(str(self._database.place)) from error
            raise
        await self._database.write(checkpoint)
        await self._reserve.keep()

    async def close(self) -> None:
        """Stop after the present slice."""
        self._closing = True
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        self._full = False
        try:
            # Again for what was asked for while pages were given back: nobody else would come to it.
            while self.done < self._wanted and not self._closing:
                await self._tidy()
        except sqlite3.Error as error:
            # Without room to delete, the next compaction (or start) goes on from here: the slice is rolled back.
            self._full = is_full(error)
            if not self._full:
                self._fail(f"a compaction ended with {type(error).__name__}: {error}")

    async def _tidy(self) -> None:
        """Delete what is superfluous now, then give pages back, and take the reserve again if it was needed."""
        while self.done < self._wanted and not self._closing:
            piece = partial(compact_slice, done=self.done, compacted=self._wanted, rows_max=self._rows_max)
            self.done = await self._with_reserve(piece)
            await self._clock.sleep(0)
        free = partial(free_pages, pages_max=_PAGES_FREED_MAX)
        freed = False
        while not self._closing and await self._with_reserve(free):
            freed = True
            await self._clock.sleep(0)
        if freed:
            await self._database.write(checkpoint)
        await self._reserve.keep()

    async def _with_reserve(self, slice_: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Run a slice; again with the room of the reserve, if the disk is full."""
        try:
            return await self._database.write(slice_)
        except sqlite3.Error as error:
            if not is_full(error) or not await self._reserve.release():
                raise
        return await self._database.write(slice_)
