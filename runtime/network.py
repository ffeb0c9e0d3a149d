"""Gives each control plane of this machine loopback addresses of its own: 127.N.0.0/16.

Linux answers on every address of 127.0.0.0/8 without configuration, so each Pod and each Service can have one. Two control
planes must not share them: N is chosen by the data folder's path and held by a lock for as long as the control plane runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

import attrs

from reconcile.errors import ReconcileError

_FIRST, _LAST = 16, 254  # 127.0 to 127.15 are left to what else lives on loopback (systemd-resolved, X11, ...)


class NoNetworkError(ReconcileError):
    """Every loopback network is taken by another control plane."""


@attrs.define
class LoopbackNetwork:
    """A /16 of loopback that is ours until `release`."""

    number: int
    _lock: int

    @property
    def service_cidr(self) -> str:
        """Where Services get their clusterIP."""
        return f"127.{self.number}.0.0/20"

    @property
    def pod_cidr(self) -> str:
        """Where Pods get their addresses."""
        return f"127.{self.number}.16.0/20"

    def release(self) -> None:
        """Give the network back."""
        os.close(self._lock)


def claim_network(data_dir: Path) -> LoopbackNetwork:
    """Take the network that this data folder had before, or the next free one, and note it there.

    Raises:
        NoNetworkError: all are taken.
    """
    note = data_dir / "network"
    for number in _candidates(data_dir, note):
        path = Path(tempfile.gettempdir()) / f"reconcile-net-{number}.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError:
            continue  # another user's lock file: theirs
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        note.write_text(f"{number}\n")
        return LoopbackNetwork(number, lock)
    raise NoNetworkError(
        f"all loopback networks 127.{_FIRST}.0.0/16 to 127.{_LAST}.0.0/16 are taken by other control planes; stop one of them"
    )


def _candidates(data_dir: Path, note: Path) -> list[int]:
    count = _LAST - _FIRST + 1
    start = int.from_bytes(hashlib.blake2b(str(data_dir.resolve()).encode(), digest_size=8).digest()) % count
    numbers = [_FIRST + (start + i) % count for i in range(count)]
    try:
        before = int(note.read_text())
    except (OSError, ValueError):
        return numbers
    return [before, *numbers] if _FIRST <= before <= _LAST else numbers
