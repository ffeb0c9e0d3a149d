"""Definitions and objects to write, and the control plane of one test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import pytest

from reconcile.client import APPLY_PATCH, MERGE_PATCH, Patch
from reconcile.errors import ApiError, Tree
from reconcile.kinds import Kind, kind_of
from reconcile.resources.apiextensions import CustomResourceDefinition
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.testing.virtual import VirtualClock

DEFINITION = kind_of(CustomResourceDefinition)
GROUP = "shop.example.com"


def version(name: str = "v1", *, storage: bool = True, spec: Tree | None = None, **parts: Any) -> Tree:
    """One version of a definition; `spec` is the schema of the objects' spec."""
    schema = {"type": "object", "properties": {"spec": spec or {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **parts}


def definition(*versions: Tree, plural: str = "widgets", named: str = "Widget", scope: str = "Namespaced", **names: Any) -> Tree:
    """A CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP, "scope": scope, "names": {"plural": plural, "kind": named, **names},
            "versions": list(versions) or [version()],
        },
    }  # fmt: skip


def widget(name: str = "a", *, api_version: str = "v1", **spec: Any) -> Tree:
    """An object of the declared kind."""
    return {"apiVersion": f"{GROUP}/{api_version}", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


@attrs.define
class Declaring:
    """The API server of one test."""

    clock: VirtualClock
    api: ApiServer
    client: InProcessClient
    engine: Engine

    async def declare(self, tree: Tree) -> Kind:
        """Create a definition and wait until it is established; the kind of its first version."""
        await self.client.create(DEFINITION, tree)
        await self.condition(tree["metadata"]["name"], "Established")
        spec = tree["spec"]
        return self.kind(spec["names"]["plural"], spec["versions"][0]["name"])

    def kind(self, plural: str = "widgets", of_version: str = "v1") -> Kind:
        """A kind that is served."""
        found = self.api.find(GROUP, of_version, plural)
        assert found is not None, f"{plural} {of_version} is not served"
        return found

    async def condition(self, name: str, type_: str, status: str = "True") -> Tree:
        """Wait for a condition of a definition."""

        async def there() -> Tree | None:
            tree = await self.client.get(DEFINITION, name)
            conditions = (tree.get("status") or {}).get("conditions") or []
            return next((c for c in conditions if (c["type"], c["status"]) == (type_, status)), None)

        found: Tree = await self.until(there, f"{name} {type_}={status}")
        return found

    async def until(self, fact: Callable[[], Awaitable[Any]], what: str, limit_s: float = 30.0) -> Any:
        """Wait, in virtual time, until `fact` gives something true; returns it."""
        ends_s = self.clock.monotonic() + limit_s
        while self.clock.monotonic() < ends_s:
            if found := await fact():
                return found
            await self.clock.sleep(0.02)
        raise AssertionError(f"after {limit_s} virtual seconds, still not: {what}")

    async def change(self, name: str, body: Tree) -> Tree:
        """Merge-patch a definition, and let the controller see it."""
        tree = await self.client.patch(DEFINITION, name, Patch(MERGE_PATCH, body))
        await self.engine.settled()
        return tree

    async def create(self, tree: Tree, namespace: str = "default") -> Tree:
        """Create an object of the declared kind, in the version that it names."""
        return await self.client.create(self.kind(of_version=tree["apiVersion"].rpartition("/")[2]), tree, namespace)

    async def apply(self, tree: Tree, manager: str = "me") -> Tree:
        """Apply an object of the declared kind."""
        kind = self.kind(of_version=tree["apiVersion"].rpartition("/")[2])
        return await self.client.patch(
            kind, tree["metadata"]["name"], Patch(APPLY_PATCH, tree), "default", field_manager=manager
        )  # fmt: skip

    async def refusal(self, writing: Awaitable[Any]) -> ApiError:
        """The error that a write ends in."""
        with pytest.raises(ApiError) as caught:
            await writing
        return caught.value


Declare = Callable[..., AbstractAsyncContextManager[Declaring]]
