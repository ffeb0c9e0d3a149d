"""Create, update, patch and act: metadata, rules, conflicts, subresources, admission."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reconcile.causality import TRIGGER, Cause, Trigger
from reconcile.client import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Patch
from reconcile.errors import (
    AlreadyExistsError,
    ApiError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    PermanentError,
    TooLargeError,
    UnsupportedMediaTypeError,
)
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind
from reconcile.runtime.api import Caller, Notes


def merge(**body: Any) -> Patch:
    return Patch(MERGE_PATCH, body)


async def test_a_new_object_gets_its_metadata_and_defaults_from_the_server(serving: Any) -> None:
    """Whatever a client claims about them, these are the server's."""
    async with serving() as s:
        given: Any = {
            "metadata": {"name": "a", "uid": "mine", "generation": 7, "creationTimestamp": None},
            "spec": {"items": [{"name": "i", "ports": [{"port": 1}]}]},
            "status": {"phase": "Done"},
        }
        made = await s.client.create(s.site, given, "n")
        meta = made["metadata"]
        assert list(made)[:3] == ["apiVersion", "kind", "metadata"]
        assert (made["apiVersion"], made["kind"], meta["namespace"], meta["generation"]) == ("example.com/v1", "Site", "n", 1)
        assert meta["uid"] != "mine"
        assert meta["creationTimestamp"].endswith("Z")
        assert meta["resourceVersion"] == str(s.store.revision)
        assert made["spec"]["replicas"] == 1
        assert made["spec"]["items"][0]["ports"] == [{"port": 1, "protocol": "TCP"}]
        assert "status" not in made
        assert "managedFields" not in meta
        assert given["metadata"]["uid"] == "mine"


async def test_generated_names_end_in_five_characters_that_spell_nothing(serving: Any) -> None:
    """Controllers create by prefix; a name taken by chance is tried again."""
    async with serving() as s:
        names = set()
        for _ in range(20):
            made = await s.client.create(s.site, {"metadata": {"generateName": "web-"}, "spec": {}}, "n")
            names.add(made["metadata"]["name"])
        assert len(names) == 20
        assert all(len(n) == 9 and set(n[4:]) <= set("bcdfghjklmnpqrstvwxz2456789") for n in names)


async def refused(error: type[ApiError], awaitable: Any) -> ApiError:
    with pytest.raises(error) as caught:
        await awaitable
    return caught.value


async def test_refusals_have_the_reference_servers_texts(serving: Any) -> None:
    """Clients match on them; recorded from a real server."""
    async with serving() as s:
        c, config = s.client, s.config
        error = await refused(NotFoundError, c.get(config, "none", "n"))
        assert error.status() == {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": 'configmaps "none" not found',
            "reason": "NotFound", "details": {"name": "none", "kind": "configmaps"}, "code": 404,
        }  # fmt: skip
        await c.create(config, {"metadata": {"name": "x"}}, "n")
        error = await refused(AlreadyExistsError, c.create(config, {"metadata": {"name": "x"}}, "n"))
        assert error.message == 'configmaps "x" already exists'
        stale = {"metadata": {"name": "x", "resourceVersion": "1"}, "data": {"a": "b"}}
        error = await refused(ConflictError, c.update(config, stale, "n"))
        assert error.message == (
            'Operation cannot be fulfilled on configmaps "x": the object has been modified; please apply your changes to the '
            "latest version and try again"
        )
        error = await refused(BadRequestError, c.create(config, {"metadata": {"name": "y"}, "data": {"a": 1}}, "n"))
        assert error.message == (
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field '
            "ConfigMap.data of type string"
        )
        error = await refused(
            BadRequestError, s.api.create(config, {"metadata": {"name": "y"}, "foo": 1}, "n", field_validation="Strict")
        )
        assert (
            error.message
            == 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo"'
        )
        error = await refused(NotFoundError, c.get(s.site, "b", "n"))
        assert (error.message, error.details) == (
            'sites.example.com "b" not found',
            {"name": "b", "group": "example.com", "kind": "sites"},
        )


