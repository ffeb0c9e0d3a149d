"""Finds the files of a folder and notices which changed.

Sub-folders are followed, links too (a loop is a problem, not an endless walk); hidden files and folders, editors'
temporary files and caches are passed over. A file is known by (inode, size, mtime), so an atomic save is a change.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import attrs

from .problems import Problem

MANIFESTS = (".yaml", ".yml", ".json")
PROGRAMS = (".py",)
_PASSED_OVER = re.compile(r"^(\.|#|~)|~$|\.(sw.|tmp|bak|part)$|___jb_|^__pycache__$|^node_modules$|\.egg-info$")


@attrs.frozen
class Stamp:
    """What tells one state of a file from another without reading it."""

    inode: int
    bytes: int
    modified_ns: int


@attrs.frozen
class Scan:
    """What is in a folder: files by relative path, and what could not be looked at.

    `present` is False if the folder itself is gone. `hidden` are files and folders that could not be looked at: what is (in)
    them is not known to be gone.
    """

    files: dict[str, Stamp]
    problems: tuple[Problem, ...] = ()
    present: bool = True
    hidden: tuple[str, ...] = ()

    def hides(self, name: str) -> bool:
        """Whether a file that was not seen may be there all the same."""
        return any(not place or name == place or name.startswith(place + "/") for place in self.hidden)


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is none of our business."""
    return bool(_PASSED_OVER.search(name))


def scan(root: Path) -> Scan:
    """Look at every manifest and program below `root`. O(files); reads no file."""
    files: dict[str, Stamp] = {}
    problems: list[Problem] = []
    if not root.is_dir():
        return Scan({}, (), present=False)
    hidden: list[str] = []
    _walk(root, "", files, problems, hidden, frozenset())
    return Scan(dict(sorted(files.items())), tuple(problems), hidden=tuple(hidden))


def _walk(
    folder: Path, prefix: str, files: dict[str, Stamp], problems: list[Problem], hidden: list[str],
    above: frozenset[tuple[int, int]],
) -> None:  # fmt: skip
    try:
        here = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        hidden.append(prefix)
        problems.append(
            Problem(prefix or ".", message=f"the folder cannot be read: {error.strerror}", hint="check its permissions")
        )
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        problems.append(
            Problem(prefix, message="a link leads back to a folder above it", hint="remove the link; it was not followed")
        )
        return
    for entry in entries:
        if passed_over(entry.name):
            continue
        name = f"{prefix}/{entry.name}" if prefix else entry.name
        wanted = entry.name.endswith(MANIFESTS + PROGRAMS)
        try:
            if entry.is_dir():
                _walk(Path(entry.path), name, files, problems, hidden, above | {identity})
            elif wanted and entry.is_file():
                stat = entry.stat()
                files[name] = Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns)
            elif wanted and entry.is_symlink():
                hidden.append(name)
                problems.append(Problem(name, message="a link that leads nowhere", hint="mend or remove it"))
        except OSError as error:
            hidden.append(name)
            problems.append(Problem(name, message=f"cannot be looked at: {error.strerror}", hint="mend it"))


def read(root: Path, name: str) -> bytes:
    """The bytes of one file; OSError if it cannot be read. Never more than a manifest may have, plus one byte."""
    from .manifests import FILE_BYTES_MAX  # the bound is the reader's

    with open(root / name, "rb") as file:
        return file.read(FILE_BYTES_MAX + 1)
