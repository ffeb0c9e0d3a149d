"""Objects of kinds that clients declare: versions, defaults, rules, subresources, and how they come and go."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

from reconcile import Resource, field, kind, struct
from reconcile.client import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Patch
from reconcile.errors import (
    ConflictError,
    InvalidError,
    MethodNotAllowedError,
    NotFoundError,
    Tree,
    UnsupportedMediaTypeError,
)
from reconcile.kinds import kind_of
from reconcile.resources.core import ConfigMap, Namespace
from reconcile.runtime.api import Notes
from reconcile.runtime.api.http.tables import table
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.apiextensions.declaring import DEFINITION, GROUP, Declare, definition, version, widget

NAME = f"widgets.{GROUP}"
SPEC: Tree = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "default": 3},
        "note": {"type": "string", "nullable": True},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "inner": {
            "type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True,
        },
        "parts": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
            },
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "replicas": {"type": "integer"},
    },
}  # fmt: skip


@virtual
async def test_an_object_is_defaulted_and_pruned_by_its_schema(clock: VirtualClock, declaring: Declare) -> None:
    """What is stored must be what the schema says, whoever wrote it."""
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=SPEC)))
        tree = await plane.create(
            widget(
                port="http", free={"any": {"thing": 1}}, lost=1, inner={"apiVersion": "v1", "kind": "X", "metadata": {}, "z": 1}
            )
        )
        assert tree["spec"] == {
            "size": 3, "port": "http", "free": {"any": {"thing": 1}},
            "inner": {"apiVersion": "v1", "kind": "X", "metadata": {}, "z": 1},
        }  # fmt: skip
        assert (await plane.create(widget("b", note=None, port=80)))["spec"] == {"size": 3, "note": None, "port": 80}


@virtual
async def test_an_embedded_objects_metadata_has_no_other_fields(clock: VirtualClock, declaring: Declare) -> None:
    """Even where all else is preserved: a misspelt label there is one that nobody ever finds."""
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=SPEC)))
        given = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "labels": {"a": "b"}, "lables": {}}, "z": 1}
        notes = Notes()
        made = await plane.api.create(plane.kind(), widget(inner=given), "default", field_validation="Warn", notes=notes)
        assert made.tree["spec"]["inner"] == {**given, "metadata": {"name": "x", "labels": {"a": "b"}}}
        assert notes.warnings == ['unknown field "spec.inner.metadata.lables"']
        error = await plane.refusal(plane.apply(widget("b", inner=given)))
        assert ".spec.inner.metadata.lables: field not declared in schema" in str(error)


@virtual
async def test_an_object_that_breaks_its_schema_is_refused(clock: VirtualClock, declaring: Declare) -> None:
    """In the reference server's words, all at once."""
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=SPEC)))
        error = await plane.refusal(plane.create(widget(size="big", tags=["a", "a"], port=1.5, inner={})))
        assert isinstance(error, InvalidError)
        assert {f"{cause.field}: {cause.message}" for cause in error.causes} == {
            'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"',
            'spec.tags[1]: Duplicate value: "a"',
            'spec.port: Invalid value: "number": spec.port in body must be of type integer,string: "number"',
            "spec.inner.apiVersion: Required value: must not be empty",
            "spec.inner.kind: Required value: must not be empty",
        }


@virtual
async def test_all_versions_show_the_same_objects(clock: VirtualClock, declaring: Declare) -> None:
    """A client that still speaks the old version must see, and be seen by, those that speak the new one."""
    async with declaring(clock) as plane:
        beta = version("v1beta1", storage=False, deprecated=True)
        await plane.declare(definition(version(spec=SPEC), beta))
        old, new = plane.kind(of_version="v1beta1"), plane.kind()
        assert old.deprecation == f"{GROUP}/v1beta1 Widget is deprecated"
        async with aclosing(plane.client.watch(old)) as seen_old, aclosing(plane.client.watch(new)) as seen_new:  # type: ignore[type-var]
            made = await plane.create(widget(size=4, api_version="v1beta1"))
            assert made["apiVersion"] == f"{GROUP}/v1beta1"
            changed = await plane.client.patch(new, "a", Patch(MERGE_PATCH, {"spec": {"size": 5}}), "default")
            assert changed["apiVersion"] == f"{GROUP}/v1"
            for seen, of_version in ((seen_old, "v1beta1"), (seen_new, "v1")):
                events = [await anext(seen), await anext(seen)]
                assert [e.object["spec"]["size"] for e in events] == [4, 5]
                assert {e.object["apiVersion"] for e in events} == {f"{GROUP}/{of_version}"}
        assert (await plane.client.get(old, "a", "default"))["apiVersion"] == f"{GROUP}/v1beta1"
        key = b"/registry/" + NAME.encode() + b"/default/a"
        stored = plane.api.store.get(key)
        assert stored is not None
        assert f'"apiVersion":"{GROUP}/v1"'.encode() in stored.value
        await plane.client.delete(old, "a", "default")
        assert not (await plane.client.list(new)).items


