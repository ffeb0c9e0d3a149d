"""A change of an object as each version of its kind has it: who wrote in a version owns fields of that version.

Where nothing but apiVersion differs between versions, their fields are the same, and nothing is converted.

Source: sigs.k8s.io/structured-merge-diff/merge/update.go, k8s.io/apimachinery/pkg/util/managedfields/internal/versionconverter.go
"""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Kind

from . import structure
from .catalog import Served
from .fieldsets import FieldSet

Changes = tuple[FieldSet, FieldSet]
"""(fields that are set to something else, fields that are gone)."""


class Crossing:
    """One change, from `old` to `new`, which are in the version that `served` is of."""

    def __init__(self, served: Served, old: Tree, new: Tree) -> None:
        self.served = served
        self._old, self._new = old, new
        self._changes: dict[str, Changes | None] = {}

    def crosses(self, api_version: str) -> bool:
        """Whether objects look otherwise in that version."""
        return api_version != self.served.api_version and self.served.versions.converts

    async def changes(self, api_version: str) -> Changes | None:
        """The change in another version; None: there is no such version (any more).

        Raises:
            ConversionError: the object cannot be brought into it.
        """
        if api_version not in self._changes:
            old = await self.shown(api_version, self._old)
            new = await self.shown(api_version, self._new)
            self._changes[api_version] = (
                structure.changes(old, new, self.schema(api_version)) if old is not None and new is not None else None
            )
        return self._changes[api_version]

    async def shown(self, api_version: str, tree: Tree) -> Tree | None:
        """An object of any version in that one; None: there is no such version."""
        if tree.get("apiVersion") == api_version:
            return tree
        kind = self._kind(api_version)
        return (await self.served.versions.converted([tree], kind))[0] if kind is not None else None

    def schema(self, api_version: str) -> Tree:
        """The schema of that version."""
        kind = self._kind(api_version)
        assert kind is not None, "somebody looked at an object in this version before"
        return structure.rooted(kind.schema)

    def _kind(self, api_version: str) -> Kind | None:
        group, _, version = api_version.rpartition("/")
        return self.served.versions.kind_in(self.served.kind, version) if group == self.served.kind.group else None
