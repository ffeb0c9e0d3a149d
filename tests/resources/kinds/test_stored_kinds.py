"""Kinds that are declared from data: each is created, shown and changed at the real API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.client import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Patch
from reconcile.errors import InvalidError, Tree
from reconcile.kinds import Kind, kind_of
from reconcile.resources import builtin_kinds
from reconcile.resources.core import Event
from reconcile.resources.stored import stored_kinds
from reconcile.runtime.api.catalog import Catalog
from reconcile.runtime.api.http.tables import table
from reconcile.runtime.api.stored import Stored
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
BY_NAME = {f"{kind.api_version}.{kind.kind}": kind for kind in stored_kinds()}
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
HOOK = {
    "name": "a.example.com", "clientConfig": {"url": "https://127.0.0.1/"}, "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
}  # fmt: skip
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
SCALED = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
DEVICES = {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}
RULES = {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]}

# Objects as users write them, and the cells that a reference server prints for them (but for Name and ages).
SAMPLES: dict[str, tuple[Tree, list[Any]]] = {
    "v1.Endpoints": (
        {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 443}]}]},
        ["10.0.0.1:80,10.0.0.1:443,10.0.0.2:80 + 1 more..."],
    ),
    "networking.k8s.io/v1.Ingress": (
        {"spec": {"ingressClassName": "nginx", "rules": [
            {"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}},
        ], "tls": [{"hosts": ["a.example.com"], "secretName": "t"}]}},
        ["nginx", "a.example.com", "", "80, 443"],
    ),
    "networking.k8s.io/v1.IngressClass": (
        {"spec": {"controller": "example.com/c", "parameters": {"apiGroup": "k.example.com", "kind": "P", "name": "p"}}},
        ["example.com/c", "P.k.example.com/p"],
    ),
    "networking.k8s.io/v1.NetworkPolicy": (
        {"spec": {"podSelector": {"matchLabels": {"app": "web"}}, "egress": [{"ports": [{"port": 53}]}]}}, ["app=web"]
    ),
    "networking.k8s.io/v1.IPAddress": (
        {
            "metadata": {"name": "10.1.2.3"},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}},
        },
        ["services/default/web"],
    ),
    "networking.k8s.io/v1.ServiceCIDR": ({"spec": {"cidrs": ["10.0.0.0/24"]}}, ["10.0.0.0/24"]),
    "v1.PersistentVolume": (
        {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "storageClassName": "slow",
                  "hostPath": {"path": "/tmp/x"}}},
        ["1Gi", "RWO,RWX", "Retain", "Pending", "", "slow", "<unset>", "", "Filesystem"],
    ),
    "v1.PersistentVolumeClaim": ({"spec": CLAIM}, ["Pending", "", "", "", "", "<unset>", "Filesystem"]),
    "storage.k8s.io/v1.StorageClass": (
        {"provisioner": "example.com/p", "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}},
        ["example.com/p", "Delete", "Immediate", "false"],
    ),
    "storage.k8s.io/v1.VolumeAttributesClass": ({"driverName": "d", "parameters": {"iops": "3"}}, ["d"]),
    "storage.k8s.io/v1.CSIDriver": (
        {"spec": {"tokenRequests": [{"audience": "a"}]}}, [True, False, False, "a", False, "Persistent"]
    ),
    "storage.k8s.io/v1.CSINode": ({"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}}, [1]),
    "storage.k8s.io/v1.CSIStorageCapacity": ({"storageClassName": "slow", "capacity": "1Gi"}, []),
    "storage.k8s.io/v1.VolumeAttachment": (
        {"spec": {"attacher": "d", "nodeName": "n1", "source": {"persistentVolumeName": "pv"}}}, ["d", "pv", "n1", False]
    ),
    "autoscaling/v2.HorizontalPodAutoscaler": (
        {"spec": {"scaleTargetRef": SCALED, "maxReplicas": 4}}, ["Deployment/web", "cpu: <unknown>/80%", 1, 4, 0]
    ),
    "autoscaling/v1.HorizontalPodAutoscaler": (
        {"spec": {"scaleTargetRef": SCALED, "maxReplicas": 4, "minReplicas": 2, "targetCPUUtilizationPercentage": 50}},
        ["Deployment/web", "cpu: <unknown>/50%", 2, 4, 0],
    ),
    "admissionregistration.k8s.io/v1.MutatingWebhookConfiguration": ({"webhooks": [HOOK]}, [1]),
    "admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration": ({"webhooks": [HOOK]}, [1]),
    "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicy": (
        {"spec": {"matchConstraints": RULES, "validations": [{"expression": "true"}],
                  "paramKind": {"apiVersion": "v1", "kind": "C"}}},
        [1, "v1/C"],
    ),
    "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicyBinding": (
        {"spec": {"policyName": "p", "paramRef": {"name": "c", "namespace": "n", "parameterNotFoundAction": "Deny"},
                  "validationActions": ["Deny"]}},
        ["p", "n/c"],
    ),
    "admissionregistration.k8s.io/v1.MutatingAdmissionPolicy": (
        {"spec": {"matchConstraints": RULES, "reinvocationPolicy": "Never",
                  "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{}]"}}]}},
        [1, "<unset>"],
    ),
    "admissionregistration.k8s.io/v1.MutatingAdmissionPolicyBinding": ({"spec": {"policyName": "p"}}, ["p", "<unset>"]),
    "flowcontrol.apiserver.k8s.io/v1.FlowSchema": (
        {"spec": {"priorityLevelConfiguration": {"name": "low"}, "distinguisherMethod": {"type": "ByUser"}}},
        ["low", "1000", "ByUser", "?"],
    ),
    "flowcontrol.apiserver.k8s.io/v1.PriorityLevelConfiguration": (
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Queue", "queuing": {
            "queues": 64, "handSize": 6, "queueLengthLimit": 50}}}}},
        ["Limited", 5, 64, 6, 50],
    ),
    "apiregistration.k8s.io/v1.APIService": (
        {"spec": {"group": "g", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100}}, ["Local", "Unknown"]
    ),
    "node.k8s.io/v1.RuntimeClass": ({"handler": "runc"}, ["runc"]),
    "resource.k8s.io/v1.DeviceClass": ({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}, []),
    "resource.k8s.io/v1.ResourceClaim": ({"spec": {"devices": DEVICES}}, ["pending"]),
    "resource.k8s.io/v1.ResourceClaimTemplate": ({"spec": {"spec": {"devices": DEVICES}}}, []),
    "resource.k8s.io/v1.ResourceSlice": (
        {"spec": {"driver": "d", "nodeName": "n1", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}},
        ["n1", "d", "p"],
    ),
    "events.k8s.io/v1.Event": (
        {"regarding": {"kind": "Pod", "name": "w", "namespace": "default"}, "reason": "Told", "type": "Normal", "note": " said ",
         "reportingController": "me", "reportingInstance": "me-1", "action": "Telling",
         "eventTime": "2026-01-01T00:00:00.000000Z"},
        ["Normal", "Told", "pod/w", "", "me, me-1", "said", 1],
    ),
}  # fmt: skip


def sample(name: str) -> Tree:
    body = SAMPLES[name][0]
    return {**body, "metadata": {"name": "x", **body.get("metadata", {})}}


def cells(kind: Kind, tree: Tree) -> list[Any]:
    """What `get -o wide` shows, without the name and what depends on the time."""
    made = table(kind, [Stored(kind, tree)], 0.0)
    skipped = {"Name", "Age", "Created At", "Last Seen", "First Seen"}
    names = [column["name"] for column in made["columnDefinitions"]]
    return [cell for name, cell in zip(names, made["rows"][0]["cells"], strict=True) if name not in skipped]


def test_there_is_a_sample_of_every_stored_kind() -> None:
    """A kind without one would be served untried."""
    assert SAMPLES.keys() == BY_NAME.keys()


@pytest.mark.parametrize("name", SAMPLES)
@virtual
async def test_a_stored_kind_is_created_shown_and_changed(name: str, clock: VirtualClock, control_plane: PlaneOf) -> None:
    """What clients do with every kind: create strictly, print, patch both ways, read back."""
    kind = BY_NAME[name]
    async with control_plane(clock) as plane:
        api, namespace = plane.client.api, "default" if kind.namespaced else ""
        made = await api.create(kind, sample(name), namespace, field_validation="Strict")
        assert (made.tree["apiVersion"], made.tree["kind"]) == (kind.api_version, kind.kind)
        assert cells(kind, made.tree) == SAMPLES[name][1]
        label = Patch(STRATEGIC_PATCH, {"metadata": {"labels": {"a": "1"}}})
        called = sample(name)["metadata"]["name"]
        await api.patch(kind, called, label, namespace)
        await api.patch(kind, called, Patch(MERGE_PATCH, {"metadata": {"annotations": {"b": "2"}}}), namespace)
        found = (await api.get(kind, called, namespace)).tree
        assert (found["metadata"]["labels"], found["metadata"]["annotations"]["b"]) == ({"a": "1"}, "2")
        body = {part: value for part, value in found.items() if part != "metadata"}
        assert body == {part: value for part, value in made.tree.items() if part != "metadata"}
        with pytest.raises(Exception, match='unknown field "nothing"'):
            await api.create(kind, {**sample(name), "nothing": 1}, namespace, field_validation="Strict")


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("networking.k8s.io/v1.Ingress", {"spec": {"rules": []}}, "either `defaultBackend` or `rules` must be specified"),
        (
            "networking.k8s.io/v1.Ingress",
            {"spec": {"rules": [{"http": {"paths": [{"path": "x", "pathType": "Exact", "backend": BACKEND}]}}]}},
            r"spec.rules\[0\].http.paths\[0\].path: Invalid value: \"x\": must be an absolute path",
        ),
        (
            "networking.k8s.io/v1.Ingress", {"spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": BACKEND}]}}]}},
            r"spec.rules\[0\].http.paths\[0\].pathType: Required value",
        ),
        *(
            ("networking.k8s.io/v1.IPAddress", {"metadata": {"name": text}}, f"metadata.name: Invalid value: \"{text}\": {fault}")
            for text, fault in (
                ("web", "must be a valid IP address"), ("10.0.0", "must be a valid IP address"),
                ("fe80::1%eth0", "must be a valid IP address"), ("010.0.0.1", "must not have leading 0s"),
                ("::ffff:10.0.0.1", "must not be an IPv4-mapped IPv6 address"),
                ("FE80::1", r"must be in canonical form \(\"fe80::1\"\)"),
                ("2001:db8:0::1", r"must be in canonical form \(\"2001:db8::1\"\)"),
            )
        ),
        ("networking.k8s.io/v1.IPAddress", {"spec": {}}, "spec.parentRef: Required value"),
        ("networking.k8s.io/v1.IPAddress", {"spec": {"parentRef": {"name": "a"}}}, "spec.parentRef.resource: Required value"),
        (
            "networking.k8s.io/v1.IPAddress", {"spec": {"parentRef": {"name": "a/b", "resource": "services"}}},
            'spec.parentRef.name: Invalid value: "a/b": may not contain',
        ),
        ("networking.k8s.io/v1.ServiceCIDR", {"spec": {}}, "spec.cidrs: Required value: at least one CIDR required"),
        (
            "networking.k8s.io/v1.ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/24", "10.0.1.0/24"]}},
            "may specify no more than one IP for each IP family",
        ),
        ("networking.k8s.io/v1.ServiceCIDR", {"spec": {"cidrs": ["10.0.0.0/8"] * 3}}, "may only hold up to 2 values"),
        *(
            ("networking.k8s.io/v1.ServiceCIDR", {"spec": {"cidrs": [text]}}, rf"spec.cidrs\[0\]: Invalid value: .*: {fault}")
            for text, fault in (
                ("10.0.0.0", "must be a valid CIDR value"), ("10.0.0.0/33", "must be a valid CIDR value"),
                ("10.0.0.1/24", "must not have bits set beyond the prefix length"),
                ("010.0.0.0/24", "must not have leading 0s in IP or prefix length"),
                ("::ffff:10.0.0.0/120", "must not have an IPv4-mapped IPv6 address"),
                ("2001:DB8::/64", r"must be in canonical form \(\"2001:db8::/64\"\)"),
            )
        ),
        ("v1.PersistentVolumeClaim", {"spec": {**CLAIM, "accessModes": ["Often"]}}, "Unsupported value: \"Often\""),
        ("v1.PersistentVolumeClaim", {"spec": {"accessModes": ["ReadWriteOnce"]}}, r"spec.resources\[storage\]: Required value"),
        (
            "v1.PersistentVolume", {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}},
            "must specify a volume type",
        ),
        (
            "storage.k8s.io/v1.StorageClass", {"reclaimPolicy": "Keep"},
            'Unsupported value: "Keep": supported values: "Delete", "Recycle", "Retain"',
        ),
        (
            "autoscaling/v2.HorizontalPodAutoscaler", {"spec": {"scaleTargetRef": SCALED, "maxReplicas": 0}},
            "must be greater than 0",
        ),
        (
            "autoscaling/v1.HorizontalPodAutoscaler", {"spec": {"scaleTargetRef": SCALED, "maxReplicas": 1, "minReplicas": 2}},
            "must be greater than or equal to `minReplicas`",
        ),
        ("admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration", {"webhooks": [HOOK, HOOK]}, "Duplicate value"),
        ("node.k8s.io/v1.RuntimeClass", {"handler": None}, "handler: Required value"),
    ],
)  # fmt: skip
@virtual
async def test_what_the_reference_refuses_is_refused(
    name: str, change: Tree, text: str, clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """Objects that work here shall work there."""
    kind = BY_NAME[name]
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError, match=text):
            await plane.client.create(kind, {**sample(name), **change}, "default" if kind.namespaced else "")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("storage.k8s.io/v1.StorageClass", {"provisioner": "other"}),
        ("networking.k8s.io/v1.IngressClass", {"spec": {"controller": "other"}}),
        ("networking.k8s.io/v1.IPAddress", {"spec": {"parentRef": {"name": "other"}}}),
        ("networking.k8s.io/v1.ServiceCIDR", {"spec": {"cidrs": ["10.0.1.0/24"]}}),
        ("networking.k8s.io/v1.ServiceCIDR", {"spec": {"cidrs": ["10.0.1.0/24", "2001:db8::/64"]}}),
        ("networking.k8s.io/v1.ServiceCIDR", {"spec": {"cidrs": []}}),
        ("node.k8s.io/v1.RuntimeClass", {"handler": "other"}),
        ("v1.PersistentVolumeClaim", {"spec": {"accessModes": ["ReadOnlyMany"]}}),
        ("v1.PersistentVolume", {"spec": {"hostPath": {"path": "/tmp/y"}}}),
        ("resource.k8s.io/v1.ResourceClaim", {"spec": {"devices": {"requests": []}}}),
    ],
)  # fmt: skip
@virtual
async def test_what_may_not_change_does_not(name: str, change: Tree, clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Controllers rely on these."""
    kind = BY_NAME[name]
    async with control_plane(clock) as plane:
        namespace = "default" if kind.namespaced else ""
        made = await plane.client.create(kind, sample(name), namespace)
        with pytest.raises(InvalidError, match=r"immutable|forbidden"):
            await plane.client.patch(kind, made["metadata"]["name"], Patch(MERGE_PATCH, change), namespace)


