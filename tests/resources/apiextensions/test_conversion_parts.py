"""What belongs to one version alone: its scale, columns, selectable fields and rules, of objects that are stored in another."""

from __future__ import annotations

from typing import Any

from reconcile.client import APPLY_PATCH, MERGE_PATCH, Patch
from reconcile.errors import BadRequestError, Tree
from reconcile.runtime.api.http.tables import table
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.apiextensions.converting import NEW, OLD, Webhook, convert, shop_definition
from tests.resources.apiextensions.declaring import GROUP, Declare, Declaring, widget


def parts(of_version: str, field: str) -> Tree:
    """What a version says of the number that it calls `field`, and of its own words for the address."""
    address = "hostPort" if of_version == "v1" else "host"
    return {
        "subresources": {
            "status": {}, "scale": {"specReplicasPath": f".spec.{field}", "statusReplicasPath": f".status.{field}"},
        },
        "additionalPrinterColumns": [{"name": f"Where in {of_version}", "type": "string", "jsonPath": f".spec.{address}"}],
        "selectableFields": [{"jsonPath": f".spec.{address}"}],
    }  # fmt: skip


def answer(request: Tree, review: Tree) -> Tree:
    """The webhook renames the number as well."""
    made = []
    for given in request["objects"]:
        tree = convert(given, request["desiredAPIVersion"])
        old, new = ("size", "replicas") if tree["apiVersion"].endswith("/v2") else ("replicas", "size")
        for part in ("spec", "status"):
            value = dict(tree.get(part) or {})
            if old in value:
                value[new] = value.pop(old)
            if value or part in tree:
                tree = {**tree, part: value}
        made.append(tree)
    return {**review, "response": {**review["response"], "convertedObjects": made}}


async def opened(plane: Declaring) -> Declaring:
    plane.api.ask_webhooks(Webhook(answer=answer), frozenset())
    made = shop_definition()
    for each, schema, field in zip(made["spec"]["versions"], (OLD, NEW), ("size", "replicas"), strict=True):
        known: Tree = schema["properties"]
        properties = {**known, field: {"type": "integer", "minimum": 0}}
        each["schema"]["openAPIV3Schema"]["properties"]["spec"] = {"type": "object", "properties": properties}
        each |= parts(each["name"], field)
    rule = {"rule": "!has(self.replicas) || self.replicas != 13", "message": "thirteen is unlucky in v2"}
    made["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [rule]
    await plane.declare(made)
    return plane


@virtual
async def test_scale_is_found_where_each_version_has_it(clock: VirtualClock, declaring: Declare) -> None:
    """An autoscaler of the old version scales what the new one runs."""
    async with declaring(clock) as plane:
        await opened(plane)
        await plane.create(widget(api_version="v2", host="h", replicas=2))
        old, new = plane.kind(of_version="v1"), plane.kind(of_version="v2")
        told = Patch(MERGE_PATCH, {"status": {"replicas": 1}})
        await plane.client.patch(new, "a", told, "default", subresource="status")
        for kind in (old, new):
            scale = (await plane.api.get(kind, "a", "default", subresource="scale")).tree
            assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1})
        scaled = Patch(MERGE_PATCH, {"spec": {"replicas": 5}})
        await plane.client.patch(old, "a", scaled, "default", subresource="scale")
        assert (await plane.client.get(new, "a", "default"))["spec"]["replicas"] == 5
        assert (await plane.client.get(old, "a", "default"))["spec"]["size"] == 5


@virtual
async def test_columns_and_selectable_fields_are_the_versions_own(clock: VirtualClock, declaring: Declare) -> None:
    """`kubectl get widgets.v1.shop.example.com --field-selector` speaks v1."""
    async with declaring(clock) as plane:
        await opened(plane)
        for name, host in (("a", "x"), ("b", "y")):
            await plane.create(widget(name, api_version="v2", host=host, port="1"))
        old, new = plane.kind(of_version="v1"), plane.kind(of_version="v2")
        for kind, cells in ((old, ["x:1", "y:1"]), (new, ["x", "y"])):
            shown = table(kind, (await plane.api.list(kind)).items, clock.now())
            assert shown["columnDefinitions"][1]["name"] == f"Where in {kind.version}"
            assert [row["cells"][1] for row in shown["rows"]] == cells
        found = await plane.client.list(old, fields="spec.hostPort=y:1")
        assert [tree["metadata"]["name"] for tree in found.items] == ["b"]
        watch = plane.client.watch(old, fields="spec.hostPort=z:1")
        await plane.client.patch(new, "a", Patch(MERGE_PATCH, {"spec": {"host": "z"}}), "default")
        await plane.client.patch(new, "a", Patch(MERGE_PATCH, {"spec": {"host": "x"}}), "default")
        events = [await anext(watch), await anext(watch)]
        assert [(event.type, event.object["spec"]["hostPort"]) for event in events] == [("ADDED", "z:1"), ("DELETED", "x:1")]
        await watch.aclose()  # type: ignore[attr-defined]
        assert isinstance(await plane.refusal(plane.client.list(old, fields="spec.host=y")), BadRequestError)


@virtual
async def test_a_write_is_judged_by_the_rules_of_its_version_alone(clock: VirtualClock, declaring: Declare) -> None:
    """As on the reference server: what v1 lets pass may be what v2 would not have taken."""
    async with declaring(clock) as plane:
        await opened(plane)

        async def refused(**spec: Any) -> str:
            return str(await plane.refusal(plane.create(widget("b", **spec))))

        assert "thirteen is unlucky in v2" in await refused(api_version="v2", replicas=13)
        assert "spec.size in body should be greater than or equal to 0" in await refused(size=-1)
        await plane.create(widget(size=13))
        new = plane.kind(of_version="v2")
        labelled = Patch(MERGE_PATCH, {"metadata": {"labels": {"a": "b"}}})
        assert (await plane.client.patch(new, "a", labelled, "default"))["spec"]["replicas"] == 13, "and stays, until touched"


@virtual
async def test_the_status_is_applied_and_owned_in_each_version(clock: VirtualClock, declaring: Declare) -> None:
    """Two controllers, one of each version, share a status."""
    async with declaring(clock) as plane:
        await opened(plane)
        await plane.create(widget(api_version="v2", host="h"))
        for of_version, status in (("v1", {"size": 3}), ("v2", {"phase": "up"})):
            body = {**widget(api_version=of_version), "status": status}
            body.pop("spec")
            kind = plane.kind(of_version=of_version)
            made = await plane.client.patch(
                kind, "a", Patch(APPLY_PATCH, body), "default", field_manager=of_version, subresource="status"
            )
        assert made["status"] == {"replicas": 3, "phase": "up"}
        owned = {
            (entry["manager"], entry["apiVersion"]): entry["fieldsV1"]["f:status"]
            for entry in made["metadata"]["managedFields"]
            if entry.get("subresource") == "status"
        }
        assert owned == {("v1", f"{GROUP}/v1"): {"f:size": {}}, ("v2", f"{GROUP}/v2"): {"f:phase": {}}}