async def test_bad_names_are_invalid_with_the_reference_text(serving: Any) -> None:
    """Names end in DNS and in paths."""
    async with serving(namespaces=True) as s:
        error = await refused(InvalidError, s.client.create(s.room, {"metadata": {"name": "Bad_Name"}}))
        assert error.message == (
            'Room.example.com "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 label '
            "must consist of "
            "lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  "
            "or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        )
        error = await refused(InvalidError, s.client.create(s.room, {"metadata": {}}))
        assert error.causes[0].message == "Required value: name or generateName is required"
        bad = {"name": "a", "labels": {"-x": "y", "ok": "no good"}, "ownerReferences": [{"kind": "A"}]}
        error = await refused(InvalidError, s.client.create(s.room, {"metadata": bad}))
        assert [cause.field for cause in error.causes][:2] == ["metadata.labels", "metadata.labels"]
        assert "metadata.ownerReferences[0].uid" in [cause.field for cause in error.causes]


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"replicas": "three"}, "spec.replicas",
         'Invalid value: "string": spec.replicas in body must be of type integer: "string"'),
        ({"replicas": -1}, "spec.replicas", "Invalid value: -1: spec.replicas in body should be greater than or equal to 0"),
        ({"host": "UP"}, "spec.host", "Invalid value: \"UP\": spec.host in body should match '^[a-z.]*$'"),
        ({"host": "a" * 21}, "spec.host", "Too long: may not be more than 20 bytes"),
        ({"tags": ["a", "a"]}, "spec.tags[1]", 'Duplicate value: "a"'),
        ({"items": [{"name": "a"}, {"name": "a"}]}, "spec.items[1]", 'Duplicate value: {"name":"a"}'),
        ({"items": [{"image": "x"}]}, "spec.items[0].name", "Required value"),
        ({"items": [{"name": "a", "ports": [{"port": 1, "protocol": "X"}]}]}, "spec.items[0].ports[0].protocol",
         'Unsupported value: "X": supported values: "TCP", "UDP"'),
        ({"items": [{"name": "a", "limit": "much"}]}, "spec.items[0].limit",
         "Invalid value: \"much\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ({"surge": True}, "spec.surge", 'Invalid value: "boolean": spec.surge in body must be of type integer,string: "boolean"'),
        ({"data": {"a/b": 1}}, "spec.data[a/b]",
         'Invalid value: "integer": spec.data[a/b] in body must be of type string: "integer"'),
        ({"data": {"bad": "x"}}, "spec.data.bad", "Forbidden: no bad data"),
    ],
)  # fmt: skip
async def test_the_schemas_rules_are_told_with_path_and_value(serving: Any, spec: Any, field: str, message: str) -> None:
    """An error that does not say where costs its reader an hour."""
    async with serving() as s:
        error = await refused(InvalidError, s.make("a", **spec))
        assert [(cause.field, cause.message) for cause in error.causes] == [(field, message)]
        assert error.message == f'Site.example.com "a" is invalid: {field}: {message}'


async def test_unknown_fields_are_dropped_warned_about_or_refused_as_asked(serving: Any) -> None:
    """kubectl sends Strict, controllers nothing."""
    async with serving() as s:
        tree = {"metadata": {"name": "a"}, "spec": {"foo": 1, "items": [{"name": "x", "bar": 2}]}}
        error = await refused(BadRequestError, s.api.create(s.site, tree, "n", field_validation="Strict"))
        assert 'strict decoding error: unknown field "spec.foo", unknown field "spec.items[0].bar"' in error.message
        notes = Notes()
        made = await s.api.create(s.site, tree, "n", field_validation="Warn", notes=notes)
        assert notes.warnings == ['unknown field "spec.foo"', 'unknown field "spec.items[0].bar"']
        assert notes.created
        assert made.tree["spec"] == {"items": [{"name": "x"}], "replicas": 1}


