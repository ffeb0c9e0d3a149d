"""Process trees, read from /proc and signalled without ever meaning another process.

A pid alone names nothing: it is used again. A process is (boot id, pid, start time); it is signalled through a pidfd
that was opened before the start time was looked at once more. A zombie counts as dead.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable

MARK = "RECONCILE_CONTAINER"
"""The environment variable by which a container's processes are known after they left its session and its tree."""


class Process:
    """One process as /proc showed it; `ticks` is its CPU time, `waited_ticks` that of children it waited for."""

    __slots__ = ("pgid", "pid", "ppid", "sid", "starttime", "state", "threads", "ticks", "waited_ticks")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.state = fields[0].decode()
        self.ppid, self.pgid, self.sid = int(fields[1]), int(fields[2]), int(fields[3])
        self.ticks = int(fields[11]) + int(fields[12])
        self.waited_ticks = int(fields[13]) + int(fields[14])
        self.threads = int(fields[17])
        self.starttime = int(fields[19])

    @property
    def dead(self) -> bool:
        """Whether it has ended, waited for or not; one whose first thread ended before the others has not."""
        return self.state in "ZX" and self.threads <= 1


def boot_id() -> str:
    """The name of this run of the kernel: no process outlives it."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def look(pid: int) -> Process | None:
    """The process of that pid, None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, text[text.rindex(b")") + 2 :].split())


def children(pid: int) -> list[int]:
    """The pids of a process's children, of all its threads; empty where it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        if look(pid) is not None and not os.path.exists("/proc/self/task/" + str(os.getpid()) + "/children"):
            return _children_by_scan(pid)  # a kernel without CONFIG_PROC_CHILDREN
    return found


def descendants(pid: int) -> list[Process]:
    """Every living process below `pid`, parents before children, `pid` itself left out."""
    found: list[Process] = []
    front = children(pid)
    while front:
        below: list[int] = []
        for each in front:
            process = look(each)
            if process is not None and not process.dead:
                found.append(process)
            below += children(each)
        front = below
    return found


def marked(mark: str) -> list[Process]:
    """Every living process of this machine whose environment says that it belongs to `mark`; O(processes)."""
    return [p for p in map(look, _pids()) if p is not None and not p.dead and mark_of(p.pid).startswith(mark)]


def mark_of(pid: int) -> str:
    """What a process's environment says it belongs to; empty where it says nothing, or may not be read."""
    wanted = MARK.encode() + b"="
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(wanted):
                    return entry[len(wanted) :].decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    return ""


def alive(named: Iterable[tuple[int, int]]) -> list[Process]:
    """Those of the (pid, start time) pairs that still are what they were."""
    seen = [(look(pid), starttime) for pid, starttime in named]
    return [p for p, starttime in seen if p is not None and p.starttime == starttime and not p.dead]


def send(process: Process, signum: int) -> int | None:
    """Signal exactly this process; returns its pidfd (to be closed by the caller), None if it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        again = look(process.pid)
        if again is None or again.starttime != process.starttime:
            os.close(fd)
            return None
        signal.pidfd_send_signal(fd, signum)
    except (ProcessLookupError, PermissionError):
        os.close(fd)
        return None
    return fd


def kill(doomed: Iterable[Process]) -> None:
    """SIGKILL to each; does not wait."""
    for process in doomed:
        fd = send(process, signal.SIGKILL)
        if fd is not None:
            os.close(fd)


def end_all(find: Callable[[], list[Process]], within_s: float) -> bool:
    """SIGKILL what `find` finds, until it finds nothing: a process may fork between the look and the kill.

    Blocks for `within_s` at most; returns whether nothing is left.
    """
    end = time.monotonic() + within_s
    while doomed := find():
        for process in doomed:
            fd = send(process, signal.SIGKILL)
            poll = select.poll()
            if fd is None:
                poll.poll(1)  # gone, or not ours to signal: the next look tells, and must not spin
                continue
            poll.register(fd, select.POLLIN)
            poll.poll(max(0, int((end - time.monotonic()) * 1000)))
            os.close(fd)
        if time.monotonic() > end:
            return False
    return True


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _children_by_scan(pid: int) -> list[int]:
    return [p.pid for p in map(look, _pids()) if p is not None and p.ppid == pid]
