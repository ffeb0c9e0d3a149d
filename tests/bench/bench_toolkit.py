"""Side by side with kopf: the same four operators, on the same server, on the same machine.

    python -m tests.bench.bench_toolkit [event|create|full|three|memory ...]

The server is `reconcile up` in a process of its own, over HTTPS, every write fsynced. Each operator runs in a process: with kopf
(`kopf run`), with its import changed (`reconcile.kopf`), written natively (`reconcile run`), and natively in the server's own
process (embedded). The ways take turns, `ROUNDS` times; told are medians:

- live/s: objects a second while 16 writers create them, from the first creation to the operator's last write;
- backlog/s: the same where the operator was stopped (SIGSTOP) while they were created: no writer is in the way (embedded: they
  are there when the operator starts);
- ms CPU: of the operator's process for an object of the backlog, and of the server's (embedded: of both together);
- writes of the operator for an object; RSS afterwards;
- ms from asking for a creation to its handler, one at a time, and to the creation's own answer: the store's fsync is in both.

With `RECONCILE_TEST_CLUSTER=KUBECONFIG` it runs on that cluster instead, without the embedded way and the server's CPU;
`RECONCILE_BENCH_OBJECTS` says how many objects.

`memory` is by how much the RSS of an operator's process grows with each object that it watches and has nothing to do for.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import load
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.recorder import EVENT
from reconcile.runtime.store import Store
from reconcile.runtime.sync.programs import load_program
from tests.foreign import CLUSTER, a_plane
from tests.plane import COMMAND, Plane

KEX = Kind("kopf.dev", "v1", "KopfExample", "kopfexamples", status=True)
N, WRITERS, ONE_BY_ONE, ROUNDS = int(os.environ.get("RECONCILE_BENCH_OBJECTS", "400")), 16, 40, 3
IDLE, IDLE_S = 5000, 12.0
_HEAD = (
    "import os, time\nfrom typing import Any\n{what}\nOUT = open(os.environ['OUT'], 'a', buffering=1)\n"
    "def told(name): OUT.write(f'{{name}} {{time.time()}}\\n')\n"
)
_KOPF = {
    "event": (
        "@kopf.on.event('kopfexamples')\nasync def ev(event, name, **_):\n    if event['type'] in (None, 'ADDED'): told(name)\n"
    ),
    "create": "@kopf.on.create('kopfexamples')\nasync def cr(name, **_): told(name)\n",
    "full": (
        "@kopf.on.create('kopfexamples')\nasync def cr(name, **_):\n    told(name)\n    return {'ok': True}\n"
        "@kopf.on.update('kopfexamples')\nasync def up(name, **_): pass\n"
        "@kopf.on.delete('kopfexamples')\nasync def de(name, **_): pass\n"
    ),
    "three": (
        "@kopf.on.create('kopfexamples')\nasync def c1(**_): return {'a': 1}\n"
        "@kopf.on.create('kopfexamples')\nasync def c2(**_): return {'b': 1}\n"
        "@kopf.on.create('kopfexamples')\nasync def c3(name, **_): told(name)\n"
        "@kopf.on.delete('kopfexamples')\nasync def de(name, **_): pass\n"
    ),
}
_QUIET = "@kopf.on.startup()\nasync def quiet(settings, **_): settings.posting.enabled = False\n"
_KIND = """from reconcile import Resource, field, kind, on
@kind('kopf.dev', 'v1', plural='kopfexamples')
class KopfExample(Resource):
    spec: dict[str, Any] = field(factory=dict)
    status: dict[str, Any] = field(factory=dict)
