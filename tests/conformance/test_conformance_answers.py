"""What is answered, and in which form: as the kubernetes client's models and its own tests expect it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic
from kubernetes.client.exceptions import ApiException

from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds
from tests.plane import Tree


@pytest.fixture(scope="module")
def connection(plane: Any) -> Iterator[Any]:
    with config.new_client_from_config(str(plane.data_dir / "kubeconfig")) as made:
        yield made


def test_a_deletion_answers_what_the_client_expects_of_each_kind() -> None:
    """The client's code is generated from the reference server's own OpenAPI: a Status for most, the object for some."""
    answers = {}
    for name, api in inspect.getmembers(client, inspect.isclass):
        if not name.endswith("Api"):
            continue
        text = inspect.getsource(api)
        for method in re.finditer(r"def (delete_(?!collection)\w+)_with_http_info\(", text):
            body = text[method.end() :].split("    def ")[0]
            answer = re.search(r"200: \"(\w+)\"", body)
            path = re.search(r"'(/apis?/[^']+)', 'DELETE'", body)
            if answer and path:
                answers[re.sub(r"/namespaces/\{namespace\}|/\{name\}$", "", path[1])] = answer[1]
    assert len(answers) > 40, "the client is built otherwise now"
    seen = set()
    for kind in map(kind_of, builtin_kinds()):
        root = f"/apis/{kind.group}" if kind.group else "/api"
        expected = answers.get(f"{root}/{kind.version}/{kind.plural}")
        if expected is not None:
            assert kind.hooks.answers_deleted == (expected != "V1Status"), (kind.kind, expected)
            seen.add(kind.kind)
    assert {"Pod", "Service", "ConfigMap", "Deployment", "StorageClass", "ResourceQuota"} <= seen


def test_the_deleted_object_is_answered_as_such(connection: Any, namespace: str) -> None:
    """Newer versions of the client refuse a Status where their model of a Service is due."""
    core = client.CoreV1Api(connection)
    service = client.V1Service(metadata=client.V1ObjectMeta(name="s"), spec=client.V1ServiceSpec(ports=[{"port": 80}]))
    made = core.create_namespaced_service(namespace, service)
    gone = core.delete_namespaced_service("s", namespace)
    assert (gone.kind, gone.metadata.uid, gone.spec.ports[0].port) == ("Service", made.metadata.uid, 80)
    core.create_namespaced_service_account(namespace, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="a")))
    assert core.delete_namespaced_service_account("a", namespace).metadata.name == "a"


def test_an_error_is_a_line_of_json(connection: Any, namespace: str) -> None:
    """The client's own tests compare the whole text."""
    with pytest.raises(ApiException) as caught:
        client.CoreV1Api(connection).read_namespaced_service("none", namespace)
    assert caught.value.body == (
        '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"services \\"none\\" not found",'
        '"reason":"NotFound","details":{"name":"none","kind":"services"},"code":404}\n'
    )


def test_values_are_read_in_their_one_form(connection: Any, namespace: str) -> None:
    """What a typed client holds after a write must equal what it reads."""
    core, leases = client.CoreV1Api(connection), client.CoordinationV1Api(connection)
    resources = {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.5}}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x", "resources": resources}]}}
    made = core.create_namespaced_pod(namespace, pod).spec.containers[0].resources
    assert (made.limits, made.requests["cpu"]) == ({"cpu": "1", "memory": "1Gi"}, "500m")
    again = core.patch_namespaced_pod("p", namespace, {"metadata": {"labels": {"a": "b"}}})
    assert again.spec.containers[0].resources == made
    secret = {"metadata": {"name": "s"}, "data": {"k": "aHVz\naA=="}}
    assert core.create_namespaced_secret(namespace, secret).data == {"k": "aHVzaA=="}
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T02:00:00.25+02:00", "holderIdentity": "me"}}
    answer = leases.create_namespaced_lease(namespace, lease, _preload_content=False)
    assert json.loads(answer.data)["spec"]["renewTime"] == "2026-01-01T00:00:00.250000Z"


def test_an_apply_in_another_version_is_refused_in_the_known_words(connection: Any, namespace: str) -> None:
    """The dynamic client sends whatever it is given to the path it was told."""
    pods = dynamic.DynamicClient(connection).resources.get(api_version="v1", kind="Pod")
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "p"}, "spec": {}}
    with pytest.raises(ApiException, match="400") as caught:
        pods.server_side_apply(namespace=namespace, body=body, field_manager="me")
    assert json.loads(caught.value.body)["message"] == (
        "Incorrect version specified in apply patch. Specified patch version: apps/v1, expected: v1"
    )


FRESH: dict[str, Tree] = {
    "apps/v1/StatefulSet": {"replicas": 0, "availableReplicas": 0},
    "apps/v1/DaemonSet": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0},
    "apps/v1/ReplicaSet": {"replicas": 0},
    "apps/v1/Deployment": {},
    "policy/v1/PodDisruptionBudget": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    "autoscaling/v2/HorizontalPodAutoscaler": {"desiredReplicas": 0},
    "networking.k8s.io/v1/Ingress": {"loadBalancer": {}},
    "storage.k8s.io/v1/VolumeAttachment": {"attached": False},
    "flowcontrol.apiserver.k8s.io/v1/FlowSchema": {},
    "v1/ResourceQuota": {},
}
"""The statuses of objects that nobody has looked at yet: the fields that Go writes even where they are zero."""


@pytest.mark.parametrize("name", FRESH)
def test_a_fresh_object_has_the_status_that_typed_clients_expect(connection: Any, namespace: str, name: str) -> None:
    """kr8s waits for `.status.availableReplicas` from the first read on, and takes no object without it."""
    version, kind = name.rsplit("/", 1)
    resource = dynamic.DynamicClient(connection).resources.get(api_version=version, kind=kind)
    pods = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    workload = {"selector": {"matchLabels": {"a": "b"}}, "template": pods}
    specs = {
        "StatefulSet": {**workload, "serviceName": "s"}, "PodDisruptionBudget": {"minAvailable": 1},
        "ResourceQuota": {"hard": {}},
        "HorizontalPodAutoscaler": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d"}},
        "Ingress": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}},
        "VolumeAttachment": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
        "FlowSchema": {"priorityLevelConfiguration": {"name": "p"}},
    }  # fmt: skip
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": "fresh"}, "spec": specs.get(kind, workload)}
    made = resource.create(body=body, namespace=namespace, query_params=[("dryRun", "All")])
    assert made.to_dict()["status"] == FRESH[name]
