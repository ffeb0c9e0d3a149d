"""Binding: puts a Pod on a node. It is asked for, and never stored; a POST of one says as much as to the Pod's own `binding`."""

from __future__ import annotations

import attrs

from reconcile.client import Client
from reconcile.errors import Tree
from reconcile.identity import Caller
from reconcile.kinds import Resource, kind, kind_of
from reconcile.views import field

from .pod import Pod
from .references import ObjectReference


@kind("", "v1", plural="bindings", builtin=True, has_generation=False)
class Binding(Resource):
    """Says which node a Pod shall run on."""

    target: ObjectReference = field(factory=ObjectReference)


@attrs.frozen
class Bindings:
    """Answers Bindings: by those of the Pods that they name."""

    client: Client

    async def respond(self, binding: Tree, _caller: Caller) -> Tree:
        """Bind the Pod of that name. Raises ApiError: it cannot be."""
        meta = binding["metadata"]
        await self.client.act(kind_of(Pod), meta.get("name", ""), "binding", binding, meta.get("namespace", ""))
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
