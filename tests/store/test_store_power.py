"""Power failures, simulated: what strace saw is cut off at each sync, and the store must open on whatever is left.

Between two syncs of a file the disk may have kept any of the writes, in any order, torn at sectors. Each such image is
opened with SQLite: it must be sound, and hold every revision that was acknowledged before. kill -9 cannot show this: the
page cache survives it. The last test shows that the simulation bites.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path

import attrs
import pytest

from reconcile.runtime.store.schema import SUB_BITS

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

_SECTOR_BYTES = 512
_IMAGES_PER_CRASH = 5
_CALL = re.compile(r"^(?:\d+\s+)?(\w+)\((.*)\)\s+=\s+(-?\d+)")
_CALLS = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"

Images = dict[str, bytearray]


@attrs.frozen
class Step:
    """One thing that the process did to a file; `ack` is the revision that it told of instead."""

    kind: str
    name: str = ""
    offset: int = 0
    data: bytes = b""
    ack: int = 0

    def apply(self, images: Images, data: bytes | None = None) -> None:
        """Have it reach the disk, or `data` of it."""
        if self.kind == "unlink":
            images.pop(self.name, None)
            return
        image = images.setdefault(self.name, bytearray())
        if self.kind == "truncate":
            image[:] = image[: self.offset].ljust(self.offset, b"\0")
            return
        data = self.data if data is None else data
        image.extend(bytes(max(0, self.offset - len(image))))
        image[self.offset : self.offset + len(data)] = data


def trace(folder: Path, mode: str) -> list[Step]:
    """What a run of the writer did to its files, and when it was told that something is durable."""
    out = folder / "trace"
    # The whole of each write in hex, and the paths behind file descriptors.
    strace = ["strace", "-f", "-y", "-xx", "-s", "8388608", "-e", f"trace={_CALLS}", "-o", str(out)]
    writer = [sys.executable, str(Path(__file__).with_name("power_writer.py")), str(folder / "data"), mode]
    subprocess.run([*strace, *writer], check=True, capture_output=True, timeout=60)
    return list(_steps(out, str(folder / "data")))


def _steps(trace: Path, root: str) -> Iterator[Step]:
    ends: dict[str, int] = {}
    for line in _whole(trace.read_text().splitlines()):
        found = _CALL.match(line)
        if found is None:
            continue
        call, arguments, result = found[1], found[2], int(found[3])
        paths = [_bytes(part).decode() for part in re.findall(r'[<"]((?:\\x[0-9a-f]{2})+)[>"]', arguments[:4096])[:1]]
        path = paths[0] if paths else ""
        name = Path(path).name
        ours = path.startswith(root) and not name.endswith("-shm") and name != "LOCK"
        if call == "pwrite64" and ours:
            data, offset = arguments.rsplit('"', 2)[1], int(arguments.rsplit(",", 1)[1])
            yield Step("write", name, offset, _bytes(data)[:result])
            ends[name] = max(ends.get(name, 0), offset + result)
        elif call == "write" and ours:
            # Only the growing of the log writes without an offset: always at the end.
            data = _bytes(arguments.rsplit('"', 2)[1])[:result]
            yield Step("write", name, ends.get(name, 0), data)
            ends[name] = ends.get(name, 0) + result
        elif call == "write" and (told := re.search(rb"ACK (\d+)", _bytes(arguments.rsplit('"', 2)[1]))):
            yield Step("ack", ack=int(told[1]))
        elif call in ("fdatasync", "fsync") and ours:
            yield Step("sync", name)
        elif call == "ftruncate" and ours:
            ends[name] = int(arguments.rsplit(",", 1)[1])
            yield Step("truncate", name, ends[name])
        elif call == "unlink" and ours and result == 0:
            ends.pop(name, None)
            yield Step("unlink", name)


def _whole(lines: list[str]) -> Iterator[str]:
    """Calls that another thread's call interrupted are told in two lines: they count when they are done."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
        elif " resumed>" in rest[:40] and thread in begun:
            yield begun.pop(thread) + rest.split(" resumed>", 1)[1]
        else:
            yield line


def _bytes(hexed: str) -> bytes:
    return bytes.fromhex(hexed.replace("\\x", "")) if hexed.startswith("\\x") else b""


