"""Read container logs in the format of the Container Runtime Interface, across the files that rotation left.

    RFC3339Nano stdout|stderr F|P message

P marks a piece of a line that goes on in the next entry of its stream; it is shown without a newline, so what comes out is
byte for byte what the container wrote. `0.log` is the newest file, `0.log.1` the one before it, and so on.

Source: k8s.io/cri-client/pkg/logs/logs.go
"""

from __future__ import annotations

import mmap
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import attrs

from reconcile.clock import Clock

FOLLOW_POLL_S = 0.1
_CHUNK_BYTES = 256 * 1024


@attrs.frozen
class LogEntry:
    """One entry of a log file; `at` is its time as written, which sorts as text."""

    at: bytes
    stream: bytes
    partial: bool
    message: bytes


@attrs.frozen
class LogQuery:
    """Which part of a log is wanted, as in PodLogOptions; None or empty: all of it.

    `tail_lines` counts from the end before `since` (seconds since the epoch) is looked at, as the kubelet does.
    """

    tail_lines: int | None = None
    since: float | None = None
    limit_bytes: int | None = None
    timestamps: bool = False
    stream: str = ""


def parse(line: bytes) -> LogEntry | None:
    """Take one line of a log file apart; None where it is no such line (a crash may have cut it)."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr") or parts[2][:1] not in (b"F", b"P"):
        return None
    return LogEntry(parts[0], parts[1], parts[2][:1] == b"P", parts[3])


def read(path: str, query: LogQuery = LogQuery()) -> bytes:
    """The wanted part of the log, as the container wrote it; empty where there is no log yet. O(bytes read).

    Blocks on the disk: call it in a thread where the log may be large.
    """
    return b"".join(_read(path, query))


async def follow(path: str, query: LogQuery, clock: Clock, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The wanted part of the log, then what is added to it, until `ended` says that nobody writes any more.

    Nothing is lost or repeated when the file rotates, unless more than the files kept were written between two looks.
    """
    shown = _Shown(query)
    reader: _FileReader | None = None
    try:
        while not shown.full:
            last = ended()  # asked before reading: what was written up to the end is then still seen
            if reader is None:
                reader = _open_at(path, query.tail_lines)
            moved = False
            if reader is not None:
                rotated = not reader.is_at(path)
                for entry in reader.entries():
                    moved = True
                    if piece := shown.show(entry):
                        yield piece
                if rotated and (newer := reader.next_file(path)) is not None:
                    reader.close()
                    reader, moved = newer, True
            if not moved:
                if last:
                    return
                await clock.sleep(FOLLOW_POLL_S)
    finally:
        if reader is not None:
            reader.close()


class _Shown:
    """What of each entry a query lets through, and how it looks."""

    def __init__(self, query: LogQuery) -> None:
        self._since = _stamp(query.since) if query.since is not None else b""
        self._stream = query.stream.encode()
        self._timestamps = query.timestamps
        self._left_bytes = query.limit_bytes
        self._open_streams: set[bytes] = set()

    @property
    def full(self) -> bool:
        """Whether the limit of bytes is reached."""
        return self._left_bytes is not None and self._left_bytes <= 0

    def show(self, entry: LogEntry) -> bytes:
        if entry.at < self._since or (self._stream and entry.stream != self._stream):
            return b""
        starts = entry.stream not in self._open_streams
        out = entry.at + b" " + entry.message if self._timestamps and starts else entry.message
        if entry.partial:
            self._open_streams.add(entry.stream)
        else:
            self._open_streams.discard(entry.stream)
            out += b"\n"
        if self._left_bytes is not None:
            out = out[: self._left_bytes]
            self._left_bytes -= len(out)
        return out


class _FileReader:
    """One log file, read forward from where it stands; it stays readable when it is renamed or deleted."""

    def __init__(self, path: str, offset: int = 0) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by close(): it is read over many polls
        self._file.seek(offset)
        self._rest = b""

    def close(self) -> None:
        self._file.close()

    def is_at(self, path: str) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def entries(self) -> Iterator[LogEntry]:
        while chunk := self._file.read(_CHUNK_BYTES):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                entry = parse(line)
                if entry is not None:
                    yield entry

    def next_file(self, path: str) -> _FileReader | None:
        """The file that was begun after this one; None where it is not there yet."""
        files = _files(path)
        here = next((number for number, file in enumerate(files) if self.is_at(file)), None)
        try:
            if here is None:
                return _FileReader(files[0]) if files else None
            return _FileReader(files[here + 1]) if here + 1 < len(files) else None
        except FileNotFoundError:
            return None  # rotated just now: the next look finds it under its new name


def _read(path: str, query: LogQuery) -> Iterator[bytes]:
    shown = _Shown(query)
    for file, offset in _starts(_files(path), query.tail_lines):
        try:
            reader = _FileReader(file, offset)
        except FileNotFoundError:
            continue
        try:
            for entry in reader.entries():
                yield shown.show(entry)
                if shown.full:
                    return
        finally:
            reader.close()


def _open_at(path: str, tail_lines: int | None) -> _FileReader | None:
    try:
        for file, offset in _starts(_files(path), tail_lines):
            return _FileReader(file, offset)
    except FileNotFoundError:
        return None  # rotated between the look and the open
    return None


def _files(path: str) -> list[str]:
    """The files of a log that are there, oldest first."""
    found = [path] if os.path.exists(path) else []
    number = 1
    while os.path.exists(f"{path}.{number}"):
        found.append(f"{path}.{number}")
        number += 1
    return found[::-1]


def _starts(files: list[str], tail_lines: int | None) -> list[tuple[str, int]]:
    """The files to read, each with the offset to begin at."""
    if tail_lines is None:
        return [(file, 0) for file in files]
    wanted: list[tuple[str, int]] = []
    left = max(0, tail_lines)
    for file in reversed(files):
        offset, found = _tail_offset(file, left)
        wanted.append((file, offset))
        left -= found
        if left <= 0:
            break
    return wanted[::-1]


def _tail_offset(file: str, lines: int) -> tuple[int, int]:
    """Where the last `lines` lines of the file begin, and how many were found; pieces of one line count once."""
    with open(file, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        if size == 0 or lines == 0:
            return size, 0
        with mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_READ) as view:
            # Walks back entry by entry. A whole entry met going back is the end of a line; the one after it began a new.
            start = view.rfind(b"\n") + 1
            found = 0
            while start > 0:
                before = view.rfind(b"\n", 0, start - 1) + 1
                entry = parse(view[before : start - 1])
                ends_line = entry is not None and not entry.partial
                if found == lines and ends_line:
                    return start, found
                if ends_line or found == 0:
                    found += 1
                start = before
            return 0, found


def _stamp(at_s: float) -> bytes:
    whole = datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{int(at_s % 1 * 1e9):09d}Z".encode()
