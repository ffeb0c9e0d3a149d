"""The files of a sandbox: what a shim writes down, and what an engine reads after the shim, or itself, was killed.

    <pod uid>/pod.json                            what the engine asked for; there before any process is
    <pod uid>/lock                                held (flock) by the shim as long as it lives
    <pod uid>/sock                                where the shim listens
    <pod uid>/floor.json                          the highest removed attempt of each container: it never starts again
    <pod uid>/containers/<name>.<attempt>.json    one record a container: starting -> running -> exited

A record is replaced by rename, so a reader sees the one or the other. "starting" is written before the fork: a process
without a record cannot be. An exit is fsynced before anybody is told of it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import Any

from . import processes

Record = dict[str, Any]  # Any: a decoded JSON object
LOST_CODE = 137


def write(path: str, value: Record, *, sync: bool = False) -> None:
    """Replace the file at `path` by `value` as JSON, at once; with `sync` it survives a power cut."""
    temporary = path + ".tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(json.dumps(value).encode())
        while rest:
            # A disk that fills up takes a part and says so at the next try: half a record must never replace a whole one.
            rest = rest[os.write(fd, rest) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
    if sync:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: str) -> Record | None:
    """The JSON object in the file, None where there is no file, or none that can be read (a power cut may leave it empty)."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_pod(directory: str) -> Record | None:
    """The sandbox's pod.json; call it holding the lock.

    A copy of a sandbox's folder is made a sandbox of its own first: it gets a mark of its own and forgets the processes that
    its records name, because those belong to the original, which may be alive.
    """
    path = os.path.join(directory, "pod.json")
    pod = read(path)
    inode = os.stat(directory).st_ino
    if pod is None or pod.get("inode", inode) == inode:
        return pod
    for record in read_containers(directory):
        write(container_path(directory, record), {**record, "boot_id": ""})
    pod.update(mark=os.urandom(16).hex(), inode=inode)
    write(path, pod)
    return pod


def read_containers(directory: str) -> list[Record]:
    """Every container's record of the sandbox, by name and attempt; one that cannot be read is one whose end is unknown."""
    folder = os.path.join(directory, "containers")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    names = [name for name in names if name.endswith(".json")]
    found = [read(os.path.join(folder, name)) or _unreadable(directory, name) for name in names]
    return sorted(found, key=lambda record: (record["name"], record["attempt"]))


def container_path(directory: str, record: Record) -> str:
    """Where the record of a container stands."""
    return os.path.join(directory, "containers", f"{record['name']}.{record['attempt']}.json")


def blank(pod_uid: str, container_id: str, name: str, attempt: int) -> Record:
    """The record of an attempt of which nothing has happened yet."""
    return {
        "id": container_id, "name": name, "attempt": attempt, "pod_uid": pod_uid, "state": "starting", "pid": 0,
        "starttime": 0, "started_at": 0.0, "finished_at": 0.0, "exit_code": 0, "signal": 0, "reason": "", "message": "",
        "log_path": "", "log_lost_bytes": 0, "labels": {}, "boot_id": "",
    }  # fmt: skip  # one fact a word reads better packed


def _unreadable(directory: str, file: str) -> Record:
    """Its name tells the attempt, and that it must not run again."""
    uid = str((read(os.path.join(directory, "pod.json")) or {}).get("uid", ""))
    name, attempt = file.removesuffix(".json").rsplit(".", 1)
    return blank(uid, f"{uid}_{name}_{attempt}", name, int(attempt))


def lock(directory: str) -> int | None:
    """Take the sandbox's lock: the descriptor that holds it, or None while a living shim does.

    Raises:
        FileNotFoundError: the sandbox was removed.
    """
    path = os.path.join(directory, "lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not locked(fd):
        os.close(fd)
        return None
    # Between the open and the lock the folder may have been removed and even made anew: a lock on a file that is no
    # longer there guards nothing.
    if not is_same_file(path, fd):
        os.close(fd)
        raise FileNotFoundError(path)
    return fd


def locked(fd: int) -> bool:
    """Lock an open file for this process, unless another one has."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same_file(path: str, fd: int) -> bool:
    """Whether the open file is still the one at `path`."""
    ours = os.fstat(fd)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def bury(directory: str, mark: str) -> list[Record]:
    """Settle what a shim that was killed left behind; call it holding the lock. Returns the records it closed.

    A container without an exit on record is lost: whatever lives of it is killed (its main process died with the shim
    already, its children did not), and it is recorded as exited with 137, reason ContainerStatusUnknown.
    """
    lost = [record for record in read_containers(directory) if record["state"] != "exited"]
    if not lost:
        return []
    same_boot = [record for record in lost if record.get("boot_id") == processes.boot_id()]
    if same_boot:
        mains = [(record["pid"], record["starttime"]) for record in same_boot if record["pid"]]
        processes.end_all(lambda: [*processes.alive(mains), *processes.marked(mark)], within_s=5.0)
    for record in lost:
        record.update(
            state="exited", exit_code=LOST_CODE, signal=9, reason="ContainerStatusUnknown", finished_at=time.time(),
            message="the shim that watched over this container was killed, or the machine restarted; its exit code is lost",
        )  # fmt: skip  # one fact a word reads better packed
        write(container_path(directory, record), record, sync=True)
    return lost