async def test_status_and_the_rest_are_written_separately(serving: Any) -> None:
    """A controller that writes status must not be able to undo a user's change of the spec, nor the other way round."""
    async with serving() as s:
        made = await s.make("a", replicas=2)
        both = {**made, "spec": {"replicas": 5}, "status": {"phase": "Up"}}
        after = await s.client.update(s.site, both, "n", subresource="status")
        assert (after["spec"]["replicas"], after["status"]) == (2, {"phase": "Up", "replicas": 0})
        assert after["metadata"]["generation"] == 1
        after = await s.client.patch(s.site, "a", merge(spec={"replicas": 5}, status={"phase": "Down"}), "n")
        assert (after["spec"]["replicas"], after["status"], after["metadata"]["generation"]) == (
            5,
            {"phase": "Up", "replicas": 0},
            2,
        )
        after = await s.client.patch(s.site, "a", merge(metadata={"labels": {"x": "y"}}), "n", subresource="status")
        assert "labels" not in after["metadata"]
        after = await s.client.patch(s.site, "a", merge(metadata={"labels": {"x": "y"}}), "n")
        assert after["metadata"]["generation"] == 2


async def test_a_write_that_changes_nothing_writes_nothing(serving: Any) -> None:
    """Otherwise two controllers that agree would wake each other for ever."""
    async with serving() as s:
        made = await s.make("a", data={"x": "y"})
        revision = s.store.revision
        assert await s.client.update(s.site, made, "n") is made
        bare = {"metadata": {"name": "a"}, "spec": {"data": {"x": "y"}}}
        assert await s.client.update(s.site, bare, "n") is made
        assert await s.client.patch(s.site, "a", merge(spec={"data": {"x": "y"}}), "n") is made
        assert s.store.revision == revision


async def test_unchanged_parts_are_shared_between_revisions(serving: Any) -> None:
    """Sharing is what makes a thousand revisions of a pod cheap."""
    async with serving() as s:
        made = await s.make("a", items=[{"name": "x"}])
        after = await s.client.patch(s.site, "a", merge(status={"phase": "Up"}), "n", subresource="status")
        assert after["spec"] is made["spec"]


async def test_immutable_fields_cannot_change(serving: Any) -> None:
    """The field's owner relies on it."""
    async with serving() as s:
        await s.make("a", zone="eu")
        error = await refused(InvalidError, s.client.patch(s.site, "a", merge(spec={"zone": "us"}), "n"))
        assert error.message == 'Site.example.com "a" is invalid: spec.zone: Invalid value: "us": field is immutable'


async def test_concurrent_patches_without_a_revision_all_get_through(serving: Any) -> None:
    """Label patches of ten controllers must not fail each other."""
    async with serving() as s:
        await s.make("a")
        await asyncio.gather(*(s.client.patch(s.site, "a", merge(spec={"data": {f"k{n}": "v"}}), "n") for n in range(20)))
        assert len((await s.get())["spec"]["data"]) == 20


async def test_of_concurrent_updates_with_one_revision_exactly_one_gets_through(serving: Any) -> None:
    """That is what resourceVersion is for."""
    async with serving() as s:
        made = await s.make("a")
        answers = await asyncio.gather(
            *(s.client.update(s.site, {**made, "spec": {"replicas": n}}, "n") for n in range(2, 12)), return_exceptions=True
        )
        assert sum(isinstance(answer, dict) for answer in answers) == 1
        assert sum(isinstance(answer, ConflictError) for answer in answers) == 9


async def test_a_patch_can_name_the_revision_it_was_made_on(serving: Any) -> None:
    """kopf does so by a JSON patch with a test, others in the body."""
    async with serving() as s:
        made = await s.make("a")
        old = made["metadata"]["resourceVersion"]
        await s.client.patch(s.site, "a", merge(spec={"replicas": 2}), "n")
        await refused(
            ConflictError, s.client.patch(s.site, "a", merge(metadata={"resourceVersion": old}, spec={"replicas": 3}), "n")
        )
        patch = Patch(
            JSON_PATCH,
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": old},
                {"op": "add", "path": "/spec/replicas", "value": 3},
            ],
        )
        await refused(InvalidError, s.client.patch(s.site, "a", patch, "n"))
        assert (await s.get())["spec"]["replicas"] == 2


