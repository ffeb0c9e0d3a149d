"""Keeps a cluster as a folder says: scan, read, apply, prune, tell.

One pass does it all and is cheap when nothing changed; a pass runs when the watcher saw something, when a retry is due, and
now and then in any case. What a file declares is applied when the file changes (and once at start): a later `scale` by hand
holds until then, as with `kubectl apply`.

Removal is slow on purpose: an object is deleted only when its declaration has been missing for `settle_s`, because editors
and `git checkout` make files vanish for a moment; and nothing is deleted when everything vanishes at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import attrs

from reconcile.client import Client
from reconcile.clock import Clock
from reconcile.errors import AlreadyExistsError, ApiError, Tree
from reconcile.kinds import Resource

from . import files
from .applier import FIELD_MANAGER, Applier, ObjectKey
from .folder_kind import Folder
from .manifests import Manifest, read_manifests
from .problems import Problem, SourceError
from .programs import Failure, Program, ProgramHost, failure_problem, is_program, load_program, program_problem

log = logging.getLogger(__name__)


@attrs.frozen
class SyncSettings:
    """Times in seconds. `allow_empty` lifts the cap on everything vanishing at once.

    `failing_s` is how soon it is looked again whether a handler that failed has succeeded.
    """

    settle_s: float = 0.3
    retry_s_first: float = 0.2
    retry_s_max: float = 5.0
    rescan_s: float = 30.0
    failing_s: float = 1.0
    allow_empty: bool = False


@attrs.define
class Source:
    """One file: its last good content, and what is wrong with the present one."""

    stamp: files.Stamp
    manifests: list[Manifest] = attrs.field(factory=list)
    problem: Problem | None = None


class FolderSync:
    """Watches `root` and keeps the cluster behind `client` as it says.

    `changes` yields once for each burst of file changes (see `watcher`); `told` hears one line for each thing done.
    `failing` are the handlers that fail now: those of the folder's programs are problems of their files (see `poke`).
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        root: Path,
        *,
        name: str,
        host: ProgramHost,
        changes: Callable[[], AsyncIterator[None]],
        failing: Callable[[], Iterable[Failure]] = tuple,
        settings: SyncSettings = SyncSettings(),
        told: Callable[[str], None] = log.info,
    ) -> None:
        self._client, self._clock, self._root, self._host = client, clock, root, host
        self._changes, self._settings, self._told, self._failing = changes, settings, told, failing
        self._applier = Applier(client, root, name, told)
        self._name = name
        self._sources: dict[str, Source] = {}
        self._programs: dict[str, Program] = {}
        self._missing_since: dict[ObjectKey, float] = {}
        self._held: set[ObjectKey] = set()
        self._wake = asyncio.Event()
        self._written: Tree | None = None
        self._retry_s = settings.retry_s_first
        self._refusal = ""
        self.problems: tuple[Problem, ...] = ()
        self.synced = asyncio.Event()
        """Set when the first pass is through."""

    async def run(self) -> None:
        """Sync until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="folder watcher")
            while True:
                self._wake.clear()
                due_s = await self._try_sync()
                try:
                    async with asyncio.timeout(due_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _try_sync(self) -> float:
        """One pass; one that the API would not take to its end (a full disk, say) is made again soon, and ends nothing."""
        try:
            due_s = await self.sync()
        except ApiError as error:
            if str(error) != self._refusal:
                self._refusal = str(error)
                self._told(f"problem the folder cannot be synced now: {error}; it is tried again")
            return self._next_due(True, None)
        self._refusal = ""
        self.synced.set()
        return due_s

    def poke(self) -> None:
        """Look again soon: something outside the folder changed what is to be told of it."""
        self._wake.set()

    async def stop(self) -> None:
        """Stop the operators of the folder's programs."""
        for name in list(self._programs):
            await self._stop_program(name)

    async def _listen(self) -> None:
        async for _ in self._changes():
            self._wake.set()

    async def sync(self) -> float:
        """One pass. Returns after how many seconds the next is due if nothing changes before."""
        seen = files.scan(self._root)
        problems = list(seen.problems)
        if not seen.present:
            problems.append(
                Problem(".", message=f"the folder {self._root} is gone", hint="its objects are kept; put it back, or stop `up`")
            )
        else:
            await self._read_changed(seen)
        desired = self._desired(problems)
        refused = await self._applier.apply(desired, problems, self._clock)
        removal_due_s = await self._prune(desired, seen, problems)
        problems.extend(source.problem for source in self._sources.values() if source.problem)
        failures = {failure_problem(self._root, failure) for failure in self._failing()}
        await self._tell(problems, failures, len(desired))
        due_s = self._next_due(refused, removal_due_s)
        return min(due_s, self._settings.failing_s) if failures else due_s

    def _next_due(self, refused: bool, removal_due_s: float | None) -> float:
        if refused:
            due_s, self._retry_s = self._retry_s, min(self._retry_s * 2, self._settings.retry_s_max)
        else:
            due_s, self._retry_s = self._settings.rescan_s, self._settings.retry_s_first
        return due_s if removal_due_s is None else min(due_s, removal_due_s)

    async def _read_changed(self, seen: files.Scan) -> None:
        for name in [name for name in self._sources if name not in seen.files and not seen.hides(name)]:
            del self._sources[name]
            if name in self._programs:
                await self._unload(name)
        changed = [name for name, stamp in seen.files.items() if name not in self._sources or self._sources[name].stamp != stamp]
        # Programs come first: a manifest beside them may be of a kind that they declare.
        for name in sorted(changed, key=lambda n: (not n.endswith(files.PROGRAMS), n)):
            source = self._sources.setdefault(name, Source(seen.files[name]))
            source.stamp = seen.files[name]
            try:
                data = files.read(self._root, name)
                if name.endswith(files.PROGRAMS):
                    await self._load(name, data)
                elif data.strip() or not source.manifests:
                    # An empty file that held objects is most often one that is being written: it keeps its last content
                    # until it has some again, or is deleted.
                    source.manifests = read_manifests(name, data)
                source.problem = None
            except SourceError as error:
                source.problem = error.problem
            except OSError as error:
                source.problem = Problem(name, message=f"cannot be read: {error.strerror}", hint="check its permissions")

    async def _load(self, name: str, data: bytes) -> None:
        if not is_program(data):
            if name in self._programs:
                await self._unload(name)
            return
        program = load_program(self._root, name, data)
        did = "loaded"
        if name in self._programs:
            did = "reloaded"
            await self._stop_program(name)
        for operator in program.operators:
            try:
                await self._host.start_operator(operator)
            except Exception as error:
                for started in program.operators[: program.operators.index(operator)]:
                    await self._host.stop_operator(started)
                problem = program_problem(name, str(self._root / name), error)
                raise SourceError(attrs.evolve(problem, hint="it does not run; save the file again when it is mended")) from error
        if program.operators:
            self._programs[name] = program
            kinds = ", ".join(cls.__kind__.kind for op in program.operators for cls in op.kinds if cls is not Resource)
            self._told(f"{did} {name}" + (f" ({kinds})" if kinds else ""))

    async def _unload(self, name: str) -> None:
        await self._stop_program(name)
        self._told(f"unloaded {name}")

    async def _stop_program(self, name: str) -> None:
        for operator in self._programs.pop(name).operators:
            await self._host.stop_operator(operator)

    def _desired(self, problems: list[Problem]) -> list[Manifest]:
        """What the files declare, each object once."""
        first: dict[tuple[str, str, str, str], Manifest] = {}
        for name in sorted(self._sources):
            for manifest in self._sources[name].manifests:
                group = manifest.api_version.rpartition("/")[0]
                key = (group, manifest.kind, manifest.namespace or "default", manifest.name)
                if key in first:
                    other = first[key]
                    problems.append(
                        Problem(
                            name,
                            manifest.line,
                            1,
                            f"{manifest.title} is declared twice, first in {other.file}:{other.line}",
                            "remove one; the first is in force",
                        )
                    )
                else:
                    first[key] = manifest
        return list(first.values())

    async def _prune(self, desired: list[Manifest], seen: files.Scan, problems: list[Problem]) -> float | None:
        """Delete what left the folder. Returns seconds until the next removal is due, if one is pending."""
        unknown = {name for name, source in self._sources.items() if source.problem}
        missing = self._applier.missing(desired)
        missing = {key: file for key, file in missing.items() if file not in unknown and not seen.hides(file)}
        now = self._clock.monotonic()
        self._missing_since = {key: self._missing_since.get(key, now) for key in missing}
        vanished = not seen.present or (not desired and len(set(missing.values())) > 1)
        self._held = set(missing) if vanished and not self._settings.allow_empty else set()
        due = [
            key for key, since in self._missing_since.items() if key not in self._held and now - since >= self._settings.settle_s
        ]
        for key in due:
            try:
                await self._applier.delete(key)
                del self._missing_since[key]
            except ApiError as error:
                said = f"{key.kind} {key.name}, which left it, cannot be deleted: {error}"
                problems.append(Problem(missing[key], message=said, hint="it is tried again"))
                self._missing_since[key] = now + self._settings.retry_s_max
        waiting = [since for key, since in self._missing_since.items() if key not in self._held]
        return max(0.01, min(waiting) + self._settings.settle_s - now) if waiting else None

    async def _tell(self, problems: list[Problem], failures: set[Problem], objects: int) -> None:
        """Write the Folder object's status where it changed, and say what is new.

        Failures of handlers are in the status only: the engine has told of them when they happened.
        """
        if self._held:
            problems.append(
                Problem(
                    ".",
                    message=f"everything vanished from the folder at once: {len(self._held)} objects are kept",
                    hint="put the files back, or run `reconcile up --allow-empty` to delete the objects",
                )
            )
        now_known = tuple(sorted({*problems, *failures}))
        for problem in now_known:
            if problem not in self.problems and problem not in failures:
                self._told(f"problem {problem}")
                await self._applier.warn(problem, self._clock)
        self.problems = now_known
        status: Tree = {
            "files": len(self._sources), "objects": objects, "programs": len(self._programs), "held": len(self._held),
            "problems": [problem.tree() for problem in now_known],
        }  # fmt: skip
        if status != self._written:
            await write_folder(self._client, self._name, self._root, status)
            self._written = status


async def write_folder(client: Client, name: str, root: Path, status: Tree) -> None:
    """Make the Folder object say `status`."""
    kind = Folder.__kind__
    base: Tree = {
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": {"path": str(root)},
    }  # fmt: skip
    try:
        tree = await client.create(kind, base, field_manager=FIELD_MANAGER)
    except AlreadyExistsError:
        tree = await client.get(kind, name)
    if tree["spec"] != base["spec"]:
        tree = await client.update(kind, {**tree, "spec": base["spec"]}, field_manager=FIELD_MANAGER)
    metadata = {key: value for key, value in tree["metadata"].items() if key != "resourceVersion"}
    await client.update(kind, {**tree, "metadata": metadata, "status": status}, subresource="status", field_manager=FIELD_MANAGER)
