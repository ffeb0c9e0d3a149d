"""Defaults and rules of everything but Pods, at the real API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.client import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Patch
from reconcile.errors import BadRequestError, InvalidError, Tree
from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds
from reconcile.resources.apps import Deployment, ReplicaSet
from reconcile.resources.coordination import Lease
from reconcile.resources.core import ConfigMap, Namespace, Node, Pod, Secret, Service
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]


def deployment(**spec: Any) -> Tree:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "command": ["serve"]}]}}
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}}


@virtual
async def test_a_deployment_and_its_template_get_their_defaults(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Templates are compared by value: what is a default must be there before the first comparison."""
    async with control_plane(clock) as plane:
        spec = (await plane.create(Deployment, deployment()))["spec"]
        assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
        assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
        assert spec["template"]["spec"]["restartPolicy"] == "Always"
        assert spec["template"]["spec"]["containers"][0]["terminationMessagePolicy"] == "File"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"selector": {"matchLabels": {"app": "other"}}},
            (
                'Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value: {"app":"web"}: '
                "`selector` does not match template `labels`"
            ),
        ),
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"strategy": {"type": "Wrong"}}, "supported values: \"Recreate\", \"RollingUpdate\""),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            {
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "a"}]},
                }
            },
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        ),
    ],
)  # fmt: skip
def test_a_broken_deployment_is_refused(control_plane: PlaneOf, spec: Tree, text: str) -> None:
    """The sentence says which field is wrong, in the words that people look up."""

    @virtual
    async def scenario(clock: VirtualClock) -> None:
        async with control_plane(clock) as plane:
            with pytest.raises(InvalidError) as refused:
                await plane.create(Deployment, deployment(**spec))
            assert text in refused.value.message

    scenario()


@virtual
async def test_a_selector_never_changes(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Pods of the old selector would be nobody's."""
    async with control_plane(clock) as plane:
        await plane.create(Deployment, deployment())
        body = {"spec": {"selector": {"matchLabels": {"app": "v2"}}, "template": {"metadata": {"labels": {"app": "v2"}}}}}
        with pytest.raises(InvalidError, match=r"spec\.selector: Invalid value.*field is immutable"):
            await plane.patch(Deployment, "web", body)


@virtual
async def test_secrets_take_text_and_keep_base64(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """stringData is for people; everybody who reads finds data."""
    async with control_plane(clock) as plane:
        made = await plane.create(Secret, {"metadata": {"name": "s"}, "stringData": {"key": "hush"}})
        assert (made["data"], made["type"], "stringData" in made) == ({"key": "aHVzaA=="}, "Opaque", False)
        tracked = await plane.client.api.create(
            kind_of(Secret), {"metadata": {"name": "o"}, "stringData": {"key": "hush"}}, "default", tracked=True
        )  # fmt: skip
        (owner,) = tracked.tree["metadata"]["managedFields"]
        assert owner["fieldsV1"] == {"f:data": {".": {}, "f:key": {}}, "f:type": {}}, "who gave the text owns the data"
        with pytest.raises(BadRequestError, match="cannot be handled as a Secret: illegal base64 data at input byte 2"):
            await plane.create(Secret, {"metadata": {"name": "bad"}, "data": {"key": "no base64!"}})
        made = await plane.create(Secret, {"metadata": {"name": "lines"}, "data": {"key": "aHV\nzaA\n==\n"}})
        assert made["data"] == {"key": "aHVzaA=="}, "files hold base64 in lines; a reader gets it in one"
        with pytest.raises(InvalidError, match="a valid config key must consist of"):
            await plane.create(ConfigMap, {"metadata": {"name": "bad"}, "data": {"a/b": "x"}})
        await plane.create(ConfigMap, {"metadata": {"name": "fixed"}, "data": {"a": "1"}, "immutable": True})
        with pytest.raises(InvalidError, match="data: Forbidden: field is immutable when `immutable` is set"):
            await plane.patch(ConfigMap, "fixed", {"data": {"a": "2"}})


@virtual
async def test_a_namespace_lingers_until_it_is_finalized(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Gone at once, it would leave its objects behind where nobody can see them."""
    async with control_plane(clock) as plane:
        made = await plane.create(Namespace, {"metadata": {"name": "team"}})
        assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "team"}
        assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
        replaced = await plane.client.update(kind_of(Namespace), {"metadata": {"name": "team"}})
        assert replaced["spec"] == {"finalizers": ["kubernetes"]}
        for _ in range(2):
            await plane.delete(Namespace, "team", grace_s=0)
            left = await plane.get(Namespace, "team")
            assert "deletionTimestamp" in left["metadata"]
            assert left["status"]["phase"] == "Terminating"
            assert "deletionGracePeriodSeconds" not in left["metadata"]
        await plane.client.act(kind_of(Namespace), "team", "finalize", {"spec": {"finalizers": []}})
        # With this write, as on the reference server: kube-controller-manager does not delete it another time.
        assert "team" not in [n["metadata"]["name"] for n in await plane.all(Namespace)]


@virtual
async def test_a_namespace_with_finalizers_of_both_kinds_waits_for_both(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """One of spec.finalizers and one of metadata.finalizers: whichever is taken away last lets it go."""
    async with control_plane(clock) as plane:
        for name in ("one", "other"):
            await plane.create(Namespace, {"metadata": {"name": name, "finalizers": ["x.com/y"]}})
            await plane.delete(Namespace, name)
        kind, own = kind_of(Namespace), {"metadata": {"finalizers": None}}
        none: Tree = {"spec": {"finalizers": []}}
        await plane.patch(Namespace, "one", own)
        await plane.client.act(kind, "other", "finalize", none)
        assert {"one", "other"} <= {n["metadata"]["name"] for n in await plane.all(Namespace)}
        await plane.client.act(kind, "one", "finalize", none)
        await plane.patch(Namespace, "other", own)
        assert not {"one", "other"} & {n["metadata"]["name"] for n in await plane.all(Namespace)}


@virtual
async def test_services_get_defaults_and_keep_their_address(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Clients hold on to the address; a replace that leaves it out must not take it away."""
    async with control_plane(clock) as plane:
        tree = {"metadata": {"name": "web"}, "spec": {"clusterIP": "127.9.0.9", "ports": [{"port": 80}]}}
        spec = (await plane.create(Service, tree))["spec"]
        assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
        assert (spec["type"], spec["sessionAffinity"], spec["clusterIPs"]) == ("ClusterIP", "None", ["127.9.0.9"])
        again = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 81}]}}
        assert (await plane.client.update(kind_of(Service), again, "default"))["spec"]["clusterIP"] == "127.9.0.9"
        with pytest.raises(InvalidError, match=r"spec\.clusterIPs\[0\]: Invalid value.*field is immutable"):
            await plane.patch(Service, "web", {"spec": {"clusterIP": "127.9.0.10", "clusterIPs": None}})
        with pytest.raises(InvalidError, match=r"spec\.ports\[1\]\.name: Required value"):
            await plane.patch(Service, "web", {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}]}})