def crashes(steps: list[Step], chance: random.Random, images_max: int = _IMAGES_PER_CRASH) -> Iterator[tuple[Images, int]]:
    """Images that a power failure may leave, each with the newest revision that was acknowledged before it."""
    durable: Images = {}
    pending: list[Step] = []
    acked = 1
    for step in steps:
        if step.kind == "ack":
            acked = step.ack
        elif step.kind != "sync":
            pending.append(step)
            continue
        for image in _images(durable, pending, chance, images_max):
            yield image, acked
        if step.kind == "sync":
            for done in [each for each in pending if each.name == step.name or each.kind == "unlink"]:
                done.apply(durable)
            pending = [each for each in pending if each.name != step.name and each.kind != "unlink"]


def _images(durable: Images, pending: list[Step], chance: random.Random, images_max: int) -> Iterator[Images]:
    """What may be on the disk: different images, `images_max` at most, the telling ones first."""
    seen: set[bytes] = set()
    for kept in islice(_survivals(pending, chance), images_max * 4):
        image = {name: bytearray(content) for name, content in durable.items()}
        for step, size in zip(pending, kept, strict=True):
            if size is not None:
                step.apply(image, step.data[:size] if step.kind == "write" and size < len(step.data) else None)
        name = hashlib.sha256(b"".join(key.encode() + b"\0" + bytes(image[key]) for key in sorted(image))).digest()
        if name not in seen:
            seen.add(name)
            yield image
        if len(seen) >= images_max:
            return


def _survivals(pending: list[Step], chance: random.Random) -> Iterator[list[int | None]]:
    """How much of each step that was not synced reached the disk: None of it, or so many bytes."""
    whole: list[int | None] = [len(step.data) for step in pending]
    nothing: list[int | None] = [None] * len(pending)
    yield nothing
    yield whole
    order = list(range(len(pending)))
    chance.shuffle(order)
    # One torn at some sector, the rest all there: and the rest before it, and nothing but it.
    torn = [(at, size) for at in order for size in range(0, len(pending[at].data) + 1, _SECTOR_BYTES)]
    chance.shuffle(torn)
    families = (
        ([*nothing[:at], whole[at], *nothing[at + 1 :]] for at in order),  # it alone
        ([*whole[:at], *nothing[at:]] for at in order),  # in order up to it
        ([*whole[:at], None, *whole[at + 1 :]] for at in order),  # all but it
        ([*whole[:at], size, *whole[at + 1 :]] for at, size in torn),
        ([*whole[:at], size, *nothing[at + 1 :]] for at, size in torn),
    )
    for some in zip_longest(*families):
        yield from (one for one in some if one is not None)
    while pending:
        yield [
            None if chance.random() < 0.5 else chance.choice([size, chance.randrange(0, (size or 0) + 1, _SECTOR_BYTES)])
            for size in whole
        ]


def _check(images: Images, folder: Path, acked: int) -> str:
    """What is wrong with an image: "", "lost" or "corrupt"."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in images.items():
        (folder / name).write_bytes(content)
    try:
        connection = sqlite3.connect(folder / "member.db")
        try:
            if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                return "corrupt"
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchone():
                return "lost" if acked > 1 else ""
            newest = connection.execute("SELECT coalesce(max(id), 0) FROM log").fetchone()[0] >> SUB_BITS
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return "corrupt"
    return "lost" if newest < acked and acked > 1 else ""


def verdicts_of(images: Iterable[tuple[Images, int]], folder: Path) -> dict[str, int]:
    """How many images are sound (""), have "lost" what was acknowledged, or are "corrupt"."""
    counts = {"": 0, "lost": 0, "corrupt": 0}
    for image, acked in images:
        counts[_check(image, folder, acked)] += 1
    return counts


def _verdicts(tmp_path: Path, mode: str) -> dict[str, int]:
    return verdicts_of(crashes(trace(tmp_path, mode), random.Random(1)), tmp_path / "image")


def test_no_acknowledged_write_is_lost_to_a_power_failure(tmp_path: Path) -> None:
    """The promise of the store: what was acknowledged is on disk, whenever the power goes."""
    verdicts = _verdicts(tmp_path, "safe")
    assert verdicts[""] > 150
    assert (verdicts["lost"], verdicts["corrupt"]) == (0, 0)


def test_the_simulation_finds_what_is_lost_without_fsync(tmp_path: Path) -> None:
    """A test that cannot fail shows nothing."""
    assert _verdicts(tmp_path, "unsafe")["lost"] > 0