async def test_a_strategic_patch_is_not_understood_by_kinds_without_a_class(serving: Any) -> None:
    """As for CustomResourceDefinitions: their schemas have no merge keys."""
    async with serving() as s:
        given = Kind(group="x.com", version="v1", kind="Thing", plural="things")
        s.api.serve(given)
        await s.client.create(given, {"metadata": {"name": "a"}, "any": {"thing": [1]}}, "n")
        await refused(UnsupportedMediaTypeError, s.client.patch(given, "a", Patch(STRATEGIC_PATCH, {}), "n"))
        await refused(UnsupportedMediaTypeError, s.client.patch(given, "a", Patch("text/plain", {}), "n"))
        await s.make("a", items=[{"name": "x", "image": "1"}])
        after = await s.client.patch(s.site, "a", Patch(STRATEGIC_PATCH, {"spec": {"items": [{"name": "x", "image": "2"}]}}), "n")
        assert after["spec"]["items"] == [{"name": "x", "image": "2"}]


async def test_a_dry_run_answers_as_if_and_writes_nothing(serving: Any) -> None:
    """kubectl diff is built on it."""
    async with serving() as s:
        revision = s.store.revision
        made = await s.client.create(s.site, {"metadata": {"name": "a"}, "spec": {}}, "n", dry_run=True)
        assert made["spec"] == {"replicas": 1}
        assert s.store.revision == revision
        await s.make("a")
        await refused(AlreadyExistsError, s.client.create(s.site, {"metadata": {"name": "a"}, "spec": {}}, "n", dry_run=True))
        after = await s.client.patch(s.site, "a", merge(spec={"replicas": 4}), "n", dry_run=True)
        assert after["spec"]["replicas"] == 4
        assert (await s.get())["spec"]["replicas"] == 1


async def test_nothing_is_created_in_a_namespace_that_is_missing_or_going_away(serving: Any) -> None:
    """Otherwise a namespace would never become empty."""
    async with serving(namespaces=True) as s:
        error = await refused(NotFoundError, s.make("a"))
        assert error.message == 'rooms.example.com "n" not found'
        await s.client.create(s.room, {"metadata": {"name": "n", "finalizers": ["x.com/y"]}})
        await s.make("a")
        await s.client.delete(s.room, "n")
        error = await refused(ForbiddenError, s.make("b"))
        assert error.message == (
            'sites.example.com "b" is forbidden: unable to create new content in namespace n because it is being terminated'
        )
        assert error.causes[0].reason == "NamespaceTerminating"
        await s.client.patch(s.site, "a", merge(spec={"replicas": 2}), "n")


async def test_a_scale_reads_and_writes_the_replicas(serving: Any) -> None:
    """kubectl scale and autoscalers know nothing else of a kind."""
    async with serving() as s:
        made = await s.make("a", replicas=2, selector={"matchLabels": {"a": "b"}})
        await s.client.patch(s.site, "a", merge(status={"replicas": 1}), "n", subresource="status")
        scale = (await s.api.get(s.site, "a", "n", subresource="scale")).tree
        assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 2})
        assert scale["status"] == {"replicas": 1, "selector": "a=b"}
        after = await s.client.patch(s.site, "a", merge(spec={"replicas": 5}), "n", subresource="scale")
        assert after["spec"] == {"replicas": 5}
        stale = {**scale, "metadata": {**scale["metadata"], "resourceVersion": made["metadata"]["resourceVersion"]}}
        await refused(ConflictError, s.client.update(s.site, stale, "n", subresource="scale"))
        await s.client.update(s.site, {"metadata": {"name": "a"}, "spec": {"replicas": 7}}, "n", subresource="scale")
        assert (await s.get())["spec"]["replicas"] == 7
        await refused(InvalidError, s.client.patch(s.site, "a", merge(spec={"replicas": -1}), "n", subresource="scale"))


async def test_an_action_writes_what_its_hook_says(serving: Any) -> None:
    """A Pod's binding is one."""
    async with serving() as s:
        made = await s.make("a")
        after = await s.client.act(s.site, "a", "place", {"target": "n1"}, "n")
        assert after["spec"]["nodeName"] == "n1"
        assert "nodeName" not in made["spec"]
        await refused(NotFoundError, s.client.act(s.site, "a", "none", {}, "n"))