@virtual
async def test_a_changed_definition_holds_at_once(clock: VirtualClock, declaring: Declare) -> None:
    """New versions, new defaults and new fields: for objects that are there already as well, and for running watches."""
    async with declaring(clock) as plane:
        await plane.declare(definition(version()))
        await plane.create(widget())
        watch = plane.client.watch(plane.kind())
        later = version(spec=SPEC, subresources={"status": {}})
        await plane.change(NAME, {"spec": {"versions": [later | {"storage": False}, version("v2", spec=SPEC)]}})
        assert plane.kind().status
        assert (await plane.client.get(plane.kind(), "a", "default"))["spec"] == {"size": 3}, "defaults are written in when read"
        await plane.create(widget("b", size=7, note="new", api_version="v2"))
        async with aclosing(watch) as events:  # type: ignore[type-var]
            assert (await anext(events)).object["spec"] == {"size": 7, "note": "new"}
        found = await plane.client.get(DEFINITION, NAME)
        assert found["status"]["storedVersions"] == ["v1", "v2"]
        key = b"/registry/" + NAME.encode() + b"/default/a"
        for stored_in in ("v1", "v2", "v2"):
            stored = plane.api.store.get(key)
            assert stored is not None
            assert f'"apiVersion":"{GROUP}/{stored_in}"'.encode() in stored.value, "writing it back migrates it, once"
            tree = await plane.client.get(plane.kind(), "a", "default")
            written = await plane.client.update(plane.kind(), tree, "default")
        assert written["metadata"]["resourceVersion"] == tree["metadata"]["resourceVersion"]
        preferred = [k.version for k in await plane.client.kinds() if k.kind == "Widget"]
        assert preferred == ["v2"]
        error = await plane.refusal(plane.change(NAME, {"spec": {"versions": [version("v2", spec=SPEC)]}}))
        assert "v1 was previously a storage version, and must remain in spec.versions" in str(error)


@virtual
async def test_status_and_scale_are_parts_of_their_own(clock: VirtualClock, declaring: Declare) -> None:
    """Autoscalers and controllers rely on writing one without the other."""
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}
    scale = {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
    }  # fmt: skip
    made = version(spec=SPEC, subresources={"status": {}, "scale": scale})
    made["schema"]["openAPIV3Schema"]["properties"]["status"] = status
    async with declaring(clock) as plane:
        kind_ = await plane.declare(definition(made))
        tree = await plane.create(widget(replicas=2) | {"status": {"replicas": 9}})
        assert "status" not in tree
        told = Patch(MERGE_PATCH, {"spec": {"replicas": 7}, "status": {"replicas": 1, "selector": "app=a"}})
        tree = await plane.client.patch(kind_, "a", told, "default", subresource="status")
        assert (tree["spec"]["replicas"], tree["status"], tree["metadata"]["generation"]) == (
            2,
            {"replicas": 1, "selector": "app=a"},
            1,
        )
        scaled = await plane.client.patch(
            kind_, "a", Patch(MERGE_PATCH, {"spec": {"replicas": 5}}), "default", subresource="scale"
        )
        assert (scaled["spec"], scaled["status"]) == ({"replicas": 5}, {"replicas": 1, "selector": "app=a"})
        assert (await plane.client.get(kind_, "a", "default"))["metadata"]["generation"] == 2


