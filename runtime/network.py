"""Gives each control plane of this machine loopback addresses of its own: 127.N.0.0/16.

Linux answers on every address of 127.0.0.0/8 without configuration, so each Pod and each Service can have one. Two control
planes must not share them: N is chosen by the data folder's path and held for as long as the control plane runs.

What holds it is a bound socket with an abstract address: such a name lives in the same network namespace as loopback itself,
ends with its process, and is no file that somebody else could have put into a shared folder first.
"""

from __future__ import annotations

import hashlib
import os
import socket
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
    _hold: socket.socket

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
        self._hold.close()


def claim_network(data_dir: Path) -> LoopbackNetwork:
    """Take the network that this data folder had before, or the next free one, and note it there.

    Raises:
        NoNetworkError: all are taken.
    """
    note = data_dir / "network"
    before, busy = _noted(note), _listened_on()
    for number in _candidates(data_dir, before):
        if number in busy and number != before:
            continue  # by the pods of a control plane that let them run on when it ended
        hold = socket.socket(socket.AF_UNIX)
        try:
            hold.bind(f"\0reconcile-net-127.{number}")
        except OSError:
            hold.close()
            continue
        note.write_text(f"{number}\n")
        return LoopbackNetwork(number, hold)
    raise NoNetworkError(
        f"all loopback networks 127.{_FIRST}.0.0/16 to 127.{_LAST}.0.0/16 are taken by other control planes; stop one of them"
    )


def _candidates(data_dir: Path, before: int) -> list[int]:
    count = _LAST - _FIRST + 1
    start = int.from_bytes(hashlib.blake2b(os.fsencode(data_dir.resolve()), digest_size=8).digest()) % count
    numbers = [_FIRST + (start + i) % count for i in range(count)]
    return [before, *numbers] if _FIRST <= before <= _LAST else numbers


def _noted(note: Path) -> int:
    try:
        return int(note.read_text())
    except (OSError, ValueError):
        return 0


def _listened_on() -> set[int]:
    """The N of every 127.N.0.0/16 in which some program listens."""
    try:
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table][1:]
    except OSError:
        return set()
    # Addresses are hexadecimal with the first byte last; 0A is the state of a listening socket.
    return {int(row[1][4:6], 16) for row in rows if row[3] == "0A" and row[1][6:8] == "7F"}