"""
_NATIVE = {
    "event": "@on.event(KopfExample)\nasync def ev(event, name):\n    if event == 'ADDED': told(name)\n",
    "create": "@on.create(KopfExample, workers=32)\nasync def cr(name): told(name)\n",
    "full": (
        "@on.create(KopfExample, workers=32)\nasync def cr(it: KopfExample, name):\n    told(name)\n    it.status['ok'] = True\n"
        "@on.update(KopfExample)\nasync def up(name): pass\n"
        "@on.delete(KopfExample)\nasync def de(name): pass\n"
    ),
    "three": (
        "@on.create(KopfExample, workers=32)\nasync def c1(it: KopfExample): it.status['a'] = 1\n"
        "@on.create(KopfExample, workers=32)\nasync def c2(it: KopfExample): it.status['b'] = 1\n"
        "@on.create(KopfExample, workers=32)\nasync def c3(name): told(name)\n"
        "@on.delete(KopfExample)\nasync def de(name): pass\n"
    ),
}
_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "kopfexamples.kopf.dev"},
    "spec": {
        "scope": "Namespaced", "group": "kopf.dev",
        "names": {"kind": "KopfExample", "plural": "kopfexamples", "singular": "kopfexample"},
        "versions": [{
            "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                part: {"type": "object", "x-kubernetes-preserve-unknown-fields": True} for part in ("spec", "status")
            }}},
        }],
    },
}  # fmt: skip


@attrs.frozen
class Figures:
    """What one operator did in one round, or the medians of several."""

    live_s: float
    backlog_s: float
    cpu_ms: float
    server_ms: float
    writes: float
    p50_ms: float
    p99_ms: float
    answer_ms: float
    rss_mb: float


def medians(rounds: list[Figures]) -> Figures:
    return Figures(*(statistics.median(values) for values in zip(*map(attrs.astuple, rounds), strict=True)))


def source(way: str, operator: str) -> str:
    if way == "kopf":
        return _HEAD.format(what="import kopf") + _QUIET + _KOPF[operator]
    if way == "compat":
        return _HEAD.format(what="import reconcile.kopf as kopf") + _KOPF[operator]
    return _HEAD.format(what=_KIND) + _NATIVE[operator]


class Told:
    """When each object's handler ran, read from the file as it grows."""

    def __init__(self, out: Path) -> None:
        self.at: dict[str, float] = {}
        out.touch()
        self._file, self._rest = out.open(), ""

    def has(self, name: str) -> bool:
        """Whether the handler of an object has run."""
        self.read()
        return name in self.at

    def read(self) -> dict[str, float]:
        """All so far."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            name, at = line.split()
            self.at.setdefault(name, float(at))
        return self.at


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


async def at_rest(client: Client) -> tuple[int, float]:
    """The revision, once nothing is written any more, and since when it is that."""
    before, since = -1, 0.0
    while True:
        now = (await client.list(KEX, limit=1)).revision
        if now != before:
            before, since = now, time.time()
        elif time.time() - since > 0.5:
            return now, since
        await asyncio.sleep(0.02)


async def created(client: Client, prefix: str, count: int) -> None:
    """Create so many objects, by all writers."""
    names = iter([f"{prefix}{number}" for number in range(count)])

    async def write() -> None:
        for name in names:
            await client.create(KEX, {"metadata": {"name": name}, "spec": {"n": 1, "text": "x" * 200}}, "default")

    await asyncio.gather(*(write() for _ in range(WRITERS)))


async def cleared(client: Client) -> None:
    """Delete all, whoever holds them."""
    trees = iter((await client.list(KEX)).items)

    async def delete() -> None:
        for tree in trees:
            meta = tree["metadata"]
            if meta.get("finalizers"):
                await client.patch(KEX, meta["name"], Patch(MERGE_PATCH, {"metadata": {"finalizers": None}}), "default")
            await client.delete(KEX, meta["name"], "default")

    await asyncio.gather(*(delete() for _ in range(WRITERS)))


class Run:
    """An operator at work: what is measured of it."""

    def __init__(self, client: Client, told: Told, operator: psutil.Process, server: psutil.Process | None) -> None:
        self.client, self.told, self.operator, self.server = client, told, operator, server

    def cpu_s(self) -> tuple[float, float]:
        """Of the operator and the server, so far."""
        used = [process.cpu_times() if process is not None else None for process in (self.operator, self.server)]
        first, second = (times.user + times.system if times is not None else 0.0 for times in used)
        return first, second

    async def handled(self, begin: Callable[[], Awaitable[Any]], count: int) -> tuple[float, float, float, float]:
        """Objects a second from `begin` to the last write, ms of CPU of operator and server, and writes for an object."""
        known, (revision, _) = len(self.told.read()), await at_rest(self.client)
        (cpu, server), began = self.cpu_s(), time.time()
        await begin()
        if not await until(lambda: len(self.told.read()) - known >= count):
            raise RuntimeError(f"only {len(self.told.at) - known} of {count} were handled")
        last = max(self.told.at.values())
        settled, since = await at_rest(self.client)
        cpu_after, server_after = self.cpu_s()
        took_s = (max(last, since) if settled != revision else last) - began
        return (
            count / took_s,
            (cpu_after - cpu) / count * 1000,
            (server_after - server) / count * 1000,
            (settled - revision) / count,
        )

    async def one_by_one(self) -> tuple[float, float, float]:
        """Milliseconds from a creation to its handler (median, 99 of 100) and to its answer (median)."""
        delays, answers = [], []
        for number in range(ONE_BY_ONE):
            name, asked = f"one{number}", time.time()
            await self.client.create(KEX, {"metadata": {"name": name}, "spec": {"n": 1}}, "default")
            answers.append((time.time() - asked) * 1000)
            await until(lambda: self.told.has(name))  # noqa: B023 - waited for at once
            delays.append((self.told.at[name] - asked) * 1000)
            await asyncio.sleep(0.03)
        delays.sort()
        return statistics.median(delays), delays[int(len(delays) * 0.99) - 1], statistics.median(answers)

    def rss_mb(self) -> float:
        """Of the operator's process."""
        return float(self.operator.memory_info().rss / 1e6)


