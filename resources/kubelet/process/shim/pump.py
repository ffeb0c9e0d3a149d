"""The log pump: a container's output, as lines in the format of the Container Runtime Interface, in files that rotate.

    2026-01-02T03:04:05.678901234Z stdout F a whole line
    2026-01-02T03:04:05.678901234Z stderr P the first 16 KiB of a longer line, or a last line that was never ended

Bytes are written as they came. The stamp is taken once a read, not once a line. A full disk loses lines, never blocks
the container: what was lost is counted.

Source: k8s.io/cri-client/pkg/logs/logs.go, containerd internal/cri/io/logger.go
"""

from __future__ import annotations

import os
import time

LINE_BYTES_MAX = 16 * 1024
FILE_BYTES_MAX = 10 * 1024 * 1024
FILES_MAX = 5
CHUNK_BYTES = 64 * 1024


def stamp(now_ns: int) -> bytes:
    """The moment as RFC 3339 with nine digits of a second, UTC."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return b"%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode(), rest)


class LogFile:
    """The file that both streams of a container go to: `0.log`, and after rotation `0.log.1` (newer) to `0.log.4`."""

    def __init__(self, path: str, bytes_max: int = FILE_BYTES_MAX, files_max: int = FILES_MAX) -> None:
        self.lost_bytes = 0
        self._path, self._bytes_max, self._files_max = path, bytes_max, files_max
        self._fd = -1
        self._size = 0
        if path:
            self._open()

    def write(self, data: bytes) -> None:
        """Append whole lines; rotate once the file is full."""
        if not self._path:
            return
        try:
            if self._fd < 0:
                self._open()
            rest = memoryview(data)
            while rest:
                count = os.write(self._fd, rest)
                self._size += count
                rest = rest[count:]
            if self._size >= self._bytes_max:
                self._rotate()
        except OSError:
            # The disk is full or the folder is gone. The container must not feel it; the loss shows in its status.
            self.lost_bytes += len(data)
            self.close()

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path) or ".", mode=0o755, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(self._files_max - 2, -1, -1):
            older = f"{self._path}.{number + 1}"
            newer = f"{self._path}.{number}" if number else self._path
            if os.path.exists(newer):
                os.rename(newer, older)
        self._open()


class Lines:
    """One stream of a container: bytes go in as they are read, lines come out in the log file."""

    def __init__(self, stream: str, file: LogFile) -> None:
        self.name = stream
        self._full = b" " + stream.encode() + b" F "
        self._partial = b" " + stream.encode() + b" P "
        self._file = file
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Write what is complete by now; keep the start of an unfinished line."""
        now = stamp(time.time_ns())
        full = now + self._full
        data = self._rest + chunk
        cut = data.rfind(b"\n")
        out = b""
        if cut >= 0:
            body, data = data[:cut], data[cut + 1 :]
            if len(body) <= LINE_BYTES_MAX or max(map(len, body.split(b"\n"))) <= LINE_BYTES_MAX:
                out = full + body.replace(b"\n", b"\n" + full) + b"\n"
            else:
                out = b"".join(self._split(line, now) for line in body.split(b"\n"))
        while len(data) > LINE_BYTES_MAX:
            out += now + self._partial + data[:LINE_BYTES_MAX] + b"\n"
            data = data[LINE_BYTES_MAX:]
        self._rest = data
        if out:
            self._file.write(out)

    def end(self) -> None:
        """The stream is over: what was never ended by a newline is written as a partial line."""
        if self._rest:
            self._file.write(stamp(time.time_ns()) + self._partial + self._rest + b"\n")
            self._rest = b""

    def _split(self, line: bytes, now: bytes) -> bytes:
        out = b""
        while len(line) > LINE_BYTES_MAX:
            out += now + self._partial + line[:LINE_BYTES_MAX] + b"\n"
            line = line[LINE_BYTES_MAX:]
        return out + now + self._full + line + b"\n"
