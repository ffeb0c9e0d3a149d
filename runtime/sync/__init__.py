"""The file watcher: a folder of YAML and Python becomes desired state.

It promises that a file that cannot be understood changes nothing (the last good state stays, and a `Problem` says where
and what to do), that a half-written or atomically replaced file is never taken for a deletion, and that what left the
folder is deleted, except when everything vanishes at once. What is wrong stands in the status of a `Folder` object, where
`reconcile status` and any Kubernetes client can read it.
"""

from __future__ import annotations

from .folder_kind import Folder
from .folder_sync import FolderSync, SyncSettings
from .problems import Problem
from .programs import ProgramHost

__all__ = ["Folder", "FolderSync", "Problem", "ProgramHost", "SyncSettings"]
