"""Server-side apply: the cases of the Kubernetes documentation, and a few that bit others.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reconcile.causality import TRIGGER, Trigger
from reconcile.client import APPLY_PATCH, MERGE_PATCH, Patch
from reconcile.errors import BadRequestError, ConflictError, Tree


async def apply(s: Any, manager: str, name: str = "a", *, force: bool = False, subresource: str = "", status: Tree | None = None,
                labels: dict[str, str] | None = None, **spec: Any) -> Tree:  # fmt: skip
    meta: Tree = {"name": name, **({"labels": labels} if labels is not None else {})}
    body: Tree = {"apiVersion": "example.com/v1", "kind": "Site", "metadata": meta}
    if spec:
        body["spec"] = spec
    if status is not None:
        body["status"] = status
    made: Tree = await s.client.patch(
        s.site, name, Patch(APPLY_PATCH, body), "n", field_manager=manager, force=force, subresource=subresource
    )
    return made


def owned(tree: Tree) -> dict[str, Any]:
    """Fields by manager and operation."""
    return {
        f"{entry['manager']} {entry['operation']}" + (f" {entry['subresource']}" if "subresource" in entry else ""): entry[
            "fieldsV1"
        ]
        for entry in tree["metadata"].get("managedFields", ())
    }


async def test_applying_what_is_not_there_creates_it_and_owns_its_fields(serving: Any) -> None:
    """As recorded from a real server; defaults belong to nobody."""
    async with serving() as s:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "y"}, "data": {"a": "b"}}
        made = await s.client.patch(s.config, "y", Patch(APPLY_PATCH, body), "n", field_manager="a")
        (entry,) = made["metadata"]["managedFields"]
        assert {k: v for k, v in entry.items() if k != "time"} == {
            "manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}},
        }  # fmt: skip
        site = await apply(s, "a", labels={"x": "y"}, items=[{"name": "i", "ports": [{"port": 80}]}], tags=["t"], args=["z"])
        assert site["spec"]["replicas"] == 1
        assert owned(site)["a Apply"] == {
            "f:metadata": {"f:labels": {"f:x": {}}},
            "f:spec": {
                "f:items": {'k:{"name":"i"}': {
                    ".": {}, "f:name": {}, "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
                }},
                "f:tags": {'v:"t"': {}}, "f:args": {},
            },
        }  # fmt: skip


async def test_fields_that_the_kind_does_not_have_cannot_be_applied(serving: Any) -> None:
    """They would belong to nobody; the reference refuses them whatever the client asks of field validation, and so do we."""
    async with serving() as s:
        with pytest.raises(BadRequestError) as caught:
            await apply(s, "a", replica=1, items=[{"name": "i", "prots": []}], labels={"x": "y"})
        assert str(caught.value) == (
            "failed to create typed patch object (/a; example.com/v1, Kind=Site): errors:\n"
            '  .spec.replica: field not declared in schema\n  .spec.items[name="i"].prots: field not declared in schema'
        )
        assert [cause.field for cause in caught.value.causes] == ["spec.replica", "spec.items[0].prots"]
        body = {"apiVersion": "example.com/v1", "kind": "Site", "metadata": {"name": "a", "lables": {}}}
        with pytest.raises(BadRequestError, match=r"Kind=Site\): \.metadata\.lables: field not declared in schema"):
            await s.client.patch(s.site, "a", Patch(APPLY_PATCH, body), "n", field_manager="a")


async def test_a_field_of_another_manager_is_a_conflict_unless_forced(serving: Any) -> None:
    """Text and causes are a real server's."""
    async with serving() as s:
        await apply(s, "a", data={"a": "1"})
        with pytest.raises(ConflictError) as caught:
            await apply(s, "b", data={"a": "2"})
        assert caught.value.message == 'Apply failed with 1 conflict: conflict with "a": .spec.data.a'
        assert caught.value.status()["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "a"', "field": ".spec.data.a"}
        ]
        after = await apply(s, "b", data={"a": "2"}, force=True)
        assert after["spec"]["data"] == {"a": "2"}
        assert owned(after) == {"b Apply": {"f:spec": {"f:data": {"f:a": {}}}}}


async def test_several_conflicts_are_all_named(serving: Any) -> None:
    """So that one attempt shows all there is to decide."""
    async with serving() as s:
        await apply(s, "a", items=[{"name": "x", "image": "1"}], replicas=2)
        with pytest.raises(ConflictError) as caught:
            await apply(s, "b", items=[{"name": "x", "image": "2"}], replicas=3)
        assert caught.value.message == (
            'Apply failed with 2 conflicts: conflicts with "a":\n- .spec.items[name="x"].image\n- .spec.replicas'
        )


