"""A pod's volumes on disk: emptyDir, hostPath, configMap, secret, downwardAPI, projected (with service account tokens).

Each lies in `<pod folder>/volumes/<name>`; those with content from the API are written by `atomic`, so that a running
container sees a change as one. It leaves how containers reach them to `mounts`.

Source: pkg/volume/{emptydir,hostpath,configmap,secret,downwardapi,projected}
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from reconcile.errors import ApiError, Tree

from .atomic import Projection, write_atomically
from .environment import SourceKind, Sources, values_of
from .errors import PodConfigError
from .fields import container_named, field_value, resource_value
from .tokens import PodTokens

_MODE = 0o644
_SUPPORTED = "emptyDir, hostPath, configMap, secret, downwardAPI, projected and persistentVolumeClaim"


class PodVolumes:
    """The volumes of one pod."""

    def __init__(self, folder: Path, sources: Sources, version: Callable[[], str], now_s: Callable[[], float]) -> None:
        """`version` names each new state of a volume's files; no two may be equal."""
        self._folder, self._sources, self._version = folder, sources, version
        self.paths: dict[str, Path] = {}
        self._tokens = PodTokens(sources, now_s)

    @property
    def due_at(self) -> float | None:
        """When a token in them has to be renewed."""
        return self._tokens.due_at

    async def prepare(self, pod: Tree, addresses: Mapping[str, str], allocatable: Mapping[str, str]) -> bool:
        """Make every volume, or bring those with content from the API up to date; returns whether files changed.

        Raises:
            PodConfigError: a source is missing, a host path is not what its type asks, or a kind is not supported.
        """
        changed = False
        for volume in pod["spec"].get("volumes") or ():
            name = volume["name"]
            path = self._folder / "volumes" / name
            if "hostPath" in volume:
                path = _host_path(name, volume["hostPath"])
            elif "persistentVolumeClaim" in volume:
                path = await self._claimed(pod, volume)
            elif any(kind in volume for kind in ("configMap", "secret", "downwardAPI", "projected")):
                files = await self._content(pod, volume, addresses, allocatable)
                changed = write_atomically(path, files, self._version()) or changed
            elif "emptyDir" in volume or len(volume) == 1:
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(0o777)
            else:
                kind = next(key for key in volume if key != "name")
                raise _failed(name, f"this node cannot provide a {kind} volume; it has {_SUPPORTED}")
            self.paths[name] = path
        return changed

    async def _claimed(self, pod: Tree, volume: Tree) -> Path:
        name = volume["persistentVolumeClaim"].get("claimName", "")
        path, why = await self._sources.claimed(pod["metadata"]["namespace"], name)
        if path is None:
            raise _failed(volume["name"], why)
        path.mkdir(parents=True, exist_ok=True)
        return path

    async def _content(
        self, pod: Tree, volume: Tree, addresses: Mapping[str, str], allocatable: Mapping[str, str]
    ) -> dict[str, Projection]:
        name = volume["name"]
        projected = volume.get("projected")
        mode = int((projected or {}).get("defaultMode") or _MODE)
        files: dict[str, Projection] = {}
        for source in (projected.get("sources") or ()) if projected else (volume,):
            if source.get("configMap"):
                files |= await self._keys(pod, name, "ConfigMap", source["configMap"], mode)
            elif source.get("secret"):
                files |= await self._keys(pod, name, "Secret", source["secret"], mode)
            elif source.get("downwardAPI") is not None:
                files |= _downward(pod, source["downwardAPI"], addresses, allocatable, mode)
            elif source.get("serviceAccountToken"):
                token = await self._token(pod, name, source["serviceAccountToken"])
                files[source["serviceAccountToken"]["path"]] = Projection(token.encode(), mode)
        return files

    async def _token(self, pod: Tree, volume: str, source: Tree) -> str:
        try:
            return await self._tokens.token(pod, source.get("audience") or "", int(source.get("expirationSeconds") or 3600))
        except ApiError as error:
            raise _failed(volume, f"failed to fetch token: {error}") from error

    async def _keys(self, pod: Tree, volume: str, kind: SourceKind, source: Tree, mode: int) -> dict[str, Projection]:
        namespace = pod["metadata"]["namespace"]
        name = source.get("secretName") or source.get("name") or ""
        tree = await self._sources.source(kind, namespace, name)
        optional = bool(source.get("optional"))
        if tree is None:
            if optional:
                return {}
            raise _failed(volume, f'{kind.lower()} "{name}" not found')
        values = values_of(kind, tree)
        mode = int(source.get("defaultMode") or mode)
        if not source.get("items"):
            return {key: Projection(value, mode) for key, value in values.items()}
        files = {}
        for item in source["items"]:
            if item["key"] in values:
                files[item["path"]] = Projection(values[item["key"]], int(item.get("mode") or mode))
            elif not optional:
                raise _failed(volume, f"references non-existent key {item['key']!r} of {kind.lower()} {namespace}/{name}")
        return files


def sources_of(spec: Tree) -> Iterable[tuple[SourceKind, str]]:
    """Every ConfigMap and Secret that a pod's volumes and environments name."""
    for volume in spec.get("volumes") or ():
        for part in (volume.get("projected") or {}).get("sources") or (volume,):
            if part.get("configMap"):
                yield "ConfigMap", part["configMap"].get("name", "")
            if part.get("secret"):
                yield "Secret", part["secret"].get("secretName") or part["secret"].get("name", "")
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        for entry in container.get("envFrom") or ():
            if entry.get("configMapRef"):
                yield "ConfigMap", entry["configMapRef"].get("name", "")
            if entry.get("secretRef"):
                yield "Secret", entry["secretRef"].get("name", "")
        for entry in container.get("env") or ():
            reference = entry.get("valueFrom") or {}
            if reference.get("configMapKeyRef"):
                yield "ConfigMap", reference["configMapKeyRef"].get("name", "")
            if reference.get("secretKeyRef"):
                yield "Secret", reference["secretKeyRef"].get("name", "")


def _downward(
    pod: Tree, source: Tree, addresses: Mapping[str, str], allocatable: Mapping[str, str], mode: int
) -> dict[str, Projection]:
    files = {}
    mode = int(source.get("defaultMode") or mode)
    for item in source.get("items") or ():
        if item.get("fieldRef"):
            text = field_value(pod, item["fieldRef"].get("fieldPath", ""), addresses)
        else:
            reference = item.get("resourceFieldRef") or {}
            container = container_named(pod["spec"], reference.get("containerName", ""))
            text = resource_value(pod["spec"], container, reference, allocatable)
        files[item["path"]] = Projection(text.encode(), int(item.get("mode") or mode))
    return files


def _host_path(volume: str, source: Tree) -> Path:
    path, type_ = Path(source["path"]), source.get("type") or ""
    if type_ == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif type_ == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    tests = {
        "Directory": stat.S_ISDIR, "DirectoryOrCreate": stat.S_ISDIR, "File": stat.S_ISREG, "FileOrCreate": stat.S_ISREG,
        "Socket": stat.S_ISSOCK, "CharDevice": stat.S_ISCHR, "BlockDevice": stat.S_ISBLK,
    }  # fmt: skip  # pairs read better packed
    if type_ in tests and not (path.exists() and tests[type_](os.stat(path).st_mode)):
        raise _failed(volume, f"hostPath type check failed: {path} is not a {type_}")
    return path


def _failed(volume: str, message: str) -> PodConfigError:
    return PodConfigError("ContainerCreating", f'MountVolume.SetUp failed for volume "{volume}" : {message}', "FailedMount")
