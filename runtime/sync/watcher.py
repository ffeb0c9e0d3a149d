"""File changes from watchfiles, as bursts: one yield for everything that happened within a few milliseconds."""

from __future__ import annotations

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
            if root.is_dir():
                yield None
                try:
                    async for _ in awatch(
                        root, watch_filter=ours, step=STEP_MS, debounce=BURST_MS_MAX, ignore_permission_denied=True
                    ):
                        yield None
                        if not root.is_dir():
                            break
                except (FileNotFoundError, RuntimeError, OSError):
                    # The folder went away, or the kernel's watches ran out: look again, slowly, instead of dying.
                    yield None
            await clock.sleep(1.0)

    return changes
