"""File changes from watchfiles, as bursts: one yield for everything that happened within a few milliseconds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from reconcile.clock import Clock

from .files import passed_over

STEP_MS = 25
"""How long the burst must be quiet: long enough for an editor's write-and-rename, short enough to feel live."""
BURST_MS_MAX = 200


def folder_changes(root: Path, clock: Clock) -> Callable[[], AsyncIterator[None]]:
    """Bursts of changes below `root`; survives the folder's removal and return."""

    def ours(_: object, path: str) -> bool:
        try:
            parts = Path(path).relative_to(root).parts
        except ValueError:
            return True
        return not any(passed_over(part) for part in parts)

    async def changes() -> AsyncIterator[None]:
        from watchfiles import awatch  # imported when first needed: 60 ms

        while True:
            # Known before the watch begins: a folder that comes in between makes it begin anew, which costs nothing.
            known = _folders(root)
            if known:
                yield None
                try:
                    watching = awatch(root, watch_filter=ours, step=STEP_MS, debounce=BURST_MS_MAX, ignore_permission_denied=True)
                    async with contextlib.aclosing(watching):
                        async for _ in watching:
                            yield None
                            if _folders(root) != known:
                                break
                    # The kernel watches folder by folder, and one inside a folder that is new itself may have been missed:
                    # what changed in it would be seen only by the next rescan. A new watch sees all of them.
                    if root.is_dir():
                        continue
                except (FileNotFoundError, RuntimeError, OSError):
                    # The folder went away, or the kernel's watches ran out: look again, slowly, instead of dying.
                    yield None
            await clock.sleep(1.0)

    return changes


def _folders(root: Path) -> set[tuple[int, int]]:
    """The folders at and below `root` that are ours to watch, by identity; empty if there is no root. O(entries)."""
    found: set[tuple[int, int]] = set()
    for path, below, _ in os.walk(root):
        below[:] = [name for name in below if not passed_over(name)]
        with contextlib.suppress(OSError):
            here = os.stat(path)
            found.add((here.st_dev, here.st_ino))
    return found
