"""Applies manifests with server-side apply, and remembers what came from the folder so that it can be pruned.

The memory survives a restart because it is on the objects: a label names the folder, an annotation the file.
"""

from __future__ import annotations

import hashlib
import logging
import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import orjson

from reconcile.causality import TRIGGER, Trigger
from reconcile.client import APPLY_PATCH, Client, DeleteOptions, Patch
from reconcile.clock import Clock, timestamp
from reconcile.conversion import versions_of
from reconcile.errors import ApiError, Cause, NotFoundError, Tree
from reconcile.kinds import Kind

from .manifests import Manifest
from .problems import Problem

log = logging.getLogger(__name__)

FIELD_MANAGER = "sync"
FOLDER_LABEL = "reconcile.dev/folder"
SOURCE_ANNOTATION = "reconcile.dev/source"
_KINDS_LATE_S = 0.3
SOURCE_DIR_ANNOTATION = "reconcile.dev/source-dir"


@attrs.frozen
class ObjectKey:
    """Names an object whatever version it is read in."""

    group: str
    kind: str
    namespace: str
    name: str


@attrs.define
class Applied:
    """What is known of one object of the folder: its kind, its file, and the digest of what was last applied."""

    kind: Kind
    file: str
    digest: str = ""


class Applier:
    """Brings manifests to the cluster and takes back what left the folder."""

    def __init__(self, client: Client, root: Path, folder: str, told: Callable[[str], None]) -> None:
        self._client, self._root, self._folder, self._told = client, root, folder, told
        self._applied: dict[ObjectKey, Applied] = {}
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._versions: dict[tuple[str, str], Kind] = {}
        self._inventoried: set[tuple[str, str]] = set()
        self._changes = 0

    async def apply(self, desired: list[Manifest], problems: list[Problem], clock: Clock) -> bool:
        """Apply what changed; refusals become problems. Returns whether any may succeed later without a change."""
        await self._learn_kinds()
        problems_before, changes_before = len(problems), self._changes
        unserved = await self._apply_served(desired, problems)
        if unserved and self._changes > changes_before:
            unserved = await self._apply_late(unserved, problems, clock)
        problems.extend(self._unknown_kind(manifest) for manifest in unserved)
        return len(problems) > problems_before

    def missing(self, desired: list[Manifest]) -> dict[ObjectKey, str]:
        """What came from the folder and is no longer declared: key -> file it came from."""
        wanted = {self._key(kind, manifest) for manifest in desired if (kind := self._kind_of(manifest)) is not None}
        return {key: applied.file for key, applied in self._applied.items() if key not in wanted}

    async def delete(self, key: ObjectKey) -> None:
        """Delete an object of the folder; its dependents go with it."""
        applied = self._applied[key]
        try:
            with _from_file("file gone", applied.file):
                await self._client.delete(applied.kind, key.name, key.namespace, DeleteOptions(propagation="Background"))
        except NotFoundError:
            del self._applied[key]
            return
        del self._applied[key]
        self._told(f"deleted {key.kind} {key.name} (left {applied.file})")

    async def warn(self, problem: Problem, clock: Clock) -> None:
        """Tell a problem as an Event too, if Events are served. The same problem is one Event, counted."""
        kind = self._kinds.get(("v1", "Event"))
        if kind is None:
            return
        name = "sync." + hashlib.blake2b(f"{problem}".encode(), digest_size=8).hexdigest()
        at = timestamp(clock.now())
        event: Tree = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"apiVersion": "reconcile.dev/v1alpha1", "kind": "Folder", "name": self._folder},
            "type": "Warning", "reason": "InvalidSource", "message": str(problem)[:1024], "count": 1,
            "firstTimestamp": at, "lastTimestamp": at, "source": {"component": FIELD_MANAGER},
        }  # fmt: skip
        try:
            await self._client.patch(
                kind, name, Patch(APPLY_PATCH, event), "default", field_manager=FIELD_MANAGER, force=True
            )  # fmt: skip
        except ApiError as error:
            log.warning("event not written", extra={"object": name, "error": str(error)})

    async def _apply_served(self, manifests: list[Manifest], problems: list[Problem]) -> list[Manifest]:
        """Apply all but those of kinds that are not served, which are returned."""
        unserved = []
        # Cluster-scoped kinds (a Namespace) first: namespaced ones may live in them.
        for manifest in sorted(manifests, key=lambda m: self._is_namespaced(m)):
            kind = self._kind_of(manifest)
            if kind is None:
                unserved.append(manifest)
                continue
            try:
                await self._apply_one(kind, manifest)
            except NotFoundError as error:
                if error.details:
                    problems.append(refusal(manifest, error))
                else:
                    unserved.append(manifest)  # the kind went meanwhile, or has no such version
            except ApiError as error:
                problems.append(refusal(manifest, error))
        return unserved

    async def _apply_late(self, unserved: list[Manifest], problems: list[Problem], clock: Clock) -> list[Manifest]:
        """What was just applied may declare the kinds of the rest, which are served a moment later: give them that moment."""
        ends_s = clock.monotonic() + _KINDS_LATE_S
        while unserved and clock.monotonic() < ends_s:
            await clock.sleep(_KINDS_LATE_S / 10)
            await self._learn_kinds()
            unserved = await self._apply_served(unserved, problems)
        return unserved

    async def _apply_one(self, kind: Kind, manifest: Manifest) -> None:
        key = self._key(kind, manifest)
        tree = self._marked(kind, manifest, key.namespace)
        fingerprint = hashlib.blake2b(orjson.dumps(tree), digest_size=12).hexdigest()
        known = self._applied.get(key)
        if known is not None and known.digest == fingerprint:
            return
        with _from_file("file", f"{manifest.file}:{manifest.line}"):
            await self._client.patch(
                kind, manifest.name, Patch(APPLY_PATCH, tree), key.namespace, field_manager=FIELD_MANAGER, force=True, strict=True
            )
        self._applied[key] = Applied(kind, manifest.file, fingerprint)
        self._changes += 1
        self._told(f"applied {manifest.title} ({manifest.file}:{manifest.line})")

    def _marked(self, kind: Kind, manifest: Manifest, namespace: str) -> Tree:
        """The manifest with the folder's label and its source; pod templates learn the folder they run in."""
        metadata = dict(manifest.tree["metadata"])
        labels, annotations = metadata.get("labels"), metadata.get("annotations")
        if not isinstance(labels, dict | None) or not isinstance(annotations, dict | None):
            return manifest.tree  # the server says what is wrong with it
        metadata["labels"] = {**(labels or {}), FOLDER_LABEL: self._folder}
        metadata["annotations"] = {**(annotations or {}), SOURCE_ANNOTATION: f"{manifest.file}:{manifest.line}"}
        if kind.namespaced:
            metadata["namespace"] = namespace
        source_dir = str(self._root / posixpath.dirname(manifest.file))
        return _with_source_dir({**manifest.tree, "metadata": metadata}, source_dir)

    async def _learn_kinds(self) -> None:
        served = await self._client.kinds()
        kinds = {(kind.api_version, kind.kind): kind for kind in served}
        if kinds != self._kinds:
            self._kinds = kinds
            self._versions.clear()
        for kind in served:
            if (kind.group, kind.kind) not in self._inventoried:
                self._inventoried.add((kind.group, kind.kind))
                await self._inventory(kind)

    async def _inventory(self, kind: Kind) -> None:
        """What an earlier run applied from this folder: what has its label because it was copied is somebody else's."""
        page = await self._client.list(kind, labels=f"{FOLDER_LABEL}={self._folder}")
        for tree in page.items:
            metadata = tree["metadata"]
            file = metadata.get("annotations", {}).get(SOURCE_ANNOTATION, "").rpartition(":")[0]
            key = ObjectKey(kind.group, kind.kind, metadata.get("namespace", ""), metadata["name"])
            applied = any(
                entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
                for entry in metadata.get("managedFields") or ()
            )
            if applied and not any(reference.get("controller") for reference in metadata.get("ownerReferences", ())):
                self._applied.setdefault(key, Applied(kind, file))

    def _kind_of(self, manifest: Manifest) -> Kind | None:
        name = (manifest.api_version, manifest.kind)
        return self._kinds.get(name) or self._versions.get(name) or self._in_other_version(*name)

    def _in_other_version(self, api_version: str, kind: str) -> Kind | None:
        """A version of a known kind that is not the preferred one. Of a kind that data declares, the server says whether it is
        served; of a class, whether there is one that conversions join it with.
        """
        group, _, version = api_version.rpartition("/")
        known = next((k for k in self._kinds.values() if (k.group, k.kind) == (group, kind)), None)
        if known is None:
            return None
        if known.cls is not None and all(cls.__kind__.version != version for cls in versions_of(known.cls)):
            return None
        made = self._versions[api_version, kind] = attrs.evolve(known, version=version)
        return made

    def _is_namespaced(self, manifest: Manifest) -> bool:
        kind = self._kind_of(manifest)
        return kind is None or kind.namespaced

    def _key(self, kind: Kind, manifest: Manifest) -> ObjectKey:
        namespace = (manifest.namespace or "default") if kind.namespaced else ""
        return ObjectKey(kind.group, kind.kind, namespace, manifest.name)

    def _unknown_kind(self, manifest: Manifest) -> Problem:
        """Nobody serves it: name what comes nearest."""
        line, column = manifest.position("kind")
        versions = sorted(version for version, name in self._kinds if name == manifest.kind)
        hint = "drop the .py file that declares it into the folder, or see `reconcile api-resources`"
        if versions:
            hint = f"{manifest.kind} is served as {', '.join(versions)}"
        else:
            import difflib  # only for the error

            near = difflib.get_close_matches(manifest.kind, {name for _, name in self._kinds}, n=1)
            hint = f"did you mean {near[0]}?" if near else hint
        return Problem(
            manifest.file,
            line,
            column,
            f"{manifest.title}: the kind {manifest.kind} of {manifest.api_version} is not served",
            hint,
        )


