"""managedFields from an object's creation on, and the way from `kubectl apply` on the client's side to the server's."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reconcile.client import APPLY_PATCH, MERGE_PATCH, Patch
from reconcile.errors import ConflictError, Tree
from reconcile.kinds import Hooks, Kind
from reconcile.runtime.api.apply import LAST_APPLIED


def owners(tree: Tree) -> dict[str, Any]:
    """Fields by manager."""
    return {entry["manager"]: entry["fieldsV1"] for entry in tree["metadata"].get("managedFields", ())}


async def create(s: Any, manager: str, tree: Tree) -> Tree:
    made = await s.api.create(s.site, tree, "n", field_manager=manager, tracked=True)
    found: Tree = made.tree
    return found


async def test_a_tracked_creation_owns_what_it_sets_and_schema_defaults_but_not_what_hooks_add(serving: Any) -> None:
    """Else whoever takes over the creator's fields takes the server's away when it applies without them."""
    async with serving() as s:
        made = await create(s, "maker", {"metadata": {"name": "a"}, "spec": {"data": {"prepare": "x"}}})
        assert made["spec"] == {"data": {"prepare": "x", "prepared": "yes"}, "replicas": 1}
        assert owners(made) == {"maker": {"f:spec": {
            ".": {}, "f:data": {".": {}, "f:prepare": {}}, "f:replicas": {},
        }}}  # fmt: skip
        (entry,) = made["metadata"]["managedFields"]
        assert entry["operation"] == "Update"


async def test_what_a_mutator_adds_to_a_tracked_creation_is_nobodys(serving: Any) -> None:
    """As the reference server has it: fields are assigned before admission."""
    async with serving() as s:
        s.api.add_mutator(s.site, lambda review: review.tree["spec"].update(host="h"))
        made = await create(s, "maker", {"metadata": {"name": "a"}, "spec": {"replicas": 2}})
        assert made["spec"]["host"] == "h"
        assert owners(made) == {"maker": {"f:spec": {".": {}, "f:replicas": {}}}}


async def test_kubectl_changes_what_kubectl_applied_on_the_clients_side_without_conflict(serving: Any) -> None:
    """People switch to --server-side with the same file; only what others changed since may stand in their way."""
    async with serving() as s:
        applied = {"metadata": {"name": "a"}, "spec": {"replicas": 2, "host": "h"}}
        text = orjson.dumps(applied).decode()
        made = {**applied, "metadata": {"name": "a", "annotations": {LAST_APPLIED: text}}}
        await create(s, "kubectl-client-side-apply", made)
        body: Tree = {"apiVersion": "example.com/v1", "kind": "Site", "metadata": {"name": "a"}, "spec": {"replicas": 3}}
        after = await s.client.patch(s.site, "a", Patch(APPLY_PATCH, body), "n", field_manager="kubectl")
        assert after["spec"] == {"replicas": 3, "host": "h"}
        assert orjson.loads(after["metadata"]["annotations"][LAST_APPLIED]) == body
        assert owners(after)["kubectl"] == {"f:spec": {"f:replicas": {}}}

        await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"replicas": 9}}), "n", field_manager="scaler")
        body = {**body, "spec": {"replicas": 4}}
        with pytest.raises(ConflictError, match=r'conflict with "scaler" using example.com/v1: \.spec\.replicas'):
            await s.client.patch(s.site, "a", Patch(APPLY_PATCH, body), "n", field_manager="kubectl")


async def test_a_kind_that_prepares_creations_only_is_not_asked_at_changes(serving: Any) -> None:
    """A Pod's status is written five times; each copy of its tree would cost more than the write."""
    calls: list[Tree | None] = []
    async with serving() as s:
        hooks = Hooks(prepare=lambda _, old: calls.append(old), prepares_changes=False)
        kind = Kind("example.com", "v1", "Lean", "leans", hooks=hooks)
        s.api.serve(kind)
        await s.client.create(kind, {"metadata": {"name": "a"}, "spec": {}}, "n")
        await s.client.patch(kind, "a", Patch(MERGE_PATCH, {"spec": {"x": 1}}), "n")
        assert calls == [None]


