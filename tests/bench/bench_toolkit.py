"""Side by side with kopf: the same four operators, on the same server, on the same machine.

    python -m tests.bench toolkit

The server is `reconcile up` in a process of its own, over HTTPS, every write fsynced. Each operator runs in a process: with kopf
(`kopf run`), with its import changed (`reconcile.kopf`), written natively (`reconcile run`), and natively in the server's own
process (embedded). Told: objects a second from the first creation to the last handler, with 16 writers; CPU of the operator and
writes of the operator for each object (embedded, the CPU is that of writers, server and operator together); the time from asking
for a creation to its handler, one at a time, the store's fsync included; and RSS.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import psutil

from reconcile.client import Client
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
from tests.plane import COMMAND, Plane

KEX = Kind("kopf.dev", "v1", "KopfExample", "kopfexamples", status=True)
N, WRITERS, ONE_BY_ONE = 1000, 16, 60
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


@attrs.define
class Figures:
    """What one operator did."""

    objects_s: float
    cpu_ms: float
    writes: float
    p50_ms: float
    p99_ms: float
    rss_mb: float


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


async def revision(client: Client) -> int:
    return (await client.list(KEX, limit=1)).revision


async def at_rest(client: Client) -> int:
    """The revision, once nothing is written any more."""
    before = -1
    while (now := await revision(client)) != before:
        before = now
        await asyncio.sleep(0.4)
    return now


async def measured(client: Client, told: Told, cpu: Callable[[], float], rss: Callable[[], float]) -> Figures:
    known, names = len(told.read()), iter([f"a{number}" for number in range(N)])

    async def write() -> None:
        for name in names:
            await client.create(KEX, {"metadata": {"name": name}, "spec": {"n": 1, "text": "x" * 200}}, "default")

    began_revision, cpu_before, began = await at_rest(client), cpu(), time.time()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    if not await until(lambda: len(told.read()) - known >= N):
        raise RuntimeError(f"only {len(told.at) - known} of {N} were handled")
    took_s = max(told.at.values()) - began
    settled_revision = await at_rest(client)
    cpu_s = cpu() - cpu_before
    delays = []
    for number in range(ONE_BY_ONE):
        name = f"one{number}"
        asked = time.time()
        await client.create(KEX, {"metadata": {"name": name}, "spec": {"n": 1}}, "default")
        await until(lambda: told.has(name))  # noqa: B023 - waited for at once
        delays.append((told.at[name] - asked) * 1000)
        await asyncio.sleep(0.03)
    delays.sort()
    return Figures(
        N / took_s, cpu_s / N * 1000, (settled_revision - began_revision - N) / N, statistics.median(delays),
        delays[int(len(delays) * 0.99) - 1], rss(),
    )  # fmt: skip


async def cleared(client: Client) -> None:
    for tree in (await client.list(KEX)).items:
        meta = tree["metadata"]
        if meta.get("finalizers"):
            from reconcile.client import MERGE_PATCH, Patch

            await client.patch(KEX, meta["name"], Patch(MERGE_PATCH, {"metadata": {"finalizers": None}}), "default")
        await client.delete(KEX, meta["name"], "default")


async def over_http(way: str, operator: str, plane: Plane, client: Client, root: Path) -> Figures:
    app, out = root / f"{way}_{operator}.py", root / f"{way}_{operator}.out"
    app.write_text(source(way, operator))
    told = Told(out)
    command = (
        [sys.executable, "-m", "kopf", "run", "--standalone", "-A", "-q", str(app)]
        if way == "kopf"
        else [*COMMAND, "run", "-q", str(app)]
    )
    env = {**os.environ, "KUBECONFIG": str(plane.data_dir / "kubeconfig"), "OUT": str(out)}
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - before anything is measured
    seen = psutil.Process(process.pid)
    try:
        await asyncio.sleep(3)
        await client.create(KEX, {"metadata": {"name": "warm"}, "spec": {}}, "default")
        await until(lambda: told.has("warm"), 30)

        def cpu() -> float:
            used = seen.cpu_times()
            return used.user + used.system

        return await measured(client, told, cpu, lambda: seen.memory_info().rss / 1e6)
    finally:
        process.terminate()
        process.wait(20)
        await cleared(client)


async def embedded(operator: str, root: Path) -> Figures:
    app, out = root / f"embedded_{operator}.py", root / f"embedded_{operator}.out"
    app.write_text(source("native", operator))
    told = Told(out)
    os.environ["OUT"] = str(out)
    program = load_program(root, app.name, app.read_bytes())
    clock, own = SystemClock(), psutil.Process()
    store = await Store.open(root / f"store_{operator}", clock)
    api = ApiServer(store, clock)
    for kind in (EVENT, *(cls.__kind__ for op in program.operators for cls in op.kinds)):
        api.serve(kind)
    client = InProcessClient(api)
    engine = Engine(client, clock)
    for one in program.operators:
        await engine.start(one)

    def cpu() -> float:
        used = own.cpu_times()
        return used.user + used.system

    try:
        return await measured(client, told, cpu, lambda: own.memory_info().rss / 1e6)
    finally:
        await engine.close()
        await store.close()


async def main() -> None:
    ways = ["kopf", "compat", "native"] if importlib.util.find_spec("kopf") else ["compat", "native"]
    wanted = sys.argv[1:] or list(_KOPF)
    found: dict[str, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "folder").mkdir()
        (root / "folder" / "crd.yaml").write_text(json.dumps(_CRD))
        plane = Plane(root / "folder", root / "state", "--simulate", "1")
        try:
            plane.start()
            async with HttpClient(load(plane.data_dir / "kubeconfig"), SystemClock()) as client:
                await _served(client.list)
                for operator in wanted:
                    found[operator] = {way: await over_http(way, operator, plane, client, root) for way in ways}
                    found[operator]["embedded"] = await embedded(operator, root)
                    _print(operator, found[operator])
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
    print(f"{operator:8} {'objects/s':>10} {'ms CPU':>8} {'writes':>7} {'p50 ms':>7} {'p99 ms':>7} {'RSS MB':>7}")
    for way, f in figures.items():
        ratio = f"  {f.objects_s / base.objects_s:4.1f} times kopf" if base is not None and way != "kopf" else ""
        print(
            f"  {way:8} {f.objects_s:8,.0f} {f.cpu_ms:8.2f} {f.writes:7.2f} "
            f"{f.p50_ms:7.1f} {f.p99_ms:7.1f} {f.rss_mb:7.0f}{ratio}",
            flush=True,
        )


if __name__ == "__main__":
    asyncio.run(main())
