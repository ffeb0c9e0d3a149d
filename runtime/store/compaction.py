"""Physical compaction: takes forgotten rows off the disk, slice by slice, between the writes of clients.

That history is forgotten is made durable first, by the writer; this only tidies up. How far it came is kept in the same
transaction as each slice, so it goes on after a crash where it was.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial

from reconcile.clock import Clock

from .database import Database
from .log import compact_slice, free_pages, is_full
from .settings import Settings

_PAGES_FREED_MAX = 256


class Compactor:
    """One task, there while there is something to delete."""

    def __init__(self, database: Database, clock: Clock, settings: Settings, done: int, fail: Callable[[str], None]) -> None:
        self._database = database
        self._clock = clock
        self._rows_max = settings.compaction_rows_max
        self._fail = fail
        self._wanted = done
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.done = done
        """History up to here is physically compacted."""

    def start(self, revision: int) -> None:
        """Delete what `revision` makes superfluous; returns at once."""
        self._wanted = max(self._wanted, revision)
        if self.done < self._wanted and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self) -> None:
        """Wait until the rows are gone and that is committed."""
        if self._task is not None:
            # Shielded: a caller that gives up does not stop the work of all.
            await asyncio.shield(self._task)

    async def free(self) -> None:
        """Give all free pages back to the file system, slice by slice."""
        free = partial(free_pages, pages_max=_PAGES_FREED_MAX, every=True)
        while not self._closing and await self._database.write(free):
            await self._clock.sleep(0)

    async def close(self) -> None:
        """Stop after the present slice."""
        self._closing = True
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self.done < self._wanted and not self._closing:
                piece = partial(compact_slice, done=self.done, compacted=self._wanted, rows_max=self._rows_max)
                self.done = await self._database.write(piece)
                await self._clock.sleep(0)
            free = partial(free_pages, pages_max=_PAGES_FREED_MAX)
            while not self._closing and await self._database.write(free):
                await self._clock.sleep(0)
        except sqlite3.Error as error:
            # Without room to delete, the next compaction (or start) goes on from here: the slice is rolled back.
            if not is_full(error):
                self._fail(f"a compaction ended with {type(error).__name__}: {error}")