@asynccontextmanager
async def operator_process(way: str, text: str, plane: Plane, root: Path) -> AsyncIterator[tuple[psutil.Process, Told]]:
    """An operator in a process of its own."""
    app, out = root / "app.py", Path(tempfile.mkdtemp(dir=root)) / "out"
    app.write_text(text)
    told = Told(out)
    kopf = [sys.executable, "-m", "kopf", "run", "--standalone", "-A", "-q", str(app)]
    env = {**os.environ, "KUBECONFIG": str(plane.data_dir / "kubeconfig"), "OUT": str(out)}
    process = subprocess.Popen(  # noqa: ASYNC220 - before anything is measured
        kopf if way == "kopf" else [*COMMAND, "run", "-q", str(app)], env=env, stderr=subprocess.DEVNULL
    )
    try:
        yield psutil.Process(process.pid), told
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


async def over_http(way: str, operator: str, plane: Plane, client: Client, root: Path) -> Figures:
    async with operator_process(way, source(way, operator), plane, root) as (process, told):
        await asyncio.sleep(3)
        await client.create(KEX, {"metadata": {"name": "warm"}, "spec": {}}, "default")
        await until(lambda: told.has("warm"), 30)
        run = Run(client, told, process, None if CLUSTER else psutil.Process(plane.pid))
        live_s, _, _, writes = await run.handled(lambda: created(client, "a", N), N)
        process.send_signal(signal.SIGSTOP)
        await created(client, "b", N)

        async def go_on() -> None:
            process.send_signal(signal.SIGCONT)

        backlog_s, cpu_ms, server_ms, _ = await run.handled(go_on, N)
        p50_ms, p99_ms, answer_ms = await run.one_by_one()
        figures = Figures(live_s, backlog_s, cpu_ms, server_ms, writes - 1, p50_ms, p99_ms, answer_ms, run.rss_mb())
    await cleared(client)
    return figures


async def embedded(operator: str, root: Path) -> Figures:
    folder = Path(tempfile.mkdtemp(dir=root))
    app, out = folder / "app.py", folder / "out"
    app.write_text(source("native", operator))
    told = Told(out)
    os.environ["OUT"] = str(out)
    program = load_program(folder, app.name, app.read_bytes())
    clock = SystemClock()
    store = await Store.open(folder / "store", clock)
    api = ApiServer(store, clock)
    for kind in (EVENT, *(cls.__kind__ for op in program.operators for cls in op.kinds)):
        api.serve(kind)
    client = InProcessClient(api)
    engine = Engine(client, clock, admission=api)

    async def start() -> None:
        for one in program.operators:
            await engine.start(one)

    try:
        run = Run(client, told, psutil.Process(), None)
        await created(client, "b", N)
        backlog_s, cpu_ms, _, writes = await run.handled(start, N)
        live_s, *_ = await run.handled(lambda: created(client, "a", N), N)
        p50_ms, p99_ms, answer_ms = await run.one_by_one()
        return Figures(live_s, backlog_s, cpu_ms, 0.0, writes, p50_ms, p99_ms, answer_ms, run.rss_mb())
    finally:
        await engine.close()
        await store.close()


