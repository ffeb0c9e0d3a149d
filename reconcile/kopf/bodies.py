"""An object as kopf shows it: read-only mappings of plain JSON values, with the usual parts as attributes.

They are live: a daemon that runs for hours sees the object as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconcile.errors import Tree
from reconcile.views import read_only

_SYSTEM_META = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields",
    "finalizers", "selfLink", "deletionGracePeriodSeconds", "ownerReferences", "generateName",
)  # fmt: skip
_NO_ESSENCE = "kubectl.kubernetes.io/last-applied-configuration"
_OURS = "reconcile.dev/"


class View(Mapping[str, Any]):
    """A read-only mapping of what `source` gives now."""

    def __init__(self, source: Callable[[], Tree] | Tree) -> None:
        self._source = source if callable(source) else lambda: source

    @property
    def tree(self) -> Tree:
        """The plain values, shared: to be read."""
        return self._source() or {}

    def __getitem__(self, name: str) -> Any:
        value = self.tree[name]
        return read_only({"it": value})["it"] if isinstance(value, dict | list) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.tree)

    def __len__(self) -> int:
        return len(self.tree)

    def __repr__(self) -> str:
        return repr(self.tree)


Spec = Status = Labels = Annotations = View


class Meta(View):
    """The metadata."""

    @property
    def labels(self) -> View:
        """The labels."""
        return View(lambda: self.tree.get("labels") or {})

    @property
    def annotations(self) -> View:
        """The annotations."""
        return View(lambda: self.tree.get("annotations") or {})

    @property
    def uid(self) -> str | None:
        """The unique id."""
        return self.tree.get("uid")

    @property
    def name(self) -> str | None:
        """The name."""
        return self.tree.get("name")

    @property
    def namespace(self) -> str | None:
        """The namespace; None of cluster-wide objects."""
        return self.tree.get("namespace")

    @property
    def creation_timestamp(self) -> str | None:
        """When it was created."""
        return self.tree.get("creationTimestamp")

    @property
    def deletion_timestamp(self) -> str | None:
        """When somebody asked for its deletion, if so."""
        return self.tree.get("deletionTimestamp")


class Body(View):
    """A whole object."""

    @property
    def metadata(self) -> Meta:
        """The metadata."""
        return Meta(lambda: self.tree.get("metadata") or {})

    meta = metadata

    @property
    def spec(self) -> View:
        """What is wanted."""
        return View(lambda: self.tree.get("spec") or {})

    @property
    def status(self) -> View:
        """What is."""
        return View(lambda: self.tree.get("status") or {})


RawBody = RawEvent = BodyEssence = dict[str, Any]


def essence(tree: Tree) -> Tree:
    """What `old` and `new` are in kopf: the object without its status and what the server keeps."""
    meta = tree.get("metadata") or {}
    notes = {
        name: text for name, text in (meta.get("annotations") or {}).items() if name != _NO_ESSENCE and not name.startswith(_OURS)
    }
    kept: Tree = {name: value for name, value in meta.items() if name not in (*_SYSTEM_META, "annotations")}
    if notes:
        kept["annotations"] = notes
    parts = {name: value for name, value in tree.items() if name not in ("apiVersion", "kind", "metadata", "status")}
    return {**parts, **({"metadata": kept} if kept else {})}
