"""A whole control plane in one test: the real store (in memory), the real API server, engines, and virtual time.

    async def test_a_shop_grows(world: World) -> None:
        await world.apply("samples/shop.yaml")
        await world.settled()
        await world.patch("webapps/shop", spec={"replicas": 5})
        await world.settled()
        assert len(world.list("pods")) == 5

Each app under test is a process of its own, with informers of its own, that a plan can kill, blind and hold back. Around
them runs, free of faults, what they may rely on. Reads (`list`, `get`, `owned`, `state`) look at the store as it is now.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reconcile.causality import TRIGGER, Trigger
from reconcile.client import APPLY_PATCH, MERGE_PATCH, DeleteOptions, Patch
from reconcile.clock import Clock
from reconcile.errors import InvalidError, NotFoundError, ReconcileError, Tree
from reconcile.kinds import Kind, Resource, kind_of
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.cluster import Parts
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.sync.manifests import read_manifests

from .mirror import Happened, Mirror
from .names import NAMESPACE, UNCOUNTED, kind_called, object_name, parse_name
from .plan import AT_WRITE, Fault, Heard, Plan, Wrote, read_plan
from .process import App, Process
from .state import Ignore, same_but_for, state_of
from .walk import specs

Law = Callable[["World"], None]
Source = str | Path | Tree | Resource | Sequence["Source"]
Ground = Callable[[], Parts]
"""What runs around the apps: kinds, objects to begin with, and operators; made anew for each world."""

QUIET_S = 65.0
"""How long nothing may be written before a world counts as settled: two resyncs of half a minute."""
IDLE_S = 3.0
"""How long everybody must have been idle: who has just come back, or come to see the present, has not begun yet."""
SETTLE_S_MAX = 3600.0
FAILING_S_MAX = 600.0
WRITES_MAX = 5000
SURROUNDINGS = "cluster"


class LivelockError(ReconcileError, AssertionError):
    """A process never stops writing."""


class UnsettledError(ReconcileError, AssertionError):
    """After hours of virtual time there is still something going on."""


class LawBrokenError(ReconcileError, AssertionError):
    """A law did not hold at a revision."""

    def __init__(self, law: str, happened: Happened, error: BaseException) -> None:
        what = str(error) or type(error).__name__
        super().__init__(f"law {law} is broken at revision {happened.revision} ({happened.type} {happened.key}): {what}")
        self.happened = happened


class World:
    """A control plane in virtual time. Use as an async context manager; tests get one that is entered."""

    def __init__(
        self, clock: Clock, apps: Sequence[App], ground: Ground, *, plan: Plan = (), laws: Sequence[Law] = (),
        ignore: Ignore | None = None, base: Path | None = None, writes_max: int = WRITES_MAX,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.plan, self.ignore, self.closed = plan, dict(ignore or {}), False
        self.writes: list[Wrote] = []
        self.events: list[Heard] = []
        self.broken: Exception | None = None
        self.rests: list[dict[str, Tree]] = []
        """The state each time that it had settled."""
        self._apps, self._ground, self._laws, self._base, self._writes_max = apps, ground, laws, base, writes_max
        self._last_write_s = 0.0
        self._walks = 0

    async def __aenter__(self) -> Self:
        parts = self._ground()
        self.store = await Store.open(":memory:", self.clock, database=InlineDatabase)
        self.api = ApiServer(self.store, self.clock, namespace_kind=kind_of(parts.namespace) if parts.namespace else None)
        for cls in parts.kinds:
            self.api.serve(kind_of(cls))
        parts.connect(self.api, None)
        around = [App(SURROUNDINGS, lambda: list(parts.operators))] if parts.operators else []
        self.processes = [
            *(Process(self, app, tested=False) for app in around),
            *(Process(self, app, self.plan) for app in self._apps),
        ]
        for process in self.processes:
            process.prepare()
        self.mirror = Mirror(self.store, self.api, self.clock)
        self.mirror.on_change = self._changed
        self._client = InProcessClient(self.api)
        for tree in parts.objects:
            kind = next(k for k in self.api.kinds() if (k.api_version, k.kind) == (tree["apiVersion"], tree["kind"]))
            await self._client.create(kind, tree, tree["metadata"].get("namespace", ""), field_manager="bootstrap")
        try:
            for process in self.processes:
                await process.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the world."""
        self.closed = True
        for process in reversed(self.processes):
            await process.stop()
        self.mirror.close()
        await self.store.close()

    # What a user does

    async def apply(self, source: Source) -> None:
        """Apply what a file (or all files of a folder), an object, or a list of them declares, as `kubectl apply` does."""
        if isinstance(source, str | Path):
            for file in self._files(Path(source)):
                for manifest in read_manifests(file.name, file.read_bytes()):
                    await self._apply(manifest.tree, f"{file.name}:{manifest.line}")
        elif isinstance(source, Resource):
            await self._apply(source.tree, "")
        elif isinstance(source, Mapping):
            await self._apply(dict(source), "")
        else:
            for one in source:
                await self.apply(one)
        self.check()

    async def _apply(self, tree: Tree, where: str) -> None:
        kind = self._declared(tree)
        meta = tree["metadata"]
        namespace = (meta.get("namespace") or NAMESPACE) if kind.namespaced else ""
        tree = {"apiVersion": kind.api_version, "kind": kind.kind, **tree}
        with _as_user("apply", where):
            patch = Patch(APPLY_PATCH, tree)
            await self._client.patch(kind, meta["name"], patch, namespace, field_manager="user", force=True)

    def _declared(self, tree: Tree) -> Kind:
        wanted = tree.get("apiVersion"), tree.get("kind")
        for kind in self.api.stored_kinds():
            if (kind.api_version, kind.kind) == wanted:
                return kind
        raise NotFoundError(f"no kind {wanted[1]} of {wanted[0]} is served; is the app that declares it among the apps?")

    def _files(self, path: Path) -> list[Path]:
        places = [path, *([self._base / path] if self._base is not None else [])]
        found = next((place for place in places if place.exists()), None)
        if found is None:
            raise FileNotFoundError(f"no file or folder {path}; looked in {', '.join(str(p.parent.resolve()) for p in places)}")
        if found.is_dir():
            return sorted(file for file in found.iterdir() if file.suffix in (".yaml", ".yml"))
        return [found]

    async def patch(self, name: str, **changes: Any) -> None:
        """Merge fields into an object: `patch("webapps/shop", spec={"replicas": 5})`. A status alone goes to the status."""
        kind, namespace, plain = parse_name(name, self.api.stored_kinds())
        subresource = "status" if kind.status and set(changes) == {"status"} else ""
        with _as_user("patch"):
            await self._client.patch(
                kind, plain, Patch(MERGE_PATCH, changes), namespace, subresource=subresource, field_manager="user"
            )
        self.check()

    async def delete(self, name: str, *, grace_s: int | None = None) -> None:
        """Delete an object; one that is gone already is fine."""
        kind, namespace, plain = parse_name(name, self.api.stored_kinds())
        with _as_user("delete"):
            try:
                await self._client.delete(kind, plain, namespace, DeleteOptions(grace_s=grace_s))
            except NotFoundError:
                return
        self.check()

    async def walk(self, kind: str, *, steps: int = 8, name: str = "walk", pause_s: float = 5.0) -> None:
        """Create an object and change it `steps` times, to specs drawn from the kind's own schema.

        The same walk in every universe. Specs that the kind's rules refuse are passed over.
        """
        found = kind_called(kind, self.api.stored_kinds())
        named = {"apiVersion": found.api_version, "kind": found.kind, "metadata": {"name": name}}
        self._walks += 1
        refused = 0
        for spec in specs(found.schema, f"{found.resource} {self._walks}", steps):
            try:
                await self._apply({**named, "spec": spec}, "")
            except InvalidError as error:
                refused += 1
                last = error
                continue
            await self.advance(pause_s)
        if refused == steps:
            raise AssertionError(f"every spec that was drawn for {found} was refused, the last one because: {last}")

    async def relive(self, file: str | Path) -> None:
        """Do what people did in an incident that `reconcile incident -o FILE` exported; `pytest --plan FILE` has its faults."""
        from .incident import read_incident, relive

        path = Path(file)
        found = next((p for p in (path, *([self._base / path] if self._base is not None else [])) if p.exists()), path)
        await relive(self, read_incident(found))

    # Time

    async def settled(self, quiet_s: float = QUIET_S, limit_s: float = SETTLE_S_MAX) -> None:
        """Wait until nobody has written for `quiet_s`, every process runs and sees the present, and nothing is to be done.

        Raises:
            LivelockError: somebody never stops writing.
            UnsettledError: it does not come to rest within `limit_s`.
            LawBrokenError: a law did not hold.
        """
        begun_s = busy_s = self.clock.monotonic()
        while True:
            self.check()
            now_s = self.clock.monotonic()
            busy = [process for process in self.processes if not process.idle]
            busy_s = now_s if busy else busy_s
            failing = any(process.failing for process in self.processes) and now_s - begun_s < FAILING_S_MAX
            if not failing and now_s - busy_s >= IDLE_S and now_s - self._last_write_s >= quiet_s:
                self.rests.append(self.state())
                return
            if now_s - begun_s > limit_s:
                raise UnsettledError(self._restless(busy, limit_s))
            await self.clock.sleep(1.0)

    def _restless(self, busy: list[Process], limit_s: float) -> str:
        recent = [h for h in self.mirror.history if h.at_s > self.clock.monotonic() - QUIET_S and self._matters(h)]
        what = f"{recent[-1].key} was written {len(recent)} times in the last {QUIET_S:g} s" if recent else "nothing is written"
        who = f"; at work: {', '.join(process.name for process in busy)}" if busy else ""
        return f"not settled after {limit_s:g} virtual seconds: {what}{who}"

    async def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0) -> None:
        """Let time pass."""
        await self.clock.sleep(seconds + 60 * minutes + 3600 * hours)
        self.check()

    def check(self) -> None:
        """Raise what went wrong meanwhile: a broken law, a livelock."""
        if self.broken is not None:
            raise self.broken

    # Looking

    def list(self, kind: str, namespace: str | None = None) -> list[Tree]:
        """The objects of a kind, by name."""
        found = kind_called(kind, self.api.stored_kinds())
        trees = [tree for _, tree in self.mirror.of(found)]
        return trees if namespace is None else [t for t in trees if t["metadata"].get("namespace") == namespace]

    def find(self, name: str) -> Tree | None:
        """An object, or None."""
        kind, namespace, plain = parse_name(name, self.api.stored_kinds())
        return self.mirror.objects.get(object_name(kind, namespace, plain))

    def get(self, name: str) -> Tree:
        """An object. Raises NotFoundError."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(f"there is no {name}")
        return found

    def owned(self, owner: Tree, kind: str, **status: Any) -> Sequence[Tree]:
        """The objects of a kind that `owner` controls; `phase="Running"` chooses by a field of their status."""
        uid = owner["metadata"]["uid"]
        return [
            tree
            for tree in self.list(kind)
            if any(r.get("controller") and r["uid"] == uid for r in tree["metadata"].get("ownerReferences") or ())
            and all((tree.get("status") or {}).get(field) == value for field, value in status.items())
        ]

    def state(self) -> dict[str, Tree]:
        """Everything there is, without what time and chance make of it: two worlds of the same state are as good."""
        return state_of(self.mirror, self.ignore)

    async def fresh(self, kind: str) -> dict[str, Tree]:
        """The state of another world, in which the present specs of a kind were applied to nothing: the path must not matter."""
        trees = [{k: v for k, v in tree.items() if k != "status"} for tree in self.list(kind)]
        async with World(self.clock, self._apps, self._ground, ignore=self.ignore) as other:
            for tree in trees:
                meta = {k: v for k, v in tree["metadata"].items() if k in ("name", "namespace", "labels")}
                await other.apply({**tree, "metadata": meta})
            await other.settled()
            return other.state()

    def tries(self, app: str, name: str) -> Sequence[int]:
        """When the handlers of an app ran on an object, in seconds after the first run."""
        kind, namespace, plain = parse_name(name, self.api.stored_kinds())
        times = [
            attempt.started_s
            for attempt in self.process(app).attempts
            if attempt.key == (namespace, plain) and attempt.kind.resource == kind.resource
        ]
        return [round(at_s - times[0]) for at_s in times]

    # Faults

    def fault(self, kind: str, *, of: str, write: int = 0, event: int = 0, argument: float | None = None) -> None:
        """Have something go wrong: at the `write`-th write, or the `event`-th event, of an app from now on."""
        nth = write if kind in AT_WRITE else event
        if nth < 1:
            raise ValueError(f"{kind} needs {'write' if kind in AT_WRITE else 'event'}=, counted from 1, from now on")
        parsed: Fault = read_plan(f"{kind}:{of}:{nth}" + (f":{argument:g}" if argument is not None else ""))[0]
        self.process(of).suffer(parsed.kind, nth, parsed.argument)

    def process(self, app: str) -> Process:
        """The process of an app."""
        for process in self.processes:
            if process.name == app:
                return process
        names = ", ".join(process.name for process in self.processes)
        raise ValueError(f"no process is called {app!r}; there are: {names}")

    async def held_back(self, process: Process) -> None:
        """Called before each write of a process: one that never stops is held for ever, so that time goes on."""
        if isinstance(self.broken, LivelockError):
            await asyncio.get_running_loop().create_future()

    # Inside

    def _matters(self, happened: Happened) -> bool:
        plural, before = happened.kind.plural, happened.before
        if plural in UNCOUNTED:
            return False
        ignored = self.ignore.get(plural)
        return not ignored or before is None or happened.type != "MODIFIED" or not same_but_for(ignored, before, happened.tree)

    def _changed(self, happened: Happened) -> None:
        if self._matters(happened):
            self._last_write_s = happened.at_s
        if self.broken is not None:
            return
        for law in self._laws:
            try:
                law(self)
            except Exception as error:  # noqa: BLE001 - whatever a law raises is its verdict
                self.broken = LawBrokenError(law.__name__, happened, error)
                return
        if len(self.mirror.history) > self._writes_max:
            self.broken = LivelockError(self._who_never_stops())

    def _who_never_stops(self) -> str:
        most = max(self.processes, key=lambda process: process.writes)
        objects = Counter(h.key for h in self.mirror.history if h.kind.plural not in UNCOUNTED)
        what = ", ".join(f"{key} {count} times" for key, count in objects.most_common(2))
        return f"{most.name} never stops writing: {most.writes} writes so far ({what})"


@contextmanager
def _as_user(reason: str, source: str = "") -> Iterator[None]:
    """Within it, writes are a user's."""
    token = TRIGGER.set(Trigger("user", reason=reason, source=source))
    try:
        yield
    finally:
        TRIGGER.reset(token)