@virtual
async def test_a_binding_puts_a_pod_on_a_node_and_dates_it(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The scheduler's only write; everything after it starts with the node's name."""
    async with control_plane(clock) as plane:
        await plane.create(Pod, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "command": ["x"]}]}})
        bound = await plane.client.act(kind_of(Pod), "p", "binding", {"target": {"name": "n1"}}, "default")
        assert bound["spec"]["nodeName"] == "n1"
        (condition,) = bound["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("PodScheduled", "True")
        assert condition["lastTransitionTime"]


@virtual
async def test_lists_merge_by_their_keys_in_both_kinds_of_merging_patches(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """`kubectl set image` and two appliers each send one container, and mean one container."""
    containers: list[Tree] = [
        {"name": "a", "command": ["x"], "env": [{"name": "A", "value": "1"}]},
        {"name": "b", "command": ["y"]},
    ]
    async with control_plane(clock) as plane:
        tree = deployment()
        tree["spec"]["template"]["spec"]["containers"] = containers
        await plane.create(Deployment, tree)
        kind = kind_of(Deployment)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "new"}]}}}}
        merged = await plane.client.patch(kind, "web", Patch(STRATEGIC_PATCH, change), "default")
        assert {c["name"]: c.get("image") for c in merged["spec"]["template"]["spec"]["containers"]} == {"a": None, "b": "new"}
        second: Tree = {"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "B", "value": "2"}]}]}}}}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, **second}
        applied = await plane.client.patch(kind, "web", Patch(APPLY_PATCH, body), "default", field_manager="me", force=True)
        first, second = applied["spec"]["template"]["spec"]["containers"]
        assert [e["name"] for e in first["env"]] == ["A", "B"]
        assert second["image"] == "new"


@virtual
async def test_quantities_and_taints_of_nodes_are_checked(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A capacity that is no number would stop the scheduler."""
    async with control_plane(clock) as plane:
        await plane.create(Node, {"metadata": {"name": "n1"}})
        kind = kind_of(Node)
        with pytest.raises(InvalidError, match=r"spec\.taints\[0\]\.effect"):
            await plane.client.patch(kind, "n1", Patch(MERGE_PATCH, {"spec": {"taints": [{"key": "a", "effect": "Never"}]}}))
        patched = await plane.patch(Node, "n1", {"status": {"capacity": {"cpu": "4"}}}, subresource="status")
        assert patched["status"]["allocatable"] == {"cpu": "4"}
        with pytest.raises(InvalidError, match=r"spec\.leaseDurationSeconds"):
            await plane.create(Lease, {"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 0}})
        with pytest.raises(InvalidError, match=r"spec\.selector"):
            await plane.create(ReplicaSet, {"metadata": {"name": "r"}, "spec": {}})


def test_every_kind_has_a_schema_whose_every_part_is_described() -> None:
    """`explain` shows these words; a part without any is a hole in the documentation. Of stored kinds only the whole has any."""
    for cls in builtin_kinds():
        assert kind_of(cls).schema["description"]
        if kind_of(cls).cls is None:
            continue
        bare = [path for path, node in _objects(kind_of(cls).schema, kind_of(cls).kind) if not node.get("description")]
        assert bare == []


def _objects(node: Tree, path: str) -> list[tuple[str, Tree]]:
    found = []
    for name, child in (node.get("properties") or {}).items():
        inner = child.get("items") or child
        if name != "metadata" and "properties" in inner:
            found.append((f"{path}.{name}", inner))
            found.extend(_objects(inner, f"{path}.{name}"))
    return found
