"""How a volume reaches a process that shares the machine's file system. Pure but for the links it makes.

Without a mount namespace (which needs rights that a user of a laptop does not have) nothing can appear at an absolute path.
So, for each mount of a container:

- `VOLUME_<NAME>` holds the directory of the volume (with the subPath, if any), always;
- `POD_ROOT` is a folder of the container's own in which every absolute mountPath exists: `$(POD_ROOT)/etc/app`;
- an absolute mountPath that stands as a whole path in `command`, `args`, `workingDir` or an `env` value is replaced by the
  volume's directory, also inside a longer text: `sh -c 'cat /etc/app/x'` works. A pod whose program has the path
  built in does not: that is what an Event says once for each pod;
- a relative mountPath is a link in the working directory, if that is the pod's own folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from reconcile.errors import Tree

from .errors import PodConfigError, UnsafePathError

_BEFORE, _AFTER = r"(?<![\w./-])", r"(?![\w.-])"


@attrs.frozen
class Mounts:
    """One container's mounts: variables to add, and the paths that stand for others."""

    root: str
    variables: Mapping[str, str] = attrs.field(factory=dict)
    rewrites: Mapping[str, str] = attrs.field(factory=dict)
    relative: Mapping[str, str] = attrs.field(factory=dict)

    def rewritten(self, text: str) -> str:
        """`text` with every absolute mountPath in it replaced by the directory that really holds the volume."""
        if not self.rewrites or "/" not in text:
            return text
        for path, target in self.rewrites.items():
            if path in text:
                text = re.sub(f"{_BEFORE}{re.escape(path)}{_AFTER}", lambda _: target, text)  # noqa: B023 - used at once
        return text


def mounts_of(container: Tree, volumes: Mapping[str, Path], root: Path, sub_path: Mapping[str, str]) -> Mounts:
    """Work out a container's mounts and make the links below its root; `sub_path` holds expanded subPathExpr values.

    Raises:
        PodConfigError: a mount names a volume that the pod does not have.
        UnsafePathError: a subPath climbs out of its volume, or a mountPath out of the container's root.
    """
    variables, rewrites, relative = {"POD_ROOT": str(root)}, {}, {}
    for mount in container.get("volumeMounts") or ():
        volume = volumes.get(mount["name"])
        if volume is None:
            raise PodConfigError(
                "CreateContainerConfigError", f"volumeMounts name the volume {mount['name']!r}, which the pod does not have"
            )
        inside = sub_path.get(mount["mountPath"]) or mount.get("subPath") or ""
        target = _inside(volume, inside)
        variables[f"VOLUME_{re.sub(r'[^A-Za-z0-9]', '_', mount['name']).upper()}"] = str(target)
        path = mount["mountPath"].rstrip("/") or "/"
        if ".." in path.split("/"):
            raise UnsafePathError(path)
        if not path.startswith("/"):
            relative[path] = str(target)
            continue
        if path != "/":
            _link(root / path.lstrip("/"), target)
            if path != str(target):
                rewrites[path] = str(target)
    # The longest first: a mount inside another one must not be taken for a file of the outer one.
    ordered = dict(sorted(rewrites.items(), key=lambda item: -len(item[0])))
    return Mounts(str(root), variables, ordered, relative)


def link_relative(mounts: Mounts, working_dir: str, own: Path) -> Sequence[str]:
    """Link relative mount paths into the working directory, if that is the pod's own; returns those that could not be."""
    refused = []
    for path, target in mounts.relative.items():
        link = Path(os.path.normpath(os.path.join(working_dir, path)))
        if not link.is_relative_to(own) or not _link(link, Path(target)):
            refused.append(path)
    return refused


def _inside(volume: Path, sub_path: str) -> Path:
    if not sub_path:
        return volume
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise UnsafePathError(sub_path)
    target = volume / sub_path
    if not target.exists() and not (volume / "..data").exists():
        target.mkdir(parents=True, exist_ok=True)
    return target


def _link(link: Path, target: Path) -> bool:
    """Make `link` point at `target`; anything there that is not a link of ours is left alone."""
    if link.is_symlink():
        if os.readlink(link) == str(target):
            return True
        link.unlink()
    elif link.exists():
        return False
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return True