async def test_admission_changes_and_refuses_in_order(serving: Any) -> None:
    """Mutators first, then defaults, then validators; both may be coroutines."""
    async with serving() as s:
        seen = []

        async def mutate(review: AdmissionReview) -> None:
            seen.append(("mutate", review.operation, review.user))
            review.tree["spec"].setdefault("items", []).append({"name": "side", "ports": [{"port": 1}]})
            review.warnings.append("added a side")

        def validate(review: AdmissionReview) -> None:
            seen.append(("validate", review.operation, review.tree["spec"]["items"][0]["ports"][0]["protocol"]))
            if review.tree["spec"]["replicas"] > 3:
                raise PermanentError("too many")

        remove = s.api.add_mutator(s.site, mutate)
        s.api.add_validator(None, validate)
        given: Any = {"metadata": {"name": "a"}, "spec": {}}
        notes = Notes()
        await s.api.create(s.site, given, "n", caller=Caller("ann"), notes=notes)
        assert seen == [("mutate", "CREATE", "ann"), ("validate", "CREATE", "TCP")]
        assert notes.warnings == ["added a side"]
        assert given["spec"] == {}
        remove()
        error = await refused(ForbiddenError, s.client.patch(s.site, "a", merge(spec={"replicas": 4}), "n"))
        assert "too many" in error.message


async def test_a_request_that_is_too_large_is_refused_clearly(serving: Any) -> None:
    """One object must not be able to fill the store."""
    async with serving(request_bytes_max=1000) as s:
        error = await refused(TooLargeError, s.make("a", data={"x": "y" * 2000}))
        assert error.message == "Request entity too large: limit is 1000"
    async with serving() as s:
        error = await refused(TooLargeError, s.make("a", data={"x": "y" * 2_000_000}))
        assert "limit is 1572864" in error.message


async def test_a_write_carries_the_handler_that_made_it(serving: Any) -> None:
    """`reconcile why` reads it from the store."""
    async with serving() as s:
        trigger = Trigger("web", 7, attempt=3, merged=2)
        token = TRIGGER.set(trigger)
        await s.make("a")
        TRIGGER.reset(token)
        made = s.store.revision
        cause = Cause.decode(await s.store.cause(made))
        assert cause is not None
        assert (cause.handler, cause.revision, cause.reason, cause.attempt, cause.merged) == ("web", 7, "change", 3, 2)
        assert trigger.wrote == [made], "and the run knows what it wrote"
        await s.client.patch(s.site, "a", merge(spec={"replicas": 3}), "n", field_manager="ann")
        by_hand = Cause.decode(await s.store.cause(s.store.revision))
        assert by_hand is not None
        assert (by_hand.handler, by_hand.revision, by_hand.attempt) == ("ann", 0, 0)
        assert trigger.wrote == [made]


def test_a_cause_survives_its_text() -> None:
    """It is kept as text, for as long as its revision; a text of another origin is whoever wrote."""
    cause = Cause("app/web", 7, "related", 12, 3, "web.yaml:14")
    assert Cause.decode(cause.encode()) == cause
    assert Cause.decode("an older\tthing") == Cause("an older\tthing")
    assert Cause.decode("") is None
    assert Cause.decode(None) is None


async def test_kinds_come_and_go_and_tell(serving: Any) -> None:
    """Discovery and the engine follow."""
    async with serving() as s:
        told: list[int] = []
        remove = s.api.on_kinds_changed(lambda: told.append(len(s.api.kinds())))
        made = await s.make("a")
        s.api.withdraw(s.site)
        await refused(NotFoundError, s.client.get(s.site, "a", "n"))
        second = Kind(group="example.com", version="v2", kind="Site", plural="sites")
        s.api.serve(second)
        assert s.api.find("example.com", "v2", "sites") is second
        assert (await s.client.get(second, "a", "n"))["apiVersion"] == "example.com/v2"
        s.api.serve(s.site)
        assert await s.get() is made
        remove()
        s.api.withdraw(second)
        assert told == [1, 2, 3]
