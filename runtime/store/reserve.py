"""A file that only takes space, so that a full disk leaves room for what makes some: deletes, compaction, giving back.

Without it a store that filled its own disk could not shrink: to forget rows takes a little room in the write-ahead log.
It is given away when the disk is full, and taken again when a compaction found room.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .database import Database

FILE_NAME = "reserve"


class Reserve:
    """The reserve beside a database; none for one in memory, or of no size."""

    def __init__(self, database: Database, size_bytes: int) -> None:
        self._database = database
        self._size_bytes = size_bytes
        place = database.place
        self._path = place.with_name(FILE_NAME) if isinstance(place, Path) and size_bytes else None

    async def keep(self) -> None:
        """Take the space, if it is there; a disk without room is left alone."""
        if self._path is not None and not self._path.exists():
            await self._database.write(self._take)

    async def release(self) -> bool:
        """Give the space away; False if it was given away before: nothing is gained by trying again."""
        if self._path is None or not self._path.exists():
            return False
        self._path.unlink()
        return True

    def _take(self, _: sqlite3.Connection) -> None:
        # On the database's thread: a file system without fallocate writes zeros.
        assert self._path is not None
        part = self._path.with_name(FILE_NAME + ".part")
        try:
            with part.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size_bytes)
            part.rename(self._path)
        except OSError:
            part.unlink(missing_ok=True)
