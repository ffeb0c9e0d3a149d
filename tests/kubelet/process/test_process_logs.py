"""Logs: nothing a container writes is lost, reordered or changed, through long lines, bytes that are no text, and rotation."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reconcile.resources.kubelet import logs
from reconcile.resources.kubelet.logs import LogQuery
from reconcile.resources.kubelet.process.shim.pump import LINE_BYTES_MAX, Lines, LogFile
from reconcile.runtime.clock import SystemClock

if TYPE_CHECKING:
    from tests.kubelet.process.conftest import NodeMaker


async def test_a_hundred_thousand_lines_arrive_complete_and_in_order(open_node: NodeMaker) -> None:
    """Also those still in the pipe when the process ended."""
    code = "import sys\nfor n in range(100_000): sys.stdout.write(f'line {n}\\n')"
    async with open_node() as node:
        await node.ended(await node.run("pod", *node.python(code)))
        path = os.fspath(node.log("pod"))
        assert logs.read(path) == b"".join(b"line %d\n" % n for n in range(100_000))
        assert logs.read(path, LogQuery(tail_lines=3)) == b"line 99997\nline 99998\nline 99999\n"


async def test_binary_output_and_long_lines_come_back_byte_for_byte(open_node: NodeMaker) -> None:
    """A log that mangles bytes hides the very bug one looks for."""
    sizes = (0, 1, LINE_BYTES_MAX - 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 200_000)
    code = (
        "import os, sys\n"
        "out = sys.stdout.buffer\n"
        "out.write(bytes(range(256)) * 300 + b'\\n')\n"
        f"for size in {sizes}: out.write(b'x' * size + b'\\n')\n"
        "out.write(b'never ended'); out.flush()\n"
        "os.write(2, b'to stderr')\n"
    )
    expected = bytes(range(256)) * 300 + b"\n" + b"".join(b"x" * size + b"\n" for size in sizes) + b"never ended"
    async with open_node() as node:
        await node.ended(await node.run("pod", *node.python(code)))
        path = node.log("pod")
        assert logs.read(os.fspath(path), LogQuery(stream="stdout")) == expected
        assert logs.read(os.fspath(path), LogQuery(stream="stderr")) == b"to stderr"
        for line in path.read_bytes().splitlines(keepends=False):
            assert len(line) <= LINE_BYTES_MAX + len("2026-01-02T03:04:05.678901234Z stdout P ")


async def test_a_log_that_cannot_be_written_does_not_stop_the_container_and_is_counted(open_node: NodeMaker) -> None:
    """A full disk must not become an outage of what runs; /dev/full is one."""
    async with open_node() as node:
        node.log("pod").parent.mkdir(parents=True)
        node.log("pod").symlink_to("/dev/full")
        ended = await node.ended(await node.sh("pod", "echo lost; exit 3"))
        assert ended.exit_code == 3
        assert ended.log_lost_bytes == len("2026-01-02T03:04:05.678901234Z stdout F lost\n")


def test_rotation_keeps_the_newest_files_and_reads_through_them(tmp_path: Path) -> None:
    """Bounded disk, and `logs` does not end at a file's border."""
    path = os.fspath(tmp_path / "0.log")
    file = LogFile(path, bytes_max=1000, files_max=3)
    lines = Lines("stdout", file)
    for n in range(200):
        lines.feed(b"line %d\n" % n)
    file.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.log", "0.log.1", "0.log.2"]
    shown = logs.read(path).splitlines()
    assert shown == [b"line %d" % n for n in range(200 - len(shown), 200)]
    assert len(shown) > 40
    assert logs.read(path, LogQuery(tail_lines=35)).splitlines() == shown[-35:]
    assert logs.read(path, LogQuery(tail_lines=0)) == b""
    assert logs.read(path, LogQuery(tail_lines=1000)).splitlines() == shown


async def test_follow_goes_through_rotations_without_loss_or_repetition(tmp_path: Path) -> None:
    """The reader is behind by up to two files here, as it would be under load."""
    path = os.fspath(tmp_path / "0.log")
    file = LogFile(path, bytes_max=1000, files_max=4)
    lines = Lines("stdout", file)
    got = b""
    written = looks = 0

    def write_some() -> bool:
        """Called before each look: every fourth time two files' worth; True once all is written."""
        nonlocal written, looks
        looks += 1
        if looks % 4 == 1:
            for n in range(written, written + 40):
                lines.feed(b"line %d\n" % n)
            written += 40
        return written >= 500

    async for piece in logs.follow(path, LogQuery(), SystemClock(), write_some):
        got += piece
    file.close()
    assert got == b"".join(b"line %d\n" % n for n in range(written))


async def test_follow_shows_what_a_living_container_writes_and_ends_with_it(open_node: NodeMaker) -> None:
    """`logs -f` must neither hang after the end nor miss the last words."""
    async with open_node() as node:
        status = await node.sh("pod", "echo first; read x < /dev/null; sleep 0.1; echo last")
        pieces = [
            piece
            async for piece in logs.follow(
                os.fspath(node.log("pod")), LogQuery(tail_lines=10), SystemClock(), lambda: status.id in node.exits
            )
        ]
    assert b"".join(pieces) == b"first\nlast\n"


def test_queries_choose_lines_by_time_number_and_bytes(tmp_path: Path) -> None:
    """--since, --tail, --limit-bytes and --timestamps of `logs`."""
    path = tmp_path / "0.log"
    path.write_bytes(
        b"2026-01-01T00:00:01.000000000Z stdout F one\n"
        b"2026-01-01T00:00:02.500000000Z stdout P tw\n"
        b"2026-01-01T00:00:02.600000000Z stdout F o\n"
        b"cut by a cra\n"
        b"2026-01-01T00:00:03.000000000Z stderr F three\n"
        b"2026-01-01T00:00:04.000000000Z stdout P no end"
    )
    since = datetime.fromisoformat("2026-01-01T00:00:02.5Z").timestamp()
    name = os.fspath(path)
    assert logs.read(name) == b"one\ntwo\nthree\n"
    assert logs.read(name, LogQuery(since=since)) == b"two\nthree\n"
    assert logs.read(name, LogQuery(tail_lines=2)) == b"two\nthree\n"
    assert logs.read(name, LogQuery(tail_lines=1)) == b"three\n"
    assert logs.read(name, LogQuery(limit_bytes=6)) == b"one\ntw"
    assert logs.read(name, LogQuery(timestamps=True, stream="stdout")) == (
        b"2026-01-01T00:00:01.000000000Z one\n2026-01-01T00:00:02.500000000Z two\n"
    )
    assert logs.read(os.fspath(tmp_path / "none.log")) == b""
    assert logs.parse(b"2026-01-01T00:00:01Z stdout F ") == logs.LogEntry(b"2026-01-01T00:00:01Z", b"stdout", False, b"")
    assert logs.parse(b"garbage") is None
