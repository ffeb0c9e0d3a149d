"""A real cluster of three members that lose one another: writers count on, and what they were told is true."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Compare, Put, StoreError, Txn
from reconcile.runtime.store.remote import EtcdAddress, EtcdStore, UncertainWriteError
from tests.contract.conftest import REMOTE
from tests.etcd.conftest import free_ports, program
from tests.etcd.etcdctl import Etcdctl

_INCREMENTS = 40


@attrs.define
class Member:
    """One etcd of three."""

    command: list[str]
    address: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def leads(self) -> bool:
        # endpoint, id, version, size, leader, ...
        return Etcdctl(self.address)("endpoint", "status").split(", ")[4:5] == ["true"]


@contextmanager
def three_members(folder: Path) -> Iterator[list[Member]]:
    ports = free_ports(6)
    peers = [f"http://127.0.0.1:{port}" for port in ports[3:]]
    cluster = ",".join(f"m{at}={peer}" for at, peer in enumerate(peers))
    members = []
    with ExitStack() as stack:
        for at, (port, peer) in enumerate(zip(ports[:3], peers, strict=True)):
            client = f"http://127.0.0.1:{port}"
            command = [str(program("etcd")), "--name", f"m{at}", "--data-dir", str(folder / f"m{at}"), "--log-level", "error"]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
            command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, "--unsafe-no-fsync"]
            member = Member(command, f"127.0.0.1:{port}", folder / f"m{at}.log")
            member.start()
            stack.callback(member.end)
            members.append(member)
        yield members


class Tally:
    """What the writers were told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._more = asyncio.Event()

    def note(self, what: str) -> None:
        self.told.append(what)
        self._more.set()

    async def reached(self, number: int) -> None:
        while len(self.told) < number:
            self._more.clear()
            await self._more.wait()


async def count(store: EtcdStore, tally: Tally) -> None:
    """Add one, again and again; what cannot be told is noted, not counted."""
    for _ in range(_INCREMENTS):
        while True:
            found = store.get(b"n")
            value = int(found.value) + 1 if found is not None else 1
            compare = Compare.mod_is(b"n", found.mod_revision if found is not None else 0)
            try:
                done = await store.txn(Txn((compare,), (Put(b"n", b"%d" % value),)))
            except UncertainWriteError:
                tally.note("unknown")
                break
            except StoreError:
                continue
            if done.succeeded:
                tally.note("done")
                break


@pytest.mark.time_limit_s(90)
async def test_writers_count_on_while_members_are_killed_and_stopped(tmp_path: Path) -> None:
    """No increment that was acknowledged is lost, and none is made twice: not by a leader that dies, nor by one that hangs."""
    clock = SystemClock()
    with three_members(tmp_path) as members:
        address = EtcdAddress(tuple(member.address for member in members), "/count")
        async with (
            await EtcdStore.open(address, clock, settings=REMOTE) as first,
            await EtcdStore.open(attrs.evolve(address, endpoints=address.endpoints[::-1]), clock, settings=REMOTE) as second,
        ):
            tally = Tally()
            counting = asyncio.gather(*(count(store, tally) for store in (first, second, first)))
            watch = first.watch(b"n", start_revision=1)
            await tally.reached(20)
            leader = await asyncio.to_thread(lambda: next((member for member in members if member.leads), members[0]))
            leader.end()
            await tally.reached(50)
            leader.start()
            (hung,) = [member for member in members if member.address == first._connection.endpoint]
            assert hung.process is not None
            hung.process.send_signal(signal.SIGSTOP)
            await tally.reached(80)
            hung.process.send_signal(signal.SIGCONT)
            await counting
            await asyncio.gather(first.catch_up(), second.catch_up())

            found = first.get(b"n")
            assert found is not None
            assert second.get(b"n") == found
            assert int(found.value) == found.version
            told = tally.told
            assert told.count("done") <= found.version <= len(told) == 3 * _INCREMENTS
            seen: list[int] = []
            while len(seen) < found.version:
                seen += [int(event.kv.value) for event in (await anext(watch)).events]
            assert seen == list(range(1, found.version + 1)), "the watch told every number once, in order"
            watch.cancel()