_WRONG_TYPE = re.compile(r"cannot unmarshal .* into Go struct field \w+\.(\S+) of type (\S+)")
_WRONG_TYPE_CUSTOM = re.compile(r"(\S+) in body must be of type (\w+)")
_UNKNOWN = re.compile(r'unknown field "([^"]+)"')
_INDEX = re.compile(r"\[[^\]]*\]")
_GIVE = {
    "int": "a whole number", "int32": "a whole number", "int64": "a whole number", "float64": "a number", "bool": "true or false",
    "string": "text (put it in quotes)", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "array": "a list", "slice": "a list",
}  # fmt: skip


@contextmanager
def _from_file(reason: str, source: str) -> Iterator[None]:
    """Within it, what is written is written for a file."""
    token = TRIGGER.set(Trigger(FIELD_MANAGER, reason=reason, source=source))
    try:
        yield
    finally:
        TRIGGER.reset(token)


def refusal(manifest: Manifest, error: ApiError) -> Problem:
    """What the server refused, at the line of the field that it names, in words for people."""
    causes = error.causes or (Cause("", error.message),)
    path = causes[0].field
    told = "; ".join(f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes)
    hint = "the last good state stays"
    unknown = _UNKNOWN.findall(told) or [cause.field for cause in causes if cause.reason == "FieldNotDeclared"]
    if wrong := _WRONG_TYPE.search(error.message) or _WRONG_TYPE_CUSTOM.search(told):
        # Go's sentence has no indexes; the cause beside it does.
        path, type_ = path or wrong[1], wrong[2]
        give = "a list" if type_.startswith("[]") else _GIVE.get(type_, "a mapping")
        told, hint = f"{path} is {manifest.value(path)!r}", f"give {give}; {hint}"
    elif unknown:
        path = unknown[0]
        told = f"unknown field{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}"
        parent = _INDEX.sub("", path).rpartition(".")[0]
        hint = f"see `reconcile explain {'.'.join(part for part in (manifest.kind.lower(), parent) if part)}`; {hint}"
    elif isinstance(error, NotFoundError) and "namespace" in error.message:
        hint = "add a Namespace manifest; it is tried again until then"
    line, column = manifest.position(path, of_key=bool(unknown)) if path else (manifest.line, 1)
    return Problem(manifest.file, line, column, f"{manifest.title}: {told}", hint)


def _with_source_dir(tree: Tree, source_dir: str) -> Tree:
    """Annotate whatever runs containers, at any depth of `template`, so that relative commands find their folder."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return tree
    if isinstance(spec.get("containers"), list):
        metadata = tree.get("metadata") if isinstance(tree.get("metadata"), dict) else {}
        assert metadata is not None
        annotations = {SOURCE_DIR_ANNOTATION: source_dir, **(metadata.get("annotations") or {})}
        return {**tree, "metadata": {**metadata, "annotations": annotations}}
    for name in ("template", "jobTemplate"):
        if isinstance(spec.get(name), dict):
            return {**tree, "spec": {**spec, name: _with_source_dir(spec[name], source_dir)}}
    return tree