async def test_equal_values_are_shared_and_survive_until_the_last_owner_lets_go(serving: Any) -> None:
    """Two teams that agree do not conflict."""
    async with serving() as s:
        await apply(s, "a", data={"k": "v", "own": "a"})
        both = await apply(s, "b", data={"k": "v"})
        assert set(owned(both)) == {"a Apply", "b Apply"}
        after = await apply(s, "a", data={"own": "a"})
        assert after["spec"]["data"] == {"k": "v", "own": "a"}
        after = await apply(s, "b", replicas=1)
        assert after["spec"]["data"] == {"own": "a"}


async def test_fields_no_longer_applied_are_removed(serving: Any) -> None:
    """That is what makes an apply declarative."""
    async with serving() as s:
        await apply(
            s, "a", labels={"x": "1", "y": "2"}, items=[{"name": "i"}, {"name": "j"}], tags=["s", "t"], args=["z"], host="h"
        )
        after = await apply(s, "a", labels={"x": "1"}, items=[{"name": "j"}], tags=["t"])
        assert after["metadata"]["labels"] == {"x": "1"}
        assert after["spec"] == {"items": [{"name": "j"}], "tags": ["t"], "replicas": 1}


async def test_an_item_stays_while_somebody_else_owns_a_part_of_it(serving: Any) -> None:
    """A sidecar injector must not lose its field because the user dropped another."""
    async with serving() as s:
        await apply(s, "a", items=[{"name": "i", "image": "1"}])
        await apply(s, "b", items=[{"name": "i", "limit": "1Gi"}])
        after = await apply(s, "a", replicas=2)
        assert after["spec"]["items"] == [{"name": "i", "limit": "1Gi"}]


async def test_who_made_an_object_that_was_never_applied_is_told_by_its_history(serving: Any) -> None:
    """Otherwise the first apply would silently win over whoever made the object; what it carried until then costs nothing."""
    async with serving() as s:
        made = await s.make("a", replicas=3)
        assert "managedFields" not in made["metadata"]
        with pytest.raises(ConflictError, match=r'conflict with "system:apiserver" using example.com/v1: .spec.replicas'):
            await apply(s, "a", replicas=4)
        after = await apply(s, "a", replicas=3, host="h")
        assert owned(after) == {
            "a Apply": {"f:spec": {"f:replicas": {}, "f:host": {}}},
            "system:apiserver Update": {"f:spec": {".": {}, "f:replicas": {}}},
        }  # fmt: skip


async def test_each_writer_owns_what_it_set_last_and_statuses_by_themselves(serving: Any) -> None:
    """As if the owners had been kept up from the beginning: a controller's status is not its user's."""
    async with serving() as s:
        spec: Tree = {"replicas": 3, "host": "h", "tags": ["t"]}
        older = {"metadata": {"name": "a"}, "spec": {"host": "older"}}
        await s.client.create(s.site, older, "n", field_manager="forgotten")
        await s.client.delete(s.site, "a", "n")
        token = TRIGGER.set(Trigger("makers/make"))
        await s.client.create(s.site, {"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": spec}, "n", field_manager="no")
        TRIGGER.reset(token)
        for manager, part, change in (
            ("scaler", "", {"spec": {"replicas": 5}}), ("worker", "status", {"status": {"replicas": 1}}),
            ("scaler", "", {"spec": {"tags": None}}), ("worker", "status", {"status": {"replicas": 2}}),
        ):  # fmt: skip
            patch = Patch(MERGE_PATCH, change)
            await s.client.patch(s.site, "a", patch, "n", subresource=part, field_manager=manager)
        with pytest.raises(ConflictError) as refused:
            await apply(s, "u", replicas=1, host="other", labels={"x": "z"})
        assert {cause.message for cause in refused.value.causes} == {
            'conflict with "makers" using example.com/v1', 'conflict with "scaler" using example.com/v1',
        }  # fmt: skip
        after = await apply(s, "u", host="h")
        assert owned(after) == {
            "u Apply": {"f:spec": {"f:host": {}}}, "scaler Update": {"f:spec": {"f:replicas": {}}},
            "makers Update": {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}, "f:spec": {".": {}, "f:host": {}}},
            "worker Update status": {"f:status": {".": {}, "f:replicas": {}}},
        }  # fmt: skip
        told = {entry["manager"]: entry["time"] for entry in after["metadata"]["managedFields"]}
        assert told["makers"] <= told["scaler"] <= told["u"]


async def test_what_history_has_forgotten_belongs_to_before_first_apply(serving: Any) -> None:
    """As on the reference server to objects older than managedFields."""
    async with serving() as s:
        await s.make("a", replicas=3, host="h")
        await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"tags": ["t"]}}), "n", field_manager="tagger")
        await s.store.compact(s.store.revision)
        await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"replicas": 4}}), "n", field_manager="scaler")
        with pytest.raises(ConflictError, match=r'conflict with "before-first-apply" using example.com/v1: .spec.host'):
            await apply(s, "u", host="other")
        assert owned(await apply(s, "u", replicas=4)) == {
            "u Apply": {"f:spec": {"f:replicas": {}}}, "scaler Update": {"f:spec": {"f:replicas": {}}},
            "before-first-apply Update": {"f:spec": {"f:host": {}, "f:tags": {'v:"t"': {}}}},
        }  # fmt: skip


