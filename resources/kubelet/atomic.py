"""Files of a ConfigMap, Secret or downward API volume, changed as one: a reader sees all old or all new, never a mix.

The files live in a folder `..<timestamp>`; `..data` links to it and is replaced by one rename; what the user names are
links into `..data`. Whoever watches the volume with inotify sees what the reference kubelet would show.

Source: pkg/volume/util/atomic_writer.go
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from .errors import UnsafePathError

_DATA = "..data"
_NEXT = "..data_tmp"


@attrs.frozen
class Projection:
    """One file to be: its bytes and its permission bits."""

    data: bytes
    mode: int = 0o644


def write_atomically(folder: Path, files: Mapping[str, Projection], version: str) -> bool:
    """Make `folder` hold exactly `files` (keys are relative paths); `version` names the new state and must be new.

    Returns whether anything had to change. O(bytes of the files).

    Raises:
        UnsafePathError: a path is absolute, climbs out of the folder, or begins with `..`.
    """
    for path in files:
        _check(path)
    folder.mkdir(parents=True, exist_ok=True)
    current = folder / _DATA
    if current.exists() and _same(current, files):
        return False
    old = os.readlink(current) if current.is_symlink() else ""
    target = folder / f"..{version}"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(mode=0o755)
    for path, projection in files.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(projection.data)
        file.chmod(projection.mode)
    following = folder / _NEXT
    following.unlink(missing_ok=True)
    following.symlink_to(target.name)
    following.rename(current)
    _link(folder, files)
    if old and old != target.name:
        shutil.rmtree(folder / old, ignore_errors=True)
    return True


def _check(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", "..") for part in parts) or parts[0].startswith(".."):
        raise UnsafePathError(path)


def _same(current: Path, files: Mapping[str, Projection]) -> bool:
    found: set[str] = set()
    for root, _, names in os.walk(current):
        found.update(os.path.relpath(os.path.join(root, name), current) for name in names)
    if found != set(files):
        return False
    for path, projection in files.items():
        file = current / path
        if stat.S_IMODE(file.stat().st_mode) != projection.mode or file.read_bytes() != projection.data:
            return False
    return True


def _link(folder: Path, files: Mapping[str, Projection]) -> None:
    """Make the user's names links into `..data`, and drop the links of names that are gone."""
    wanted = {path.split("/", 1)[0] for path in files}
    for name in wanted:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
