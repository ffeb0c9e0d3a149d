"""The `Folder` kind: what the file watcher has found, as an object like any other."""

from __future__ import annotations

from reconcile.kinds import Column, Resource, kind
from reconcile.views import field, struct


@struct
class FolderProblem:
    """One thing that is wrong with a file of the folder."""

    file: str = ""
    line: int = 0
    column: int = 0
    message: str = ""
    hint: str = ""
    traceback: str = ""


@struct
class FolderSpec:
    """Which folder is watched."""

    path: str


@struct
class FolderStatus:
    """What was found: counts, and what is wrong."""

    files: int = 0
    objects: int = 0
    programs: int = 0
    held: int = field(default=0, doc="Objects that are kept although everything vanished from the folder at once.")
    problems: list[FolderProblem] = field(factory=list)


@kind(
    "reconcile.dev",
    "v1alpha1",
    namespaced=False,
    columns=(
        Column("Path", ".spec.path"),
        Column("Files", ".status.files", "integer"),
        Column("Objects", ".status.objects", "integer"),
        Column("Problems", cell=lambda tree, now: len(tree.get("status", {}).get("problems", ())), type="integer"),  # noqa: ARG005 - a cell's signature
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)
class Folder(Resource):
    """A folder of manifests and programs that `reconcile up` keeps in sync with the cluster."""

    spec: FolderSpec
    status: FolderStatus = field(factory=FolderStatus)