@virtual
async def test_lists_are_merged_by_their_keys_and_strategic_patches_refused(clock: VirtualClock, declaring: Declare) -> None:
    """Two appliers share a list only if the schema's list types are heeded."""
    async with declaring(clock) as plane:
        kind_ = await plane.declare(definition(version(spec=SPEC)))
        await plane.apply(widget(size=1, parts=[{"name": "x", "n": 1}]), "one")
        tree = await plane.apply(widget(parts=[{"name": "y", "n": 2}]), "two")
        assert tree["spec"]["parts"] == [{"name": "x", "n": 1}, {"name": "y", "n": 2}]
        assert isinstance(await plane.refusal(plane.apply(widget(parts=[{"name": "x", "n": 3}]), "two")), ConflictError)
        patch = Patch(STRATEGIC_PATCH, {"spec": {"size": 2}})
        assert isinstance(await plane.refusal(plane.client.patch(kind_, "a", patch, "default")), UnsupportedMediaTypeError)


@virtual
async def test_columns_and_selectable_fields_are_the_definitions(clock: VirtualClock, declaring: Declare) -> None:
    """`kubectl get` and field selectors are made of them."""
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "How big."},
        {"name": "Odd", "type": "string", "jsonPath": ".spec.parts[0:1].name"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    async with declaring(clock) as plane:
        kind_ = await plane.declare(
            definition(version(spec=SPEC, additionalPrinterColumns=columns, selectableFields=[{"jsonPath": ".spec.size"}]))
        )
        for size in (1, 2):
            await plane.create(widget(f"w{size}", size=size))
        found = await plane.client.list(kind_, fields="spec.size=2")
        assert [tree["metadata"]["name"] for tree in found.items] == ["w2"]
        shown = table(kind_, (await plane.api.list(kind_)).items, clock.now())
        assert [c["name"] for c in shown["columnDefinitions"]] == ["Name", "Size", "Odd", "Age"]
        assert [row["cells"][:3] for row in shown["rows"]] == [["w1", 1, None], ["w2", 2, None]]


@virtual
async def test_a_deleted_definition_waits_for_its_objects(clock: VirtualClock, declaring: Declare) -> None:
    """Objects held by a finalizer must be let go by whoever holds them, and may not be joined by new ones meanwhile."""
    async with declaring(clock) as plane:
        kind_ = await plane.declare(definition())
        await plane.create(widget("free"))
        await plane.create(widget("held") | {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
        await plane.client.delete(DEFINITION, NAME)
        told = await plane.condition(NAME, "Terminating")
        assert told["reason"] == "InstanceDeletionInProgress"
        assert [t["metadata"]["name"] for t in (await plane.client.list(kind_)).items] == ["held"]
        error = await plane.refusal(plane.create(widget("late")))
        assert isinstance(error, MethodNotAllowedError)
        assert str(error) == "create not allowed while custom resource definition is terminating"
        await plane.client.patch(kind_, "held", Patch(MERGE_PATCH, {"metadata": {"finalizers": None}}), "default")

        async def gone() -> bool:
            return plane.api.find(GROUP, "v1", "widgets") is None

        await plane.until(gone, "the kind is withdrawn")
        assert isinstance(await plane.refusal(plane.client.get(DEFINITION, NAME)), NotFoundError)
        kind_ = await plane.declare(definition())
        assert not (await plane.client.list(kind_)).items, "a kind that comes back begins empty"


@virtual
async def test_who_is_first_has_the_name(clock: VirtualClock, declaring: Declare) -> None:
    """Two kinds under one short name would make every command line ambiguous; when the first goes, the second may have it."""
    async with declaring(clock) as plane:
        await plane.declare(definition(shortNames=["wd"]))
        await plane.client.create(DEFINITION, definition(plural="wires", named="Wire", shortNames=["wd"]))
        told = await plane.condition(f"wires.{GROUP}", "NamesAccepted", "False")
        assert (told["reason"], told["message"]) == ("ShortNamesConflict", '"wd" is already in use')
        assert (await plane.condition(f"wires.{GROUP}", "Established", "False"))["reason"] == "NotAccepted"
        assert plane.api.find(GROUP, "v1", "wires") is None
        await plane.client.delete(DEFINITION, NAME)
        await plane.condition(f"wires.{GROUP}", "Established")
        assert plane.kind("wires").short_names == ("wd",)


@virtual
async def test_a_restart_serves_stored_definitions_before_anything_else(
    clock: VirtualClock, declaring: Declare, tmp_path: Path
) -> None:
    """A client that asks in that moment must not be told that the kind is unknown."""
    async with declaring(clock, tmp_path) as plane:
        await plane.declare(definition(version(), version("v1beta1", storage=False)))
        await plane.create(widget(api_version="v1beta1"))
        await plane.change(NAME, {"spec": {"versions": [version(spec=SPEC), version("v1beta1", storage=False)]}})
    async with declaring(clock, tmp_path) as plane:
        for of_version in ("v1beta1", "v1"):
            found = await plane.client.get(plane.kind(of_version=of_version), "a", "default")
            assert found["apiVersion"] == f"{GROUP}/{of_version}"
            assert found["spec"] == {"size": 3}, "with the defaults that the schema of the stored version has now"


@virtual
async def test_words_of_a_schema_that_mean_nothing_are_told(clock: VirtualClock, declaring: Declare) -> None:
    """A typing error in a keyword is a rule that nobody enforces."""
    async with declaring(clock) as plane:
        notes = Notes()
        await plane.api.create(DEFINITION, definition(version(spec=SPEC | {"x-odd": 1})), notes=notes)
        assert any(text.startswith('unknown field "') and "x-odd" in text for text in notes.warnings)


@virtual
async def test_everything_that_follows_every_kind_follows_declared_ones(clock: VirtualClock, declaring: Declare) -> None:
    """Dependents of a custom object go with it, and its namespace takes it along."""
    async with declaring(clock) as plane:
        kind_ = await plane.declare(definition())
        owner = await plane.create(widget())
        reference = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "name": "a", "uid": owner["metadata"]["uid"]}
        await plane.client.create(kind_of(ConfigMap), {"metadata": {"name": "c", "ownerReferences": [reference]}}, "default")
        await plane.engine.settled()
        await plane.client.delete(kind_, "a", "default")

        async def collected() -> bool:
            return not (await plane.client.list(kind_of(ConfigMap))).items

        await plane.until(collected, "the dependent is collected")
        await plane.client.create(kind_of(Namespace), {"metadata": {"name": "n"}})
        await plane.create(widget(), "n")
        await plane.client.delete(kind_of(Namespace), "n")

        async def emptied() -> bool:
            return not (await plane.client.list(kind_)).items

        await plane.until(emptied, "the namespace took it along")


@struct
class WidgetSpec:
    size: int = field(default=9)


@kind(GROUP, "v1")
class Widget(Resource):
    """The same kind as a class."""

    spec: WidgetSpec = field(factory=WidgetSpec)


@virtual
async def test_a_class_goes_before_a_definition_of_the_same_kind(clock: VirtualClock, declaring: Declare) -> None:
    """The program that is loaded was written for the class; when it goes, what clients declared holds."""
    async with declaring(clock) as plane:
        plane.api.serve(kind_of(Widget))
        await plane.client.create(DEFINITION, definition(version(spec=SPEC)))
        await plane.condition(NAME, "Established")
        assert plane.kind().cls is Widget
        assert (await plane.create(widget("a")))["spec"] == {"size": 9}
        plane.api.release(kind_of(Widget))
        assert (await plane.create(widget("b")))["spec"] == {"size": 3}
        plane.api.serve(kind_of(Widget))
        await plane.client.delete(DEFINITION, NAME)
        await plane.engine.settled()
        names = [tree["metadata"]["name"] for tree in (await plane.client.list(kind_of(Widget))).items]
        assert names == ["a", "b"], "objects of a class are not the definition's to delete"


@virtual
async def test_anybody_may_say_something_of_a_definition_without_a_type(clock: VirtualClock, declaring: Declare) -> None:
    """As the reference server lets them; what it says itself stays beside it."""
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=SPEC)))
        said = [{"op": "add", "path": "/status/conditions/-", "value": {"message": "patched"}}]
        await plane.client.patch(DEFINITION, NAME, Patch(JSON_PATCH, said), subresource="status")
        names = {"spec": {"names": {"shortNames": ["wid"]}}}
        await plane.client.patch(DEFINITION, NAME, Patch(MERGE_PATCH, names))
        await plane.until(lambda: _accepted(plane, "wid"), "the new name is accepted")
        tree = await plane.client.get(DEFINITION, NAME)
        told = [condition.get("type", condition.get("message")) for condition in tree["status"]["conditions"]]
        assert told == ["NamesAccepted", "Established", "patched"]


async def _accepted(plane: Any, short: str) -> bool:
    names = (await plane.client.get(DEFINITION, NAME))["status"]["acceptedNames"]
    return short in names.get("shortNames", ())
