"""Run under strace by test_store_power: writes, compacts and checkpoints; each acknowledged write is told on stderr."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Put, Settings, Store, Txn


async def main(folder: Path, unsafe_no_fsync: bool) -> None:
    """Write 40 revisions of three keys each."""
    settings = Settings(unsafe_no_fsync=unsafe_no_fsync, checkpoint_pages=60, compaction_rows_max=20)
    async with await Store.open(folder, SystemClock(), settings=settings) as store:
        for number in range(40):
            keys = (b"k%d" % (number % 7), b"only%d" % number, b"newest")
            response = await store.txn(Txn(success=[Put(key, b"%d " % number + bytes(700)) for key in keys]))
            os.write(2, b"ACK %d\n" % response.revision)
            if number % 12 == 11:
                await store.compact(response.revision - 4, physical=True)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "unsafe"))