async def test_a_kind_says_which_changes_it_prepares(serving: Any) -> None:
    """A Pod's tolerations are looked after, and its statuses cost no copy for that."""
    calls: list[Tree | None] = []
    async with serving() as s:
        hooks = Hooks(
            prepare=lambda tree, old: calls.append(old and tree["spec"]), prepares_changes=lambda new, old: new["spec"]["x"] == 2
        )
        kind = Kind("example.com", "v1", "Lean", "leans", hooks=hooks)
        s.api.serve(kind)
        await s.client.create(kind, {"metadata": {"name": "a"}, "spec": {"x": 0}}, "n")
        for x in (1, 2, 3):
            await s.client.patch(kind, "a", Patch(MERGE_PATCH, {"spec": {"x": x}}), "n")
        assert calls == [None, {"x": 2}]


async def test_a_kind_that_keeps_status_keeps_a_new_objects(serving: Any) -> None:
    """A kubelet registers its Node with capacity and conditions in one request."""
    async with serving() as s:
        kind = Kind("example.com", "v1", "Host", "hosts", status=True, hooks=Hooks(keeps_status=True))
        s.api.serve(kind)
        made = await s.client.create(kind, {"metadata": {"name": "a"}, "status": {"phase": "Up"}}, "n")
        assert made["status"] == {"phase": "Up"}


async def test_objects_of_one_shape_share_their_field_set(serving: Any) -> None:
    """Thousands of objects that one client makes from one template would each hold kilobytes of equal dicts."""
    async with serving() as s:
        one = await create(s, "maker", {"metadata": {"name": "a"}, "spec": {"host": "x"}})
        two = await create(s, "maker", {"metadata": {"name": "b"}, "spec": {"host": "y"}})
        assert owners(one)["maker"] is owners(two)["maker"]
        await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"host": None, "replicas": 7}}), "n", field_manager="other")
        assert owners(await s.get("b")) == {"maker": {"f:spec": {".": {}, "f:host": {}, "f:replicas": {}}}}


async def test_a_prepare_hook_never_writes_into_what_the_caller_gave_or_what_objects_share(serving: Any) -> None:
    """Schema defaults are shared by all objects of a kind: a hook that wrote into one would change them all."""

    def prepare(tree: Tree, _: Tree | None) -> None:
        tree["spec"]["box"]["touched"] = True

    def default(tree: Tree) -> None:
        tree["spec"].setdefault("seen", True)

    box = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {"type": "object", "properties": {"box": {**box, "default": {"a": 1}}, "seen": {"type": "boolean"}}, "default": {}}
    async with serving() as s:
        for plural, hooks in (("ones", Hooks(prepare=prepare)), ("twos", Hooks(prepare=prepare, default=default))):
            schema = {"type": "object", "properties": {"spec": spec}}
            kind = Kind("example.com", "v1", plural.title(), plural, hooks=hooks, schema_given=schema)
            s.api.serve(kind)
            given: Tree = {"metadata": {"name": "a"}, "spec": {"box": {"b": 2}}}
            made = await s.client.create(kind, given, "n")
            assert made["spec"]["box"] == {"b": 2, "touched": True}
            assert given["spec"] == {"box": {"b": 2}}
            await s.client.create(kind, {"metadata": {"name": "b"}}, "n")
            dry = await s.client.create(kind, {"metadata": {"name": "c"}, "spec": {"box": {}}}, "n", dry_run=True)
            assert dry["spec"]["box"] == {"touched": True}
            assert s.api.find("example.com", "v1", plural).schema["properties"]["spec"]["properties"]["box"]["default"] == {
                "a": 1
            }


async def test_fields_are_in_order_whoever_set_them_and_when(serving: Any) -> None:
    """Clients in Go keep the text as it comes, and compare it as text."""
    async with serving() as s:
        spec = {"z": {"b": 1, "a": 2}, "data": {"y": "1", "x": "2"}}
        made = await create(s, "maker", {"metadata": {"name": "a", "labels": {"z": "1", "a": "2"}}, "spec": spec})
        given = {"apiVersion": "example.com/v1", "kind": "Site", "metadata": {"name": "a"}}
        patch = Patch(APPLY_PATCH, {**given, "spec": {"data": {"q": "1", "c": "2"}}})
        made = (await s.api.patch(s.site, "a", patch, "n", field_manager="applier")).tree
        made = (
            await s.api.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"data": {"b": "1"}}}), "n", field_manager="maker")
        ).tree
        for fields in owners(made).values():
            assert orjson.dumps(fields) == orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
