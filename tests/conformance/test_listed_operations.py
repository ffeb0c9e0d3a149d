"""The operations that Kubernetes' list of conformance tests asks of every kind, one life for each kind.

The flow is theirs, told in our words: "should support ... API operations", "should run through the lifecycle of ..." and
"should delete a collection of ..." in https://github.com/kubernetes/kubernetes/tree/v1.36.0/test/conformance/testdata/conformance.yaml
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import config, dynamic
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError

Tree = dict[str, Any]  # Any: JSON
_MERGE = "application/merge-patch+json"
_LABEL = "of-the-list"


class Listed(NamedTuple):
    """A kind of the list: what one looks like, and a part of its status that anybody may write."""

    api_version: str
    kind: str
    body: Tree
    status: Tree | None = None
    namespaced: bool = True


def _request() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e-example")])
    made = (
        x509.CertificateSigningRequestBuilder().subject_name(name).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def _condition(name: str = "StatusUpdate", **more: str) -> Tree:
    at = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"conditions": [{"type": name, "status": "True", "reason": "E2E", "message": "Set by a test", **at, **more}]}


_POD = {"containers": [{"name": "c", "image": "registry.example/pause:3"}]}
_LABELS = {"matchLabels": {"app": "listed"}}
_TEMPLATE = {"metadata": {"labels": {"app": "listed"}}, "spec": _POD}
_RULES = {
    "resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]
}
_MATCH = {"matchConstraints": _RULES}
_MUTATION = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}
_REQUEST = {"name": "r", "exactly": {"deviceClassName": "d"}}
_FLOW = {"priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 10000}
_LEVEL = {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}

CLUSTER = [
    Listed("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", {"spec": _FLOW}, _condition("Dangling")),
    Listed("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", {"spec": _LEVEL}, _condition("Any")),
    Listed(
        "admissionregistration.k8s.io/v1",
        "MutatingAdmissionPolicy",
        {"spec": {**_MATCH, "reinvocationPolicy": "Never", "mutations": [_MUTATION]}},
    ),
    Listed("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding", {"spec": {"policyName": "none.example.com"}}),
    Listed(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        {"spec": {**_MATCH, "validations": [{"expression": "true"}]}},
        _condition(),
    ),
    Listed(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        {"spec": {"policyName": "none.example.com", "validationActions": ["Deny"]}},
    ),
    Listed(
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        {
            "spec": {
                "request": _request(),
                "signerName": "example.com/listed",
                "usages": ["client auth"],
                "expirationSeconds": 3600,
            }
        },
        _condition("Denied"),
    ),
    Listed("networking.k8s.io/v1", "IngressClass", {"spec": {"controller": "example.com/controller"}}),
    Listed("networking.k8s.io/v1", "ServiceCIDR", {"spec": {"cidrs": ["10.251.0.0/16"]}}, _condition("Ready")),
    Listed("node.k8s.io/v1", "RuntimeClass", {"handler": "listed"}),
    Listed("resource.k8s.io/v1", "DeviceClass", {"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
    Listed(
        "resource.k8s.io/v1",
        "ResourceSlice",
        {
            "spec": {
                "driver": "e2e.example.com",
                "nodeName": "node-1",
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "d-1"}],
            }
        },
    ),
    Listed("scheduling.k8s.io/v1", "PriorityClass", {"value": 7}),
    Listed("storage.k8s.io/v1", "CSIDriver", {"spec": {"attachRequired": False}}),
    Listed(
        "storage.k8s.io/v1", "CSINode", {"spec": {"drivers": [{"name": "e2e.example.com", "nodeID": "n", "topologyKeys": []}]}}
    ),
    Listed("storage.k8s.io/v1", "StorageClass", {"provisioner": "e2e.example.com"}),
    Listed(
        "storage.k8s.io/v1",
        "VolumeAttachment",
        {"spec": {"attacher": "e2e.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}},
        {"attached": False},
    ),
    Listed("storage.k8s.io/v1", "VolumeAttributesClass", {"driverName": "e2e.example.com", "parameters": {"iops": "1"}}),
    Listed(
        "v1",
        "PersistentVolume",
        {
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/tmp/listed"},
                "persistentVolumeReclaimPolicy": "Retain",
            }
        },
        {"phase": "Available", "message": "set by a test"},
    ),
    Listed("v1", "Node", {}, {"phase": "Running"}),
]
NAMESPACED = [
    Listed("v1", "ConfigMap", {"data": {"k": "v"}}),
    Listed("v1", "Secret", {"data": {"k": "dg=="}}),
    Listed("v1", "ServiceAccount", {"automountServiceAccountToken": False}),
    Listed("v1", "Endpoints", {"subsets": [{"addresses": [{"ip": "10.9.8.7"}], "ports": [{"name": "p", "port": 80}]}]}),
    Listed("v1", "Event", {"involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Listed", "message": "m", "type": "Normal"}),
    Listed(
        "events.k8s.io/v1",
        "Event",
        {
            "regarding": {"kind": "Pod", "name": "p"},
            "reason": "Listed",
            "note": "n",
            "type": "Normal",
            "action": "Do",
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "e2e",
            "reportingInstance": "e2e-1",
        },
    ),
    Listed("v1", "LimitRange", {"spec": {"limits": [{"type": "Container", "default": {"cpu": "100m"}}]}}),
    Listed("v1", "PodTemplate", {"template": _TEMPLATE}),
    Listed("v1", "ResourceQuota", {"spec": {"hard": {"pods": "5"}}}, {"hard": {"pods": "7"}}),
    Listed("v1", "Service", {"spec": {"ports": [{"port": 80}]}}, {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}),
    Listed(
        "v1",
        "PersistentVolumeClaim",
        {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}},
        _condition("Resizing"),
    ),
    Listed(
        "v1",
        "ReplicationController",
        {"spec": {"replicas": 0, "selector": {"app": "listed"}, "template": _TEMPLATE}},
        _condition(),
    ),
    Listed("apps/v1", "ControllerRevision", {"revision": 1, "data": {"any": "thing"}}),
    Listed("apps/v1", "Deployment", {"spec": {"replicas": 0, "selector": _LABELS, "template": _TEMPLATE}}, _condition()),
    Listed("apps/v1", "ReplicaSet", {"spec": {"replicas": 0, "selector": _LABELS, "template": _TEMPLATE}}, _condition()),
    Listed(
        "apps/v1",
        "StatefulSet",
        {"spec": {"replicas": 0, "serviceName": "s", "selector": _LABELS, "template": _TEMPLATE}},
        _condition(),
    ),
    Listed(
        "apps/v1",
        "DaemonSet",
        {"spec": {"selector": _LABELS, "template": {**_TEMPLATE, "spec": {**_POD, "nodeSelector": {"no": "where"}}}}},
        _condition(),
    ),
    Listed(
        "batch/v1", "Job", {"spec": {"suspend": True, "template": {"spec": {**_POD, "restartPolicy": "Never"}}}}, _condition()
    ),
    Listed(
        "batch/v1",
        "CronJob",
        {
            "spec": {
                "schedule": "0 0 1 1 *",
                "suspend": True,
                "jobTemplate": {"spec": {"template": {"spec": {**_POD, "restartPolicy": "OnFailure"}}}},
            }
        },
        {"lastScheduleTime": "2026-01-01T00:00:00Z"},
    ),
    Listed("policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": 1, "selector": _LABELS}}, _condition()),
    Listed(
        "networking.k8s.io/v1",
        "Ingress",
        {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
        {"loadBalancer": {"ingress": [{"ip": "203.0.113.2"}]}},
    ),
    Listed("networking.k8s.io/v1", "NetworkPolicy", {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
    Listed(
        "discovery.k8s.io/v1", "EndpointSlice", {"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}], "ports": []}
    ),
    Listed("coordination.k8s.io/v1", "Lease", {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 30}}),
    Listed("storage.k8s.io/v1", "CSIStorageCapacity", {"storageClassName": "s", "capacity": "1Gi"}),
    Listed("resource.k8s.io/v1", "ResourceClaim", {"spec": {"devices": {"requests": [_REQUEST]}}}, {"reservedFor": []}),
    Listed("resource.k8s.io/v1", "ResourceClaimTemplate", {"spec": {"spec": {"devices": {"requests": [_REQUEST]}}}}),
    Listed("rbac.authorization.k8s.io/v1", "Role", {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    Listed(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        {"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}},
        _condition("AbleToScale"),
    ),
]


@pytest.fixture(scope="module")
def client(plane: Any) -> Any:
    """The dynamic client: it knows what discovery says."""
    with config.new_client_from_config(str(plane.data_dir / "kubeconfig")) as made:
        yield dynamic.DynamicClient(made)


def the_life(client: Any, listed: Listed, namespace: str | None) -> None:
    """Create, read, list, watch, patch, replace, status, delete, and a collection."""
    where = {"namespace": namespace} if namespace else {}
    label = f"{_LABEL}={namespace or 'all'}"
    labels = {_LABEL: namespace or "all"}
    kind = client.resources.get(api_version=listed.api_version, kind=listed.kind)
    assert kind.namespaced == (namespace is not None)
    name = f"listed-{listed.kind.lower()}" + (".example.com" if "AdmissionPolicy" in listed.kind else "")

    def body(called: str) -> Tree:
        return {
            "apiVersion": listed.api_version,
            "kind": listed.kind,
            "metadata": {"name": called, "labels": labels},
            **listed.body,
        }

    first = kind.get(label_selector=label, **where)
    assert first.items == []
    made = kind.create(body=body(name), **where)
    assert (made.metadata.name, made.kind, made.apiVersion) == (name, listed.kind, listed.api_version)
    assert made.metadata.uid
    assert made.metadata.creationTimestamp
    assert listed.status is None or made.status is not None, "typed clients expect an empty one"
    assert kind.get(name=name, **where).metadata.uid == made.metadata.uid
    assert [item.metadata.uid for item in kind.get(label_selector=label, **where).items] == [made.metadata.uid]
    if namespace:
        assert [item.metadata.uid for item in kind.get(label_selector=label).items] == [made.metadata.uid], "in all namespaces"

    patched = kind.patch(name=name, body={"metadata": {"annotations": {"patched": "true"}}}, content_type=_MERGE, **where)
    assert patched.metadata.annotations.patched == "true"
    for _ in range(5):  # a controller may have written meanwhile: then once more, as the list's tests do
        newest = kind.get(name=name, **where).to_dict()
        newest["metadata"]["annotations"]["updated"] = "true"
        try:
            assert kind.replace(body=newest, **where).metadata.annotations.updated == "true"
            break
        except ConflictError:
            continue
    else:
        raise AssertionError("every replace met a conflict")

    seen = []
    for event in kind.watch(resource_version=first.metadata.resourceVersion, label_selector=label, timeout=10, **where):
        seen.append((event["type"], (event["raw_object"]["metadata"].get("annotations") or {}).get("updated")))
        if seen[-1][1]:
            break
    assert seen[0] == ("ADDED", None)
    assert seen[-1] == ("MODIFIED", "true")

    if listed.status is not None:
        status = kind.status.patch(name=name, body={"status": listed.status}, content_type=_MERGE, **where).to_dict()
        for key in listed.status:
            assert key in (status["status"] or {}) or listed.status[key] == []
        assert kind.status.get(name=name, **where).metadata.uid == made.metadata.uid
        spec = kind.get(name=name, **where).to_dict().get("spec")
        assert spec == newest.get("spec"), "a write to the status changes no spec"

    kind.delete(name=name, **where)
    gone(kind, name, where)
    for number in range(3):
        kind.create(body=body(f"n{number}-{name}"), **where)
    assert len(kind.get(label_selector=label, **where).items) == 3
    kind.delete(label_selector=label, **where)
    for number in range(3):
        gone(kind, f"n{number}-{name}", where)
    assert kind.get(label_selector=label, **where).items == []


def gone(kind: Any, name: str, where: dict[str, str]) -> None:
    """Wait until an object that was deleted is away: a protection's finalizer may hold it for a moment."""
    try:
        found = kind.get(name=name, **where)
    except NotFoundError:
        return
    for event in kind.watch(
        resource_version=found.metadata.resourceVersion, field_selector=f"metadata.name={name}", timeout=10, **where
    ):
        if event["type"] == "DELETED":
            return
    raise AssertionError(f"{name} stays")


@pytest.mark.parametrize("listed", CLUSTER, ids=lambda listed: listed.kind)
def test_the_operations_of_a_kind_of_the_cluster(client: Any, listed: Listed) -> None:
    the_life(client, listed, None)


@pytest.mark.parametrize("listed", NAMESPACED, ids=lambda listed: f"{listed.api_version.replace('/', '.')}.{listed.kind}")
def test_the_operations_of_a_kind_of_a_namespace(client: Any, namespace: str, listed: Listed) -> None:
    the_life(client, listed, namespace)
