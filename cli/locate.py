"""Where a control plane keeps its state, and how the other commands find it.

Each watched folder has a state folder of its own, `.reconcile/<its name>` beside it (or `$RECONCILE_HOME/<its name>`), so that
two folders never run each other's objects; `--data-dir` names one outright. Commands look at `--data-dir`, `$RECONCILE_HOME`,
a `.reconcile` here or in a folder above, the state that `up` used last; where several lie together, the one of the folder
that we are in, else one that runs, else the newest. `$KUBECONFIG`, where it is set, wins for everything that only talks to
the API: then any Kubernetes is spoken to.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

NAME = ".reconcile"
LOCK_FILE = "up.lock"


def data_dir_for(folder: Path, given: str | None) -> Path:
    """Where `up FOLDER` keeps its state."""
    if given:
        return Path(given).expanduser().resolve()
    folder = folder.resolve()
    home = os.environ.get("RECONCILE_HOME")
    root = Path(home).expanduser().resolve() if home else folder.parent / NAME
    return root / (folder.name or "root")


def find_data_dir(given: str | None = None) -> Path | None:
    """The state of the control plane that a command is about, or None if there is none to be found."""
    if given:
        return Path(given).expanduser().resolve()
    home = os.environ.get("RECONCILE_HOME")
    if home:
        return _chosen(Path(home).expanduser().resolve())
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (found := _chosen(folder / NAME)) is not None:
            return found
    return last_used()


def _chosen(root: Path) -> Path | None:
    """Of the state folders below `root`: of the folder we are in, else one that runs, else the newest; or `root` itself."""
    if (root / "kubeconfig").exists():
        return root
    try:
        found = [path for path in root.iterdir() if (path / "kubeconfig").exists()]
    except OSError:
        return None
    here = Path.cwd()
    return max(
        found,
        key=lambda path: (
            here.is_relative_to(root.parent / path.name), is_taken(path), (path / "kubeconfig").stat().st_mtime_ns,
        ),
        default=None,
    )  # fmt: skip


def take(data_dir: Path) -> int | None:
    """Take the state folder for a control plane: the lock's descriptor, to be closed at the end, or None: another has it.

    The kernel gives back the lock of a process that was killed, so that no stale note is ever believed.
    """
    lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def is_taken(data_dir: Path) -> bool:
    """Whether a control plane runs on this state folder."""
    try:
        lock = os.open(data_dir / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def last_used() -> Path | None:
    """The data folder of the last `up`, if it is still there."""
    try:
        path = Path(_note().read_text().strip())
    except OSError:
        return None
    return path if path.is_dir() else None


def note_used(data_dir: Path) -> None:
    """Remember the data folder of this `up` for commands that are called elsewhere."""
    note = _note()
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{data_dir}\n")
    except OSError:
        return  # a home that cannot be written only costs the convenience


def _note() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "reconcile" / "last-data-dir"