async def test_a_plain_write_takes_the_fields_it_changes(serving: Any) -> None:
    """Else an apply would undo kubectl scale without a word."""
    async with serving() as s:
        await apply(s, "a", replicas=3, host="h")
        after = await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"replicas": 5}}), "n", field_manager="scaler")
        assert owned(after) == {"a Apply": {"f:spec": {"f:host": {}}}, "scaler Update": {"f:spec": {"f:replicas": {}}}}
        with pytest.raises(ConflictError, match=r'conflict with "scaler" using example\.com/v1: \.spec\.replicas'):
            await apply(s, "a", replicas=3, host="h")
        after = await apply(s, "a", host="h")
        assert after["spec"]["replicas"] == 5
        after = await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"host": None}}), "n", field_manager="scaler")
        assert "a Apply" not in owned(after)


async def test_applying_the_same_again_writes_nothing(serving: Any) -> None:
    """The file watcher applies the whole folder on each change."""
    async with serving() as s:
        first = await apply(s, "a", replicas=3, items=[{"name": "i", "ports": [{"port": 1}]}], tags=["t"], data={"a": "b"})
        revision = s.store.revision
        again = await apply(s, "a", replicas=3, items=[{"name": "i", "ports": [{"port": 1}]}], tags=["t"], data={"a": "b"})
        assert again is first
        assert s.store.revision == revision


async def test_atomic_fields_are_owned_whole(serving: Any) -> None:
    """A selector with another one's key added selects something else."""
    async with serving() as s:
        await apply(s, "a", selector={"x": "1"}, args=["1"])
        with pytest.raises(ConflictError, match="2 conflicts"):
            await apply(s, "b", selector={"y": "2"}, args=["2"])
        after = await apply(s, "b", selector={"y": "2"}, force=True)
        assert after["spec"]["selector"] == {"y": "2"}


async def test_status_is_applied_at_its_own_endpoint_only(serving: Any) -> None:
    """And owned apart."""
    async with serving() as s:
        await apply(s, "a", replicas=2, status={"phase": "Up"})
        assert "status" not in await s.get()
        after = await apply(s, "a", replicas=9, status={"phase": "Up"}, subresource="status")
        assert (after["spec"]["replicas"], after["status"]["phase"]) == (2, "Up")
        assert owned(after) == {"a Apply": {"f:spec": {"f:replicas": {}}}, "a Apply status": {"f:status": {"f:phase": {}}}}
        after = await apply(s, "a", replicas=3)
        assert after["status"]["phase"] == "Up"


async def test_concurrent_applies_of_one_new_object_all_succeed(serving: Any) -> None:
    """Create or merge is decided by the store, not by a look before."""
    async with serving() as s:
        await asyncio.gather(*(apply(s, f"m{n}", data={f"k{n}": "v"}) for n in range(8)))
        assert len((await s.get())["spec"]["data"]) == 8


async def test_managed_fields_can_be_cleared_and_only_so(serving: Any) -> None:
    """Clients that leave them out keep them."""
    async with serving() as s:
        made = await apply(s, "a", replicas=3)
        bare = {**made, "metadata": {"name": "a", "labels": {"x": "y"}}}
        after = await s.client.update(s.site, bare, "n", field_manager="u")
        assert set(owned(after)) == {"a Apply", "u Update"}
        cleared = {**after, "metadata": {**after["metadata"], "managedFields": [{}]}}
        assert "managedFields" not in (await s.client.update(s.site, cleared, "n"))["metadata"]


@pytest.mark.parametrize(
    ("body", "manager", "text"),
    [
        ({"apiVersion": "example.com/v1", "kind": "Site"}, "", "fieldManager is required for apply patch"),
        ({"kind": "Site"}, "a", "apiVersion"),
        ([], "a", "an applied configuration is an object"),
        ({"apiVersion": "example.com/v1", "kind": "Site", "metadata": {"name": "b"}}, "a", "does not match the name on the URL"),
        ({"apiVersion": "example.com/v1", "kind": "Site", "metadata": {"managedFields": [{}]}}, "a", "managedFields must be nil"),
    ],
)  # fmt: skip
async def test_what_cannot_be_applied_is_a_bad_request(serving: Any, body: Any, manager: str, text: str) -> None:
    """With the reason."""
    async with serving() as s:
        with pytest.raises(BadRequestError) as caught:
            await s.client.patch(s.site, "a", Patch(APPLY_PATCH, body), "n", field_manager=manager)
        assert text in caught.value.message
