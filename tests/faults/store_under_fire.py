"""kill -9 of a process that writes to a store, again and again, at random moments: the store's promise, as a program.

    python -m tests.faults.store_under_fire [kills] [seed]

Each round starts a writer (eight callers, two keys in each txn, compactions in between), kills it while it starts, writes,
compacts or checkpoints, and opens what is left: every acknowledged write must be there, whole, the revision must not have
gone back, and the log must tell one consistent history.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store, inspection

_WRITER = Path(__file__).parents[1] / "store" / "crash_writer.py"
_LIFE_S = 0.25
"""A writer lives up to so long after its first write."""
_UNBORN = 0.1
"""So many die before they have written anything: while they open the store, and resume its compaction."""


class Ledger:
    """What the writers were told: the newest number of each key, and the newest revision."""

    def __init__(self) -> None:
        self.revision = 1
        self.numbers: dict[bytes, int] = {}
        self.acknowledged = 0

    def note(self, line: bytes) -> None:
        """Take in what a writer said; a line that was cut off was not said."""
        if line.endswith(b"\n"):
            key, number, revision = line.split()
            self.numbers[key], self.revision = int(number), max(self.revision, int(revision))
            self.acknowledged += 1

    async def check(self, folder: Path) -> None:
        """Compare with what is on disk."""
        async with await Store.open(folder, SystemClock()) as store:
            assert store.revision >= self.revision, f"revision {self.revision} was told, and now it is {store.revision}"
            self.revision = store.revision
            for key, number in self.numbers.items():
                kv, twin = store.get(key), store.get(key + b"/twin")
                assert kv is not None, f"{key!r} is gone"
                assert twin is not None, f"the twin of {key!r} is gone"
                assert int(kv.value) >= number, f"{key!r} was acknowledged with {number}, and is {kv.value!r}"
                assert (twin.value, twin.mod_revision) == (kv.value, kv.mod_revision), f"half of a txn: {kv} {twin}"
        report = inspection.verify(folder)
        assert not report.problems, report.problems


def _one_life(folder: Path, chance: random.Random, ledger: Ledger) -> None:
    writer = subprocess.Popen([sys.executable, str(_WRITER), str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    if chance.random() < _UNBORN:
        time.sleep(chance.uniform(0.05, 0.4))
    else:
        ledger.note(writer.stdout.readline())
        time.sleep(chance.uniform(0, _LIFE_S))
    writer.send_signal(signal.SIGKILL)
    for line in writer.stdout.readlines():
        ledger.note(line)
    writer.wait()
    writer.stdout.close()


def main(folder: Path, kills: int, seed: int) -> str:
    """Kill so many times; returns what happened, or raises AssertionError with the first broken promise."""
    chance, ledger = random.Random(seed), Ledger()
    for _ in range(kills):
        _one_life(folder, chance, ledger)
        if (folder / "member.db").exists():
            asyncio.run(ledger.check(folder))
    return f"{kills} kills, {ledger.acknowledged} acknowledged writes, 0 lost; revision {ledger.revision}, never back"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        counts = [int(argument) for argument in sys.argv[1:]]
        sys.stdout.write(main(Path(place) / "data", *(counts + [500, 1][len(counts) :])) + "\n")
