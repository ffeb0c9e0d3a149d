"""The LOCK file: one process at a time has a data folder.

flock, not a pid file: the kernel lets go when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .errors import StoreLockedError

LOCK_NAME = "LOCK"


class FolderLock:
    """Holds a data folder until `release`, or until the process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, making it if it is missing.

        Raises:
            StoreLockedError: another process (or another Store of this one) has it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StoreLockedError(folder, f"process {holder}" if holder else "another process") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of one name."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