@pytest.mark.parametrize("name", ["ResourceClaim", "ResourceClaimTemplate"])
@virtual
async def test_who_asks_for_devices_without_a_number_asks_for_one(name: str, clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A scheduler is told how many: kube-scheduler refuses a claim that does not say."""
    kind, every = BY_NAME[f"resource.k8s.io/v1.{name}"], {"deviceClassName": "gpu", "allocationMode": "All"}
    wishes = [
        {"name": "one", "exactly": {"deviceClassName": "gpu"}}, {"name": "all", "exactly": every},
        {"name": "first", "firstAvailable": [{"name": "a", "deviceClassName": "gpu"}]},
    ]  # fmt: skip
    spec: Tree = {"devices": {"requests": wishes}}
    async with control_plane(clock) as plane:
        tree = {"metadata": {"name": "x"}, "spec": spec if name == "ResourceClaim" else {"spec": spec}}
        made = (await plane.client.create(kind, tree, "default"))["spec"]
        one, all_, first = (made if name == "ResourceClaim" else made["spec"])["devices"]["requests"]
        asked = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
        assert (one["exactly"], all_["exactly"]) == (asked, every)
        assert first["firstAvailable"] == [{"name": "a", **asked}]


@virtual
async def test_an_event_is_the_same_object_in_both_groups(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """kubectl reads one group, newer controllers write the other."""
    newer, core = BY_NAME["events.k8s.io/v1.Event"], kind_of(Event)
    async with control_plane(clock) as plane:
        api = plane.client.api
        seen = api.watch(core, "default")
        made = await api.create(newer, sample("events.k8s.io/v1.Event"), "default")
        old = (await api.get(core, "x", "default")).tree
        assert (old["apiVersion"], old["involvedObject"]["name"], old["message"]) == ("v1", "w", " said ")
        assert "regarding" not in old
        assert old["metadata"]["uid"] == made.tree["metadata"]["uid"]
        change = await anext(seen)
        assert (change.type, change.stored.tree["reportingComponent"]) == ("ADDED", "me")
        await seen.aclose()
        await api.patch(core, "x", Patch(MERGE_PATCH, {"message": "again", "count": 2}), "default")
        new = (await api.list(newer, "default", fields="regarding.name=w")).items[0].tree
        assert (new["note"], new["deprecatedCount"], new["apiVersion"]) == ("again", 2, "events.k8s.io/v1")
        await api.delete(newer, "x", "default")
        assert (await api.list(core, "default")).items == []


@virtual
async def test_an_autoscaler_is_the_same_object_in_both_versions(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """What the older version cannot say is kept through its changes."""
    newest, older = BY_NAME["autoscaling/v2.HorizontalPodAutoscaler"], BY_NAME["autoscaling/v1.HorizontalPodAutoscaler"]
    metrics = [
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
    ]
    spec = {
        "scaleTargetRef": SCALED,
        "maxReplicas": 4,
        "metrics": metrics,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
    }
    async with control_plane(clock) as plane:
        api = plane.client.api
        await api.create(newest, {"metadata": {"name": "x"}, "spec": spec}, "default")
        old = (await api.get(older, "x", "default")).tree
        assert old["spec"] == {"scaleTargetRef": SCALED, "maxReplicas": 4, "minReplicas": 1, "targetCPUUtilizationPercentage": 60}
        replace = [{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 70}]
        await api.patch(older, "x", Patch(JSON_PATCH, replace), "default")
        new = (await api.get(newest, "x", "default")).tree
        assert new["spec"]["metrics"] == [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            metrics[0],
        ]
        assert new["spec"]["behavior"] == spec["behavior"]
        assert "annotations" not in new["metadata"]


def test_every_stored_kind_has_the_names_of_a_real_server() -> None:
    """Plurals, short names, scope and categories are what people type."""
    served = {(kind.api_version, kind.plural) for kind in map(kind_of, builtin_kinds())}
    assert len(served) == len(builtin_kinds())
    assert [kind.short_names for kind in BY_NAME.values() if kind.plural == "persistentvolumeclaims"] == [("pvc",)]


def test_a_csinode_needs_no_driver() -> None:
    """Go writes the list of a node without any as null."""
    catalog = Catalog()
    (kind,) = [kind for kind in stored_kinds() if kind.kind == "CSINode"]
    catalog.serve(kind)
    served = catalog.of(kind)
    givens: list[Tree] = [{"spec": {"drivers": None}}, {"spec": {}}]
    for given in givens:
        made = served.complete({"metadata": {"name": "n"}, **given}, None, [])
        assert made["spec"] == {"drivers": []}
        assert not served.check(made, None)
