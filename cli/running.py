"""One run of `up`: the control plane, the folder sync and the kubelet together, and what is seen of them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from reconcile.clock import timestamp
from reconcile.errors import NotFoundError, ReconcileError
from reconcile.kinds import Kind
from reconcile.resources.services import first_address
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.cluster import KEPT, ControlPlane, ListenSettings
from reconcile.runtime.engine.reports import Report
from reconcile.runtime.network import LoopbackNetwork, claim_network
from reconcile.runtime.store import HistoryKeep, Store, StoreLockedError
from reconcile.runtime.sync import Folder

from .assembly import EVERYTHING, Assembly, assemble
from .backing import EtcdBacking, refuse_embedded
from .choosing import Choice
from .errors import CommandError
from .locate import take
from .scene import ROLLED_OUT, PodRow, Scene, pod_row

if TYPE_CHECKING:
    from reconcile.runtime.store.etcd import EtcdSettings
    from reconcile.runtime.sync import FolderSync

_SHOWN = (*ROLLED_OUT, "Pod", "Service", "EndpointSlice", "Folder", "Event")
RUN_FILE = "up.json"
ETCD_FILE = "etcd.address"
"""Where the store is served as an etcd, while it is."""
_REPORTED_MAX = 1000


@attrs.frozen
class UpSettings:
    """What the command line of `up` says."""

    folder: Path
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    token_file: Path | None = None
    keep: bool = False
    allow_empty: bool = False
    simulated_nodes: int = 0
    images: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    """What the kubelet runs for an image, where a container names no command."""
    etcd_listen: str = ""
    etcd: EtcdSettings | None = None
    """How the store is served as an etcd; None: it is not."""
    history: HistoryKeep = KEPT
    store: str = ""
    """The address of an etcd cluster; empty: the embedded store."""
    choice: Choice = EVERYTHING


class Session:
    """A running `up`. Use as an async context manager; `changed` is set whenever there is something new to show."""

    def __init__(self, settings: UpSettings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.scene = Scene()
        self.changed = asyncio.Event()
        self.told: Callable[[str], None] = lambda text: None  # noqa: ARG005 - set by whoever shows
        self.url = ""
        self.farewell: list[str] = []
        self._began = self.clock.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._network: LoopbackNetwork | None = None
        self._assembly: Assembly | None = None
        self._plane: ControlPlane | None = None
        self._sync: FolderSync | None = None
        self._kinds: dict[str, Kind] = {}
        self._reported: set[tuple[str, str, str]] = set()
        self._lock: int | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock.monotonic() - self._began

    @property
    def ready(self) -> bool:
        """Whether everything the folder asks for runs."""
        synced = self._sync is not None and self._sync.synced.is_set()
        return synced and self.scene.ready(all(pod.well for pod in self.pods()))

    def unready(self) -> list[str]:
        """What is not ready, a line each."""
        lines = [
            f"  {r.title}: {r.available}/{r.wanted} {r.word} {r.stuck}".rstrip() for r in self.scene.rollouts() if not r.done
        ]
        lines += [f"  pod/{pod.name}: {pod.status} {pod.message}".rstrip() for pod in self.pods() if not pod.well]
        lines += [f"  {problem['file']}: {problem['message']}" for problem in self.scene.problems()]
        return lines or [f"  {self.settings.folder} is still being applied for the first time"]

    def pods(self) -> list[PodRow]:
        """All pods as rows."""
        kind = self._kinds.get("Pod")
        if kind is None:
            return []
        now = self.clock.now()
        cells = {column.name: column.cell for column in kind.columns if column.cell is not None}
        return [
            pod_row(tree, [tree["metadata"]["name"], *(cells[name](tree, now) for name in ("Ready", "Status", "Restarts"))])
            for tree in self.scene.of("Pod")
        ]

    async def failure(self) -> str:
        """Wait until a part of the control plane fails for good; says what."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        task = done.pop()
        error = task.exception() if not task.cancelled() else None
        return f"{task.get_name()} ended: {_reason(error)}"

    async def __aenter__(self) -> Self:
        settings = self.settings
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = take(settings.data_dir)
            if self._lock is not None:
                # What a killed one left; `down` must not signal a process that has its number by now.
                (settings.data_dir / RUN_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise CommandError(
                f"the state folder {settings.data_dir} cannot be used: {error.strerror}; name another one with --data-dir"
            ) from error
        if self._lock is None:
            raise _already_runs(settings.data_dir)
        try:
            self._network = claim_network(settings.data_dir)
            self._assembly = assemble(
                settings.data_dir, self.clock, self._network.service_cidr, self._network.pod_cidr,
                settings.simulated_nodes, settings.images, settings.choice,
            )  # fmt: skip
            backing = self._backing()
            names = (first_address(self._network.service_cidr),)
            plane = ControlPlane(
                settings.data_dir, self.clock, self._assembly.parts,
                http=ListenSettings(settings.host, settings.port, settings.token_file, names),
                store=backing.opened if backing is not None else None, history=settings.history,
            )  # fmt: skip
            await plane.start()  # which stops what it started, should it fail
            self._plane = plane
            if backing is not None:
                self._tasks.append(asyncio.create_task(backing.keep(), name="claim on the store"))
            self._note_address(await plane.listening())
            await plane.start_controllers()
            # Where two groups have a kind of one name, as Event, the first is meant.
            self._kinds = {kind.kind: kind for kind in reversed(self._plane.api.kinds())}
            self._start_sync(self._plane, await self._folder_name(self._plane))
            for name in _SHOWN:
                self._tasks.append(asyncio.create_task(self._follow(name), name=f"view of {name}"))
            if settings.etcd is not None:
                self._tasks.append(asyncio.create_task(self._serve_etcd(settings.etcd), name="etcd server"))
            self._plane.engine.reports.follow(self._report)
        except StoreLockedError as error:
            await self._close()
            raise _already_runs(settings.data_dir) from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    def _backing(self) -> EtcdBacking | None:
        settings = self.settings
        if settings.store:
            return EtcdBacking(settings.store, settings.data_dir, settings.folder, self.clock)
        refuse_embedded(settings.data_dir)
        return None

    async def _folder_name(self, plane: ControlPlane) -> str:
        """The name of the Folder object: the folder's, unless another folder of that name lives in this state folder."""
        folder = self.settings.folder
        name = folder_object_name(folder)
        try:
            tree = await plane.client.get(Folder.__kind__, name)
        except NotFoundError:
            return name
        before = Path(tree["spec"]["path"])
        # One that is not there any more was moved here, most likely, and its objects come with it.
        return name if before == folder or not before.is_dir() else _with_digest(name, str(folder))

    def _start_sync(self, plane: ControlPlane, name: str) -> None:
        # Loaded after the API answers: it reads YAML.
        from reconcile.runtime.sync import FolderSync, SyncSettings
        from reconcile.runtime.sync.watcher import folder_changes

        settings = self.settings
        self._sync = FolderSync(
            plane.client, self.clock, settings.folder, name=name, host=plane,
            changes=folder_changes(settings.folder, self.clock), told=self._tell,
            failing=lambda: plane.engine.reports.failing,
            settings=SyncSettings(allow_empty=settings.allow_empty),
        )  # fmt: skip
        self._tasks.append(asyncio.create_task(self._sync.run(), name="folder sync"))

    def _tell(self, line: str) -> None:
        self.told(line)
        self.changed.set()

    async def _follow(self, name: str) -> None:
        """Keep one kind's objects in the scene."""
        assert self._plane is not None
        kind = self._kinds.get(name) or next((k for k in self._plane.api.kinds() if k.kind == name), None)
        assert kind is not None, f"{name} is not served"
        initial = True
        async for event in self._plane.client.watch(kind, initial=True):
            if event.type == "BOOKMARK":
                initial = initial and not event.initial_end
                continue
            said = self.scene.drop(name, event.object) if event.type == "DELETED" else self.scene.put(name, event.object)
            if said and not initial:
                self.told(said)
            self.changed.set()

    def _note_address(self, url: str) -> None:
        """Tell other commands of this folder where the API answers."""
        self.url = url
        off = self.settings.choice.off()
        run = {
            "pid": os.getpid(), "url": url, "folder": str(self.settings.folder), "started": timestamp(self.clock.now()),
            "off": off,
        }  # fmt: skip
        if off:
            self._tell(f"without {', '.join(off)}, as asked")
        (self.settings.data_dir / RUN_FILE).write_text(json.dumps(run))
        self.changed.set()

    async def _serve_etcd(self, settings: EtcdSettings) -> None:
        """Serve the store as an etcd, beside the API."""
        from reconcile.runtime.store.etcd import EtcdServer

        assert self._plane is not None
        store = self._plane.store
        assert isinstance(store, Store), "`up` refuses --etcd-listen with --store"
        server = await EtcdServer.serve(store, self.clock, self.settings.etcd_listen, settings)
        try:
            (self.settings.data_dir / ETCD_FILE).write_text(server.address)
            self._tell(f"etcd    {server.address} serves the store")
            await asyncio.Event().wait()
        finally:
            await server.close()
            (self.settings.data_dir / ETCD_FILE).unlink(missing_ok=True)

    def _report(self, report: Report) -> None:
        """Tell what a handler raised: with its traceback the first time; the folder's status keeps it until it succeeds."""
        words = (report.handler, report.object, report.message)
        if words not in self._reported:
            if len(self._reported) >= _REPORTED_MAX:
                self._reported.clear()
            self._reported.add(words)
            self._tell(f"problem {report}\n{report.traceback.rstrip()}")
        if self._sync is not None:
            self._sync.poke()

    async def _close(self) -> None:
        """Stop in order: no new work, then the processes (unless kept), then the store; a step that fails skips no other."""
        async with contextlib.AsyncExitStack() as steps:  # which takes them from the last to the first
            steps.callback(self._let_go)
            if self._plane is not None:
                steps.push_async_callback(self._plane.stop)
            if self._assembly is not None and self._plane is not None:
                steps.push_async_callback(self._stop_pods, self._assembly, self._plane)
            if self._sync is not None:
                steps.push_async_callback(self._sync.stop)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks.clear()

    async def _stop_pods(self, assembly: Assembly, plane: ControlPlane) -> None:
        self.farewell += await assembly.stop(plane, keep=self.settings.keep)

    def _let_go(self) -> None:
        """Give back what only one control plane may have."""
        if self._network is not None:
            self._network.release()
        (self.settings.data_dir / RUN_FILE).unlink(missing_ok=True)
        self._network = self._assembly = self._plane = self._sync = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def folder_object_name(folder: Path) -> str:
    """A folder's name as an object may have it; one that has to be changed much gets a digest, so that no two become one."""
    plain = folder.name.lower().replace("_", "-")
    if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", plain):
        return plain
    return _with_digest(re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "folder", folder.name)


def _with_digest(name: str, text: str) -> str:
    digest = hashlib.blake2b(os.fsencode(text), digest_size=4).hexdigest()
    return f"{name[:54].rstrip('-')}-{digest}"


def _reason(error: BaseException | None) -> str:
    """Why a part ended, for a person."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, ReconcileError) else repr(error)


def _already_runs(data_dir: Path) -> CommandError:
    return CommandError(f"a control plane already runs on {data_dir}: see `reconcile status`, stop it with `reconcile down`")
