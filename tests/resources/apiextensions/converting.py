"""A kind in two versions that differ in shape, and a webhook that converts between them, played by a function."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import attrs

from reconcile.errors import Tree
from tests.resources.apiextensions.declaring import GROUP, definition, version

OLD: Tree = {"type": "object", "properties": {"hostPort": {"type": "string"}, "note": {"type": "string", "default": "-"}}}
NEW: Tree = {
    "type": "object", "properties": {
        "host": {"type": "string"}, "port": {"type": "string", "default": "80"}, "note": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    },
}  # fmt: skip
CLIENT = {"url": "https://converts.example.com/convert"}
WEBHOOK = {"strategy": "Webhook", "webhook": {"clientConfig": CLIENT, "conversionReviewVersions": ["v1"]}}


def shop_definition(*, stored: str = "v2", **parts: Any) -> Tree:
    """v1 has `hostPort` where v2 has `host` and `port`."""
    made = definition(
        version("v1", storage=stored == "v1", spec=OLD, subresources={"status": {}}),
        version("v2", storage=stored == "v2", spec=NEW, subresources={"status": {}}),
    )
    for each in made["spec"]["versions"]:
        each["schema"]["openAPIV3Schema"]["properties"]["status"] = {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }
    made["spec"]["conversion"] = copy.deepcopy(WEBHOOK) | parts
    return made


def convert(tree: Tree, api_version: str) -> Tree:
    """What the webhook does with one object."""
    spec = dict(tree.get("spec") or {})
    if api_version.endswith("/v2"):
        host, _, port = spec.pop("hostPort", "").partition(":")
        spec.update({name: value for name, value in (("host", host), ("port", port)) if value})
    else:
        host, port = spec.pop("host", ""), spec.pop("port", "")
        if host:
            spec["hostPort"] = f"{host}:{port}" if port else host
    return {**tree, "apiVersion": api_version, "spec": spec}


@attrs.define
class Webhook:
    """The webhook's server. `answer` changes what it says; while `held` is set and not yet done, it says nothing."""

    asked: list[Tree] = attrs.field(factory=list)
    answer: Callable[[Tree, Tree], Any] = lambda _request, response: response
    held: asyncio.Event | None = None

    async def __call__(self, client: Tree, body: Tree, timeout_s: float) -> bytes:
        assert (client, timeout_s) == (CLIENT, 30.0)
        request = body["request"]
        self.asked.append(body)
        if self.held is not None:
            await self.held.wait()
        made = [convert(copy.deepcopy(tree), request["desiredAPIVersion"]) for tree in request["objects"]]
        response: Tree = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": made}
        review = {"apiVersion": body["apiVersion"], "kind": "ConversionReview", "response": response}
        answered = self.answer(request, review)
        return answered if isinstance(answered, bytes) else json.dumps(answered).encode()

    def take(self) -> list[tuple[str, int]]:
        """What it was asked since the last time: the version that was wanted, and for how many objects."""
        taken = [(b["request"]["desiredAPIVersion"].removeprefix(f"{GROUP}/"), len(b["request"]["objects"])) for b in self.asked]
        self.asked.clear()
        return taken
