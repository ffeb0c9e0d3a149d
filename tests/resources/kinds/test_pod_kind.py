"""A Pod's defaults, rules and server-owned fields: what manifests written for Kubernetes rely on."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from reconcile.errors import ConflictError, InvalidError, Tree
from reconcile.resources.core.pod_defaults import default_pod, default_pod_template
from reconcile.resources.core.pod_lifecycle import bind, changes_tolerations, pod_grace_s, prepare_pod, qos_class
from reconcile.resources.core.pod_validation import validate_pod


def pod(**spec: Any) -> Tree:
    made = {"containers": [{"name": "web", "command": ["serve"]}], **spec}
    return {"metadata": {"name": "web-1", "namespace": "default", "uid": "u1"}, "spec": made}


def faults(tree: Tree, old: Tree | None = None) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in validate_pod(tree, old)]


def completed(tree: Tree) -> Tree:
    default_pod(tree)
    prepare_pod(tree, None)
    return tree


def test_a_minimal_pod_gets_what_kubernetes_gives_it() -> None:
    """Controllers and kubectl read these fields without asking whether they are there."""
    tree = completed(pod(containers=[{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}]))
    spec = tree["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["schedulerName"] == "default-scheduler"
    assert spec["serviceAccountName"] == "default"
    assert spec["priority"] == 0
    assert [t["key"] for t in spec["tolerations"]] == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    container = spec["containers"][0]
    assert container["imagePullPolicy"] == "Always"
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["ports"][0]["protocol"] == "TCP"
    assert tree["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_a_template_has_fewer_defaults_than_a_pod() -> None:
    """What a template leaves open is decided when a Pod is made of it; a client that compares templates must not see it."""
    containers = [{"name": "a", "image": "x:1", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}]
    owner: Tree = {"template": {"spec": copy.deepcopy({"containers": containers, "hostNetwork": True})}}
    default_pod_template(owner)
    template = owner["template"]["spec"]
    assert "enableServiceLinks" not in template
    assert template["containers"][0]["resources"] == {"limits": {"cpu": "1"}}
    assert template["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    made = completed(pod(**template))["spec"]
    assert made["enableServiceLinks"] is True
    assert made["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    assert made["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]


def test_defaults_change_nothing_the_second_time() -> None:
    """They run on every write: a second run that changes something would be a write for nothing, for ever."""
    probe = {"httpGet": {"port": 80}}
    tree = completed(
        pod(
            containers=[{"name": "a", "livenessProbe": probe, "resources": {"limits": {"cpu": "1"}}}],
            volumes=[{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}],
        )
    )
    before = copy.deepcopy(tree)
    default_pod(tree)
    assert tree == before
    assert tree["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    assert tree["spec"]["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "x", "defaultMode": 0o644}},
    ]
    assert tree["spec"]["containers"][0]["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
        "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip


def test_an_image_is_not_required() -> None:
    """In process mode a container is a command."""
    assert faults(completed(pod())) == []


def test_defaulting_a_pod_is_cheap() -> None:
    """Five hundred pods a second pass through here several times each."""
    tree = completed(pod())
    best_s = min(_timed(tree) for _ in range(200))
    assert best_s < 30e-6


def _timed(tree: Tree) -> float:
    started = time.perf_counter()
    default_pod(tree)
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        (
            {"containers": [{"name": "a", "env": [{"name": "1 any-thing: $%", "value": "x"}, {"name": "a=b", "value": "x"}]}]},
            ('spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of '
            "printable ASCII characters other than '='"),
        ),
        (
            {"hostnameOverride": "a.b", "setHostnameAsFQDN": True},
            "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
        ),
        (
            {"hostnameOverride": "a.b", "hostNetwork": True},
            "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
        ),
        ({"hostnameOverride": "a" * 65}, "spec.hostnameOverride: Too long: may not be more than 64 bytes"),
        ({"containers": [{"name": "a"}, {"name": "a"}]}, 'spec.containers[1].name: Duplicate value: "a"'),
        (
            {"containers": [{"name": "a", "ports": [{"containerPort": 70000}]}]},
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            {"containers": [{"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (
            {"containers": [{"name": "a", "livenessProbe": {}}]},
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            {"containers": [{"name": "a", "readinessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}}]},
            "spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            {"restartPolicy": "Sometimes"},
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
        ),
        (
            {"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]},
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        ({"volumes": [{"name": "v", "emptyDir": {}}] * 2}, 'spec.volumes[1].name: Duplicate value: "v"'),
        (
            {"containers": [{"name": "a", "env": [{"name": "X", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "a"}}}]}]},
            'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
        ),
    ],
)  # fmt: skip
def test_a_broken_pod_is_refused_in_the_reference_servers_words(spec: Tree, fault: str) -> None:
    """People search for these sentences, and tools match on them."""
    assert fault in faults(completed(pod(**spec)))


def test_a_pods_spec_cannot_change_but_for_images_and_the_like() -> None:
    """A running process cannot become another one."""
    old = completed(pod(nodeName="n1"))
    new = copy.deepcopy(old)
    new["spec"]["containers"][0]["image"] = "other"
    new["spec"]["tolerations"].append({"key": "k", "operator": "Exists"})
    assert faults(new, old) == []
    new["spec"]["containers"][0]["command"] = ["other"]
    new["spec"]["nodeName"] = "n2"
    found = faults(new, old)
    assert len(found) == 1
    assert found[0].startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
    assert found[0].endswith("changed: spec.containers, spec.nodeName")


def test_who_replaces_tolerations_need_not_name_those_that_every_pod_has() -> None:
    """A client that knows only its own would be refused; their seconds may change, and nothing else of them."""
    old = completed(pod(nodeName="n1"))
    new = copy.deepcopy(old)
    new["spec"]["tolerations"] = [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]
    assert changes_tolerations(new, old)
    prepare_pod(new, old)
    assert [t["key"] for t in new["spec"]["tolerations"]] == [
        "k", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable",
    ]  # fmt: skip  # one field a word reads better packed
    assert faults(new, old) == []
    own, first, second = new["spec"]["tolerations"]
    new["spec"]["tolerations"] = [own, {**first, "tolerationSeconds": 5}, second]
    assert faults(new, old) == []
    new["spec"]["tolerations"] = [own, {**first, "key": "another"}, second]
    assert [fault.split(";")[0] for fault in faults(new, old)] == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]
    assert not changes_tolerations(old, old)


def test_only_a_pod_that_may_run_is_deleted_with_grace() -> None:
    """Without a node nobody would ever confirm the end, and the Pod would linger for ever."""
    assert pod_grace_s(completed(pod()), 60) == 0
    bound = completed(pod(nodeName="n1"))
    assert pod_grace_s(bound, None) == 30
    assert pod_grace_s(bound, 5) == 5
    bound["metadata"]["deletionGracePeriodSeconds"] = 3
    assert pod_grace_s(bound, 20) == 3
    bound["status"]["phase"] = "Succeeded"
    assert pod_grace_s(bound, None) == 0


def test_a_pod_is_bound_once() -> None:
    """Two schedulers, or one that retries, must not move a Pod."""
    tree = completed(pod())
    before = copy.deepcopy(tree)
    body = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "target": {"kind": "Node", "name": "n1"}}
    bound = bind(tree, body)
    assert tree == before
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
    with pytest.raises(ConflictError, match='pod web-1 is already assigned to node "n1"'):
        bind(bound, body)
    with pytest.raises(InvalidError, match=r"target\.name"):
        bind(tree, {"target": {}})
    tree["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(ConflictError, match="is being deleted, cannot be assigned to a host"):
        bind(tree, body)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_the_qos_class_is_found_from_requests_and_limits(resources: Tree, expected: str) -> None:
    """It decides who is killed first when memory runs out."""
    assert qos_class({"containers": [{"name": "a", "resources": resources}]}) == expected


def test_variables_have_any_printable_name() -> None:
    """Programs of other systems read names that no shell takes."""
    names = ("1 any-thing: $%", "a.b-c", "~")
    assert faults(completed(pod(containers=[{"name": "a", "env": [{"name": name, "value": "x"} for name in names]}]))) == []
    assert len(faults(completed(pod(containers=[{"name": "a", "env": [{"name": name} for name in ("a=b", "é")]}])))) == 2