async def memory(ways: list[str], plane: Plane, client: Client, root: Path) -> None:
    """RSS of operators on no objects, and on many that they have handled."""
    print(f"memory   {'MB, no object':>14} {'MB':>6} {'bytes an object':>16}  ({IDLE} objects)")
    used: dict[tuple[str, str], float] = {}
    for count in (0, IDLE):
        await created(client, "idle", count)
        for way in ways:
            for operator in ("event", "create"):
                async with operator_process(way, source(way, operator), plane, root) as (process, told):
                    await until(lambda: len(told.read()) >= count, 300)  # noqa: B023 - waited for at once
                    await asyncio.sleep(IDLE_S)  # kopf's workers end after 5 s, our spare connections too
                    rss = process.memory_info().rss
                if not count:
                    used[way, operator] = rss
                    continue
                before = used[way, operator]
                grown = (rss - before) / count
                print(f"  {way:8} {operator:6} {before / 1e6:7.0f} {rss / 1e6:6.0f} {grown:16,.0f}", flush=True)
    await cleared(client)


async def main() -> None:
    ways = ["kopf", "compat", "native"] if importlib.util.find_spec("kopf") else ["compat", "native"]
    wanted = sys.argv[1:] or [*_KOPF, "memory"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "folder").mkdir()
        (root / "folder" / "crd.yaml").write_text(json.dumps(_CRD))
        plane = a_plane(root / "folder", root / "state", "--simulate", "1")
        try:
            plane.start()
            async with HttpClient(load(plane.data_dir / "kubeconfig"), SystemClock()) as client:
                await _served(client.list)
                for operator in wanted:
                    if operator == "memory":
                        await memory(ways, plane, client, root)
                        continue
                    found: dict[str, list[Figures]] = {}
                    for _ in range(ROUNDS):
                        for way in ways:
                            found.setdefault(way, []).append(await over_http(way, operator, plane, client, root))
                        if not CLUSTER:
                            found.setdefault("embedded", []).append(await embedded(operator, root))
                    _print(operator, {way: medians(rounds) for way, rounds in found.items()})
        finally:
            plane.bury()


async def _served(ask: Callable[[Kind], Awaitable[Any]]) -> None:
    for _ in range(100):
        try:
            await ask(KEX)
        except Exception:  # noqa: BLE001 - not yet
            await asyncio.sleep(0.1)
        else:
            return


def _print(operator: str, figures: dict[str, Figures]) -> None:
    base = figures.get("kopf")
    print(
        f"{operator:10} {'live/s':>7} {'backlog/s':>10} {'ms CPU':>7} {'server':>7} {'writes':>7} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'answer':>7} {'RSS MB':>7}   times kopf: live, backlog, CPU   (load {os.getloadavg()[0]:.0f})"
    )
    for way, f in figures.items():
        ratio = ""
        if base is not None and way != "kopf":
            ratio = f"{f.live_s / base.live_s:13.1f} {f.backlog_s / base.backlog_s:9.1f} {base.cpu_ms / f.cpu_ms:5.1f}"
        print(
            f"  {way:8} {f.live_s:7,.0f} {f.backlog_s:10,.0f} {f.cpu_ms:7.2f} {f.server_ms:7.2f} {f.writes:7.2f} {f.p50_ms:7.1f} "
            f"{f.p99_ms:7.1f} {f.answer_ms:7.1f} {f.rss_mb:7.0f} {ratio}",
            flush=True,
        )


if __name__ == "__main__":
    asyncio.run(main())
