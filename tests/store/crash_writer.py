"""Writes until it is killed: eight callers, each telling its key, its number and the revision once acknowledged."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Put, Settings, Store, Txn


async def main(folder: Path) -> None:
    store = await Store.open(folder, SystemClock(), settings=Settings(compaction_rows_max=7))

    async def write(caller: int) -> None:
        key = b"caller/%d" % caller
        kv = store.get(key)
        number = int(kv.value) if kv else 0
        while True:
            number += 1
            done = await store.txn(Txn(success=[Put(key, b"%d" % number), Put(key + b"/twin", b"%d" % number)]))
            os.write(1, b"%s %d %d\n" % (key, number, done.revision))
            if done.revision % 50 == 0:
                await store.compact(done.revision - 10)

    await asyncio.gather(*(write(caller) for caller in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
