"""The file watcher: a folder of YAML and Python becomes desired state.

It promises that a file that cannot be understood changes nothing (the last good state stays, and a `Problem` says where
and what to do), that a half-written or atomically replaced file is never taken for a deletion, and that what left the
folder is deleted, except when everything vanishes at once. What is wrong stands in the status of a `Folder` object, where
`reconcile status` and any Kubernetes client can read it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .folder_kind import Folder

if TYPE_CHECKING:
    from .folder_sync import FolderSync, SyncSettings
    from .problems import Problem
    from .programs import ProgramHost

_HOME = {"FolderSync": "folder_sync", "SyncSettings": "folder_sync", "Problem": "problems", "ProgramHost": "programs"}

__all__ = ["Folder", "FolderSync", "Problem", "ProgramHost", "SyncSettings"]


def __getattr__(name: str) -> Any:
    # Loaded when first used: the API serves Folders before anybody syncs one.
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
