"""Flows of Kubernetes' list of conformance tests that need controllers and nodes, in our words. The nodes are simulated.

Source: https://github.com/kubernetes/kubernetes/tree/v1.36.0/test/conformance/testdata/conformance.yaml
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.plane import Plane

Tree = dict[str, Any]  # Any: JSON


@pytest.fixture(scope="module")
def connection(plane: Plane) -> Iterator[Any]:
    with config.new_client_from_config(str(plane.data_dir / "kubeconfig")) as made:
        yield made


@pytest.fixture
def core(connection: Any) -> Any:
    return client.CoreV1Api(connection)


@pytest.fixture
def apps(connection: Any) -> Any:
    return client.AppsV1Api(connection)


def pod_spec(**more: Any) -> Tree:
    return {"containers": [{"name": "c", "image": "registry.example/httpd:1"}], **more}


def template(app: str = "a", **spec: Any) -> Tree:
    return {"metadata": {"labels": {"app": app}}, "spec": pod_spec(**spec)}


def workload(name: str, replicas: int, app: str = "a", **spec: Any) -> Tree:
    return {
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": template(app), **spec},
    }


def controller(name: str, replicas: int, **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"app": "a"}, "template": template(), **spec}}


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> Tree:
    with pytest.raises(ApiException) as caught:
        call(*arguments, **options)
    status: Tree = json.loads(caught.value.body)
    return status


def names(found: Any) -> list[str]:
    return sorted(item.metadata.name for item in found.items)


def ready(core: Any, namespace: str, number: int, selector: str = "app=a") -> Callable[[], bool]:
    def there() -> bool:
        pods = core.list_namespaced_pod(namespace, label_selector=selector).items
        alive = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
        return len(alive) == number and all(
            any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ()) for pod in alive
        )

    return there


# The garbage collector


@pytest.mark.parametrize(("policy", "left"), [("Background", 0), ("Orphan", 2)])
def test_pods_of_a_replication_controller_go_with_it_or_are_orphaned(
    core: Any, plane: Plane, namespace: str, policy: str, left: int
) -> None:
    core.create_namespaced_replication_controller(namespace, controller("rc", 2))
    plane.wait("two pods", ready(core, namespace, 2))
    core.delete_namespaced_replication_controller("rc", namespace, propagation_policy=policy)
    plane.wait("it is gone", lambda: not core.list_namespaced_replication_controller(namespace).items)
    plane.wait("what was its is settled", lambda: (
        len(found := core.list_namespaced_pod(namespace).items) == left and not any(p.metadata.owner_references for p in found)
    ))  # fmt: skip


def test_a_controller_deleted_in_the_foreground_stays_until_its_pods_are_gone(core: Any, plane: Plane, namespace: str) -> None:
    core.create_namespaced_replication_controller(namespace, controller("rc", 3))
    plane.wait("three pods", ready(core, namespace, 3))
    held = core.list_namespaced_pod(namespace).items[0].metadata.name
    core.patch_namespaced_pod(held, namespace, {"metadata": {"finalizers": ["e2e.example.com/hold"]}})
    core.delete_namespaced_replication_controller("rc", namespace, propagation_policy="Foreground")
    plane.wait("one pod is left", lambda: names(core.list_namespaced_pod(namespace)) == [held])
    waiting = core.read_namespaced_replication_controller("rc", namespace)
    assert waiting.metadata.deletion_timestamp
    assert waiting.metadata.finalizers == ["foregroundDeletion"]
    core.patch_namespaced_pod(held, namespace, {"metadata": {"finalizers": None}})
    plane.wait("all are gone", lambda: not core.list_namespaced_replication_controller(namespace).items)


def test_replica_sets_of_a_deployment_go_with_it_or_are_orphaned(apps: Any, plane: Plane, namespace: str) -> None:
    def left_over(policy: str) -> list[Any]:
        apps.create_namespaced_deployment(namespace, workload("d", 1, policy.lower()))
        plane.wait("a replica set", lambda: len(apps.list_namespaced_replica_set(namespace).items) == 1)
        apps.delete_namespaced_deployment("d", namespace, propagation_policy=policy)
        plane.wait("it is gone", lambda: not apps.list_namespaced_deployment(namespace).items)
        wanted = 1 if policy == "Orphan" else 0
        plane.wait("as many are left", lambda: len(apps.list_namespaced_replica_set(namespace).items) == wanted)
        return list(apps.list_namespaced_replica_set(namespace).items)

    assert left_over("Background") == []
    (orphan,) = left_over("Orphan")
    assert not orphan.metadata.owner_references


def test_owners_in_a_circle_and_a_second_valid_owner(core: Any, plane: Plane, namespace: str) -> None:
    pods = [core.create_namespaced_pod(namespace, {"metadata": {"name": f"p{n}"}, "spec": pod_spec()}) for n in (1, 2, 3)]
    for number in range(3):
        owner = pods[number - 1]
        reference = {"apiVersion": "v1", "kind": "Pod", "name": owner.metadata.name, "uid": owner.metadata.uid,
                     "controller": True, "blockOwnerDeletion": True}  # fmt: skip
        core.patch_namespaced_pod(f"p{number + 1}", namespace, {"metadata": {"ownerReferences": [reference]}})
    core.delete_namespaced_pod("p1", namespace, propagation_policy="Foreground")
    plane.wait("all of the circle are gone", lambda: not core.list_namespaced_pod(namespace).items)

    going, staying = (core.create_namespaced_replication_controller(namespace, controller(n, 0)) for n in ("going", "staying"))
    references = [
        {"apiVersion": "v1", "kind": "ReplicationController", "name": owner.metadata.name, "uid": owner.metadata.uid, **more}
        for owner, more in ((going, {"blockOwnerDeletion": True}), (staying, {}))
    ]
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "both", "ownerReferences": references}})
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "one", "ownerReferences": references[:1]}})
    core.delete_namespaced_replication_controller("going", namespace, propagation_policy="Foreground")
    plane.wait("its owner is gone", lambda: names(core.list_namespaced_replication_controller(namespace)) == ["staying"])
    both = core.read_namespaced_config_map("both", namespace)
    assert [owner.name for owner in both.metadata.owner_references] == ["staying"]
    assert "one" not in names(core.list_namespaced_config_map(namespace))


# Namespaces


def test_a_deleted_namespace_takes_pods_first_and_everything_with_it(core: Any, plane: Plane) -> None:
    core.create_namespace({"metadata": {"name": "doomed"}})
    plane.wait("its account", lambda: core.list_namespaced_service_account("doomed").items)
    core.create_namespaced_service("doomed", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    core.create_namespaced_config_map("doomed", {"metadata": {"name": "kept-till-pods-are-gone"}})
    pod = {"metadata": {"name": "p", "finalizers": ["e2e.example.com/hold"]}, "spec": pod_spec()}
    core.create_namespaced_pod("doomed", pod)
    plane.wait("it runs", lambda: core.read_namespaced_pod("p", "doomed").status.phase == "Running")
    core.delete_namespace("doomed")
    plane.wait("the pod is asked to go", lambda: core.read_namespaced_pod("p", "doomed").metadata.deletion_timestamp)

    def conditions() -> dict[str, str]:
        return {found.type: found.status for found in core.read_namespace("doomed").status.conditions or ()}

    plane.wait("the namespace says what is left", lambda: conditions().get("NamespaceContentRemaining") == "True")
    assert core.read_namespaced_config_map("kept-till-pods-are-gone", "doomed"), "Pods go first"
    core.patch_namespaced_pod("p", "doomed", {"metadata": {"finalizers": None}})
    plane.wait("it is gone", lambda: not core.list_namespace(field_selector="metadata.name=doomed").items)


# Quota


def test_a_quota_counts_each_kind_of_object_from_birth_to_death(core: Any, apps: Any, plane: Plane, namespace: str) -> None:
    hard = {"configmaps": "10", "secrets": "10", "services": "3", "services.nodeports": "1", "services.loadbalancers": "1",
            "replicationcontrollers": "2", "pods": "3", "requests.cpu": "1", "requests.memory": "500Mi",
            "count/replicasets.apps": "5", "persistentvolumeclaims": "2", "requests.storage": "10Gi"}  # fmt: skip
    core.create_namespaced_resource_quota(namespace, {"metadata": {"name": "q"}, "spec": {"hard": hard}})

    def used(**wanted: str) -> None:
        def same() -> bool:
            found = core.read_namespaced_resource_quota("q", namespace).status
            return bool(found.hard) and all((found.used or {}).get(key) == value for key, value in named.items())

        named = {key.replace("__", "/").replace("_", "."): value for key, value in wanted.items()}
        plane.wait(f"used is {named}", same)

    used(secrets="0", services="0", pods="0", replicationcontrollers="0")
    core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}})
    core.create_namespaced_service(namespace, {"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    core.create_namespaced_service(namespace, {"metadata": {"name": "b"}, "spec": {"ports": [{"port": 80}]}})
    core.create_namespaced_replication_controller(namespace, controller("rc", 0))
    apps.create_namespaced_replica_set(namespace, workload("rs", 0))
    used(secrets="1", services="2", services_nodeports="1", replicationcontrollers="1", count__replicasets_apps="1")
    over = {"metadata": {"name": "c"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    status = refused(core.create_namespaced_service, namespace, over)
    assert (status["code"], status["reason"]) == (403, "Forbidden")
    assert "exceeded quota: q" in status["message"]
    core.delete_namespaced_secret("s", namespace)
    for name in ("a", "b"):
        core.delete_namespaced_service(name, namespace)
    core.delete_namespaced_replication_controller("rc", namespace)
    apps.delete_namespaced_replica_set("rs", namespace)

    asks = {"requests": {"cpu": "500m", "memory": "252Mi"}, "limits": {"cpu": "500m", "memory": "252Mi"}}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "registry.example/x:1", "resources": asks}]}}
    core.create_namespaced_pod(namespace, pod)
    used(pods="1", requests_cpu="500m", requests_memory="252Mi")
    asks["requests"] = asks["limits"] = {"cpu": "600m", "memory": "100Mi"}
    assert refused(core.create_namespaced_pod, namespace, {**pod, "metadata": {"name": "q"}})["code"] == 403
    assert (
        refused(core.patch_namespaced_pod, "p", namespace, {"spec": {"containers": [{"name": "c", "resources": asks}]}})["code"]
        == 422
    )

    claim = {"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
             "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    core.create_namespaced_persistent_volume_claim(namespace, claim)
    used(persistentvolumeclaims="1", requests_storage="1Gi")
    core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
    core.delete_namespaced_persistent_volume_claim("v", namespace)
    used(pods="0", requests_cpu="0", requests_memory="0", persistentvolumeclaims="0", requests_storage="0")
    used(secrets="0", services="0", services_nodeports="0", replicationcontrollers="0", count__replicasets_apps="0")


def test_a_scoped_quota_counts_only_the_pods_of_its_scope(core: Any, plane: Plane, namespace: str) -> None:
    for scope in ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating"):
        spec = {"hard": {"pods": "5"}, "scopes": [scope]}
        core.create_namespaced_resource_quota(namespace, {"metadata": {"name": scope.lower()}, "spec": spec})

    def used(**wanted: str) -> bool:
        found = {
            quota.metadata.name: (quota.status.used or {}).get("pods")
            for quota in core.list_namespaced_resource_quota(namespace).items
        }
        return found == wanted

    plane.wait("all are empty", lambda: used(besteffort="0", notbesteffort="0", terminating="0", notterminating="0"))
    core.create_namespaced_pod(namespace, {"metadata": {"name": "best"}, "spec": pod_spec()})
    plane.wait("best effort", lambda: used(besteffort="1", notbesteffort="0", terminating="0", notterminating="1"))
    asks = {"requests": {"cpu": "10m"}, "limits": {"cpu": "10m"}}
    bounded = {"containers": [{"name": "c", "image": "registry.example/x:1", "resources": asks}], "activeDeadlineSeconds": 3600}
    core.create_namespaced_pod(namespace, {"metadata": {"name": "bounded"}, "spec": bounded})
    plane.wait("bounded", lambda: used(besteffort="1", notbesteffort="1", terminating="1", notterminating="1"))
    for name in ("best", "bounded"):
        core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    plane.wait("all are empty again", lambda: used(besteffort="0", notbesteffort="0", terminating="0", notterminating="0"))


# Deployments, replica sets, controllers


def test_a_deployment_scales_by_its_subresource(apps: Any, core: Any, plane: Plane, namespace: str) -> None:
    apps.create_namespaced_deployment(namespace, workload("d", 1))
    plane.wait("one pod", ready(core, namespace, 1))
    scale = apps.read_namespaced_deployment_scale("d", namespace)
    assert (scale.spec.replicas, scale.status.replicas, scale.status.selector) == (1, 1, "app=a")
    scale.spec.replicas, scale.metadata.resource_version = 2, None
    assert apps.replace_namespaced_deployment_scale("d", namespace, scale).spec.replicas == 2
    plane.wait("two pods", ready(core, namespace, 2))
    assert apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 4}}).spec.replicas == 4
    plane.wait("four pods", ready(core, namespace, 4))


def test_a_deployment_recreates_rolls_over_and_keeps_no_more_history_than_asked(
    apps: Any, core: Any, plane: Plane, namespace: str
) -> None:
    body = workload("d", 3, revisionHistoryLimit=1, strategy={"type": "Recreate"})
    apps.create_namespaced_deployment(namespace, body)
    plane.wait("three pods", ready(core, namespace, 3))
    for image in ("registry.example/httpd:2", "registry.example/httpd:3", "registry.example/httpd:4"):
        change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
        apps.patch_namespaced_deployment("d", namespace, change)
    plane.wait("all run the newest", lambda: (
        ready(core, namespace, 3)()
        and {p.spec.containers[0].image for p in core.list_namespaced_pod(namespace).items} == {"registry.example/httpd:4"}
    ))  # fmt: skip
    plane.wait("one old set is left", lambda: len(apps.list_namespaced_replica_set(namespace).items) <= 2)
    status = apps.read_namespaced_deployment_status("d", namespace).status
    assert (status.updated_replicas, status.ready_replicas, status.unavailable_replicas) == (3, 3, None)


def test_a_deployment_under_way_is_scaled_in_proportion(apps: Any, core: Any, plane: Plane, namespace: str) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    apps.create_namespaced_deployment(namespace, workload("d", 10, strategy=rolling))
    plane.wait("ten pods", ready(core, namespace, 10))
    # The new ones can run nowhere, so that the rollout stops half-way.
    stuck = {"spec": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}}
    apps.patch_namespaced_deployment("d", namespace, stuck)

    def sizes() -> list[int]:
        return sorted(s.spec.replicas for s in apps.list_namespaced_replica_set(namespace).items)

    plane.wait("the rollout is as far as it gets", lambda: sizes() == [5, 8])
    apps.patch_namespaced_deployment("d", namespace, {"spec": {"replicas": 30}})
    plane.wait("both grow, in proportion", lambda: sizes() == [13, 20])


def test_a_replica_set_adopts_what_matches_and_releases_what_no_longer_does(
    apps: Any, core: Any, plane: Plane, namespace: str
) -> None:
    core.create_namespaced_pod(namespace, {"metadata": {"name": "orphan", "labels": {"app": "a"}}, "spec": pod_spec()})
    apps.create_namespaced_replica_set(namespace, workload("rs", 1))
    plane.wait("it is adopted", lambda: core.read_namespaced_pod("orphan", namespace).metadata.owner_references)
    core.patch_namespaced_pod("orphan", namespace, {"metadata": {"labels": {"app": "other"}}})
    plane.wait("it is released", lambda: not core.read_namespaced_pod("orphan", namespace).metadata.owner_references)
    plane.wait("and replaced", ready(core, namespace, 1))


def test_a_controller_says_why_its_pods_cannot_be_made(core: Any, plane: Plane, namespace: str) -> None:
    core.create_namespaced_resource_quota(namespace, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}})
    plane.wait("the quota counts", lambda: core.read_namespaced_resource_quota("q", namespace).status.used)
    core.create_namespaced_replication_controller(namespace, controller("rc", 3))

    def failure() -> list[Any]:
        conditions = core.read_namespaced_replication_controller("rc", namespace).status.conditions or ()
        return [condition for condition in conditions if condition.type == "ReplicaFailure"]

    (condition,) = plane.wait("it says so", failure)
    assert "exceeded quota" in condition.message
    core.patch_namespaced_replication_controller_scale("rc", namespace, {"spec": {"replicas": 2}})
    plane.wait("it is content", lambda: not failure())


@pytest.mark.parametrize("kind", ["deployment", "replica_set", "stateful_set", "daemon_set"])
def test_a_condition_in_the_status_of_a_workload_stays(apps: Any, plane: Plane, namespace: str, kind: str) -> None:
    body = workload("w", 1)
    if kind == "daemon_set":
        del body["spec"]["replicas"]
    if kind == "stateful_set":
        body["spec"]["serviceName"] = "none"
    create, read, patch, replace = (
        getattr(apps, f"{verb}_namespaced_{kind}{part}")
        for verb, part in (("create", ""), ("read", "_status"), ("patch", "_status"), ("replace", "_status"))
    )
    create(namespace, body)

    def settled() -> bool:
        found = read("w", namespace)
        return bool(found.status.observed_generation == found.metadata.generation)

    plane.wait("its controller has seen it", settled)
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set by a test"}
    patched = patch("w", namespace, {"status": {"conditions": [condition]}})
    assert "StatusUpdate" in [found.type for found in patched.status.conditions]
    for _ in range(10):
        newest = read("w", namespace)
        newest.metadata.annotations = {"seen": "yes"}
        try:
            assert replace("w", namespace, newest).metadata.annotations["seen"] == "yes"
            break
        except ApiException as error:
            if error.status != 409:
                raise
    assert "StatusUpdate" in [found.type for found in read("w", namespace).status.conditions]


# Stateful sets and daemon sets


def test_a_stateful_set_rolls_in_phases_from_its_last_pod(apps: Any, core: Any, plane: Plane, namespace: str) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}
    apps.create_namespaced_stateful_set(namespace, workload("ss", 3, serviceName="s", updateStrategy=rolling))
    plane.wait("three pods", ready(core, namespace, 3), 30)
    first = apps.read_namespaced_stateful_set("ss", namespace).status.current_revision
    image = "registry.example/httpd:2"
    apps.patch_namespaced_stateful_set(
        "ss", namespace, {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    )
    plane.wait("a new revision", lambda: apps.read_namespaced_stateful_set("ss", namespace).status.update_revision != first)
    second = apps.read_namespaced_stateful_set("ss", namespace).status.update_revision

    def revisions() -> list[str]:
        pods = core.list_namespaced_pod(namespace).items
        return [pod.metadata.labels["controller-revision-hash"] for pod in sorted(pods, key=lambda p: p.metadata.name)]

    assert revisions() == [first] * 3, "the partition holds all back"

    def let(partition: int, wanted: list[str]) -> None:
        change = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}}}
        apps.patch_namespaced_stateful_set("ss", namespace, change)
        plane.wait(f"partition {partition}", lambda: revisions() == wanted and ready(core, namespace, 3)(), 30)

    let(2, [first, first, second])
    let(0, [second] * 3)
    plane.wait("it is done", lambda: apps.read_namespaced_stateful_set("ss", namespace).status.current_revision == second)


def test_an_evicted_pod_of_a_stateful_set_is_made_again(apps: Any, core: Any, plane: Plane, namespace: str) -> None:
    apps.create_namespaced_stateful_set(namespace, workload("ss", 1, serviceName="s"))
    plane.wait("its pod runs", ready(core, namespace, 1))
    before = core.read_namespaced_pod("ss-0", namespace).metadata.uid
    core.create_namespaced_pod_eviction("ss-0", namespace, {"metadata": {"name": "ss-0", "namespace": namespace}})
    plane.wait("another one runs", lambda: (
        ready(core, namespace, 1)() and core.read_namespaced_pod("ss-0", namespace).metadata.uid != before
    ), 45)  # fmt: skip


def test_a_daemon_set_runs_where_its_selector_says_and_replaces_what_failed(
    apps: Any, core: Any, plane: Plane, namespace: str
) -> None:
    body = workload("ds", 0)
    del body["spec"]["replicas"]
    label = f"daemon-{namespace}"
    body["spec"]["template"]["spec"]["nodeSelector"] = {label: "blue"}
    apps.create_namespaced_daemon_set(namespace, body)
    nodes = [node.metadata.name for node in core.list_node().items]
    core.patch_node(nodes[0], {"metadata": {"labels": {label: "blue"}}})
    plane.wait("one node has it", ready(core, namespace, 1))
    core.patch_node(nodes[0], {"metadata": {"labels": {label: "green"}}})
    plane.wait("it leaves", lambda: not core.list_namespaced_pod(namespace).items, 45)
    change = {"spec": {"template": {"spec": {"nodeSelector": {label: "green"}}}}}
    apps.patch_namespaced_daemon_set("ds", namespace, change)
    plane.wait("it is back", ready(core, namespace, 1))
    for node in nodes[1:]:
        core.patch_node(node, {"metadata": {"labels": {label: "green"}}})
    plane.wait("all nodes have it", ready(core, namespace, len(nodes)))
    assert len(apps.list_namespaced_controller_revision(namespace).items) == 2

    pods = core.list_namespaced_pod(namespace).items
    core.patch_namespaced_pod_status(pods[0].metadata.name, namespace, {"status": {"phase": "Failed"}})
    plane.wait("the failed one is replaced", lambda: (
        pods[0].metadata.name not in names(core.list_namespaced_pod(namespace)) and ready(core, namespace, len(nodes))()
    ), 45)  # fmt: skip
    apps.delete_namespaced_daemon_set("ds", namespace)
    plane.wait("all are gone", lambda: not core.list_namespaced_pod(namespace).items, 45)


# Disruption, endpoints, pods


def test_an_eviction_waits_until_the_budget_allows_it(connection: Any, core: Any, plane: Plane, namespace: str) -> None:
    policy = client.PolicyV1Api(connection)
    for name in ("p1", "p2", "p3"):
        core.create_namespaced_pod(namespace, {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": pod_spec()})
    plane.wait("three pods", ready(core, namespace, 3))
    spec = {"minAvailable": 3, "selector": {"matchLabels": {"app": "a"}}}
    policy.create_namespaced_pod_disruption_budget(namespace, {"metadata": {"name": "b"}, "spec": spec})
    plane.wait("it is counted", lambda: policy.read_namespaced_pod_disruption_budget("b", namespace).status.current_healthy == 3)
    eviction = {"metadata": {"name": "p1", "namespace": namespace}}
    status = refused(core.create_namespaced_pod_eviction, "p1", namespace, eviction)
    assert (status["code"], status["reason"]) == (429, "TooManyRequests")
    assert status["details"]["causes"][0]["reason"] == "DisruptionBudget"
    policy.patch_namespaced_pod_disruption_budget("b", namespace, {"spec": {"minAvailable": 2}})
    plane.wait("one may go", lambda: policy.read_namespaced_pod_disruption_budget("b", namespace).status.disruptions_allowed == 1)
    core.create_namespaced_pod_eviction("p1", namespace, eviction)
    plane.wait("it went", lambda: "p1" not in names(core.list_namespaced_pod(namespace)), 45)
    assert refused(core.create_namespaced_pod_eviction, "p2", namespace, {"metadata": {"name": "p2"}})["code"] == 429


def test_endpoints_and_slices_follow_the_pods_of_a_service(connection: Any, core: Any, plane: Plane, namespace: str) -> None:
    discovery = client.DiscoveryV1Api(connection)
    spec = {"selector": {"app": "a"}, "ports": [{"name": "web", "port": 80, "targetPort": 8080}]}
    core.create_namespaced_service(namespace, {"metadata": {"name": "s"}, "spec": spec})

    def slices() -> list[Any]:
        return list(discovery.list_namespaced_endpoint_slice(namespace, label_selector="kubernetes.io/service-name=s").items)

    plane.wait("both are there, empty", lambda: (
        names(core.list_namespaced_endpoints(namespace)) == ["s"] and [len(found.endpoints or ()) for found in slices()] == [0]
    ))  # fmt: skip
    for name in ("p1", "p2"):
        core.create_namespaced_pod(namespace, {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": pod_spec()})
    plane.wait("both show the pods", lambda: (
        sum(len(subset.addresses or ()) for subset in core.read_namespaced_endpoints("s", namespace).subsets or ()) == 2
        and sum(len(found.endpoints or ()) for found in slices()) == 2
    ))  # fmt: skip
    core.delete_namespaced_service("s", namespace)
    plane.wait("both are gone", lambda: not slices() and not core.list_namespaced_endpoints(namespace).items)


def test_endpoints_of_a_service_without_selector_are_mirrored(connection: Any, core: Any, plane: Plane, namespace: str) -> None:
    discovery = client.DiscoveryV1Api(connection)
    core.create_namespaced_service(namespace, {"metadata": {"name": "m"}, "spec": {"ports": [{"name": "web", "port": 80}]}})
    subset: Tree = {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "web", "port": 80}]}
    core.create_namespaced_endpoints(namespace, {"metadata": {"name": "m"}, "subsets": [subset]})

    def mirrored() -> list[tuple[str, list[str]]]:
        found = discovery.list_namespaced_endpoint_slice(namespace, label_selector="kubernetes.io/service-name=m").items
        return [
            (s.metadata.labels["endpointslice.kubernetes.io/managed-by"], [a for e in s.endpoints for a in e.addresses])
            for s in found
        ]

    by = "endpointslicemirroring-controller.k8s.io"
    plane.wait("it is mirrored", lambda: mirrored() == [(by, ["10.1.2.3"])])
    subset["addresses"][0]["ip"] = "10.2.3.4"
    core.patch_namespaced_endpoints("m", namespace, {"subsets": [subset]})
    plane.wait("the mirror follows", lambda: mirrored() == [(by, ["10.2.3.4"])])
    core.delete_namespaced_endpoints("m", namespace)
    plane.wait("the mirror is gone", lambda: not mirrored())


def test_a_taint_evicts_after_the_time_that_a_pod_tolerates_and_not_if_it_goes_before(
    core: Any, plane: Plane, namespace: str
) -> None:
    node = core.list_node().items[1].metadata.name
    taint = {"key": f"e2e.example.com/{namespace}", "value": "v", "effect": "NoExecute"}
    short = {"key": taint["key"], "value": "v", "operator": "Equal", "effect": "NoExecute", "tolerationSeconds": 1}
    for name, tolerations in (("short", [short]), ("long", [{**short, "tolerationSeconds": 3600}])):
        spec = pod_spec(tolerations=tolerations, nodeName=node)
        core.create_namespaced_pod(namespace, {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": spec})
    plane.wait("both run", ready(core, namespace, 2))
    others = core.read_node(node).spec.taints or []
    core.patch_node(node, {"spec": {"taints": [*others, taint]}})
    try:
        plane.wait("the one is evicted", lambda: names(core.list_namespaced_pod(namespace)) == ["long"], 45)
    finally:
        core.patch_node(node, {"spec": {"taints": others or None}})
    assert core.read_namespaced_pod("long", namespace).metadata.deletion_timestamp is None


def test_a_pods_generation_counts_its_specs_and_its_status_says_which_was_seen(core: Any, plane: Plane, namespace: str) -> None:
    made = core.create_namespaced_pod(namespace, {"metadata": {"name": "p", "generation": 100}, "spec": pod_spec()})
    assert made.metadata.generation == 1
    plane.wait("it runs", lambda: core.read_namespaced_pod("p", namespace).status.phase == "Running")
    core.patch_namespaced_pod("p", namespace, {"metadata": {"labels": {"x": "y"}}})
    assert core.read_namespaced_pod("p", namespace).metadata.generation == 1
    for number in range(2, 6):
        change = {"spec": {"containers": [{"name": "c", "image": f"registry.example/httpd:{number}"}]}}
        assert core.patch_namespaced_pod("p", namespace, change).metadata.generation == number
    plane.wait("the kubelet has seen the last", lambda: core.read_namespaced_pod("p", namespace).status.observed_generation == 5)
    found = core.read_namespaced_pod("p", namespace)
    assert found.status.host_ip
    assert found.status.pod_ip
    deadline = core.patch_namespaced_pod("p", namespace, {"spec": {"activeDeadlineSeconds": 3600}})
    assert (deadline.spec.active_deadline_seconds, deadline.metadata.generation) == (3600, 6)
    condition = {"type": "E2E", "status": "True", "reason": "Test", "message": "m"}
    patched = core.patch_namespaced_pod_status("p", namespace, {"status": {"conditions": [condition]}})
    assert "E2E" in [found.type for found in patched.status.conditions]


# Scheduling


def test_pods_go_only_where_there_is_room_and_their_selector_matches(core: Any, plane: Plane, namespace: str) -> None:
    def unschedulable(name: str) -> Any:
        conditions = core.read_namespaced_pod(name, namespace).status.conditions or ()
        return [c.message for c in conditions if c.type == "PodScheduled" and c.reason == "Unschedulable"]

    core.create_namespaced_pod(namespace, {"metadata": {"name": "lost"}, "spec": pod_spec(nodeSelector={"label": "nonempty"})})
    (why,) = plane.wait("it waits", lambda: unschedulable("lost"))
    assert "node(s) didn't match Pod's node affinity/selector" in why
    node = core.list_node().items[0].metadata.name
    label = f"only-{namespace}"
    core.patch_node(node, {"metadata": {"labels": {label: "42"}}})
    core.create_namespaced_pod(namespace, {"metadata": {"name": "found"}, "spec": pod_spec(nodeSelector={label: "42"})})
    plane.wait("it is there", lambda: core.read_namespaced_pod("found", namespace).spec.node_name == node)
    huge = {"containers": [{"name": "c", "image": "registry.example/x:1", "resources": {"requests": {"cpu": "100000"}}}]}
    core.create_namespaced_pod(namespace, {"metadata": {"name": "huge"}, "spec": huge})
    (why,) = plane.wait("it waits", lambda: unschedulable("huge"))
    assert "Insufficient cpu" in why

    def on(name: str, address: str) -> None:
        port = {"containerPort": 8080, "hostPort": 54322, "hostIP": address}
        container = {"name": "c", "image": "registry.example/x:1", "ports": [port]}
        spec = {"containers": [container], "nodeSelector": {label: "42"}}
        core.create_namespaced_pod(namespace, {"metadata": {"name": name}, "spec": spec})

    on("everywhere", "0.0.0.0")
    plane.wait("the first has its port", lambda: core.read_namespaced_pod("everywhere", namespace).spec.node_name == node)
    on("here", "127.0.0.1")
    (why,) = plane.wait("the second waits", lambda: unschedulable("here"))
    assert "didn't have free ports" in why
    core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0)


def test_a_more_important_pod_takes_the_place_of_a_less_important_one(
    connection: Any, core: Any, plane: Plane, namespace: str
) -> None:
    scheduling = client.SchedulingV1Api(connection)
    node = core.list_node().items[0].metadata.name
    room = f"example.com/{namespace}"
    core.patch_node_status(node, {"status": {"capacity": {room: "5"}, "allocatable": {room: "5"}}})
    for name, value in (("low", 1), ("high", 1000)):
        scheduling.create_priority_class({"metadata": {"name": f"{name}-{namespace}"}, "value": value})

    def create(name: str, priority: str) -> None:
        amounts = {"requests": {room: "3"}, "limits": {room: "3"}}
        container = {"name": "c", "image": "registry.example/x:1", "resources": amounts}
        meta = {"name": name, "finalizers": ["e2e.example.com/hold"] if name == "victim" else []}
        spec = {"containers": [container], "priorityClassName": f"{priority}-{namespace}"}
        core.create_namespaced_pod(namespace, {"metadata": meta, "spec": spec})

    create("victim", "low")
    plane.wait("it runs", lambda: core.read_namespaced_pod("victim", namespace).status.phase == "Running")
    create("preemptor", "high")
    plane.wait("it is asked to go", lambda: core.read_namespaced_pod("victim", namespace).metadata.deletion_timestamp)
    conditions = {c.type: c.reason for c in core.read_namespaced_pod("victim", namespace).status.conditions}
    assert conditions.get("DisruptionTarget") == "PreemptionByScheduler"
    core.patch_namespaced_pod("victim", namespace, {"metadata": {"finalizers": None}})
    plane.wait("the other has its place", lambda: core.read_namespaced_pod("preemptor", namespace).spec.node_name == node, 45)
    core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0)
    core.patch_node_status(node, {"status": {"capacity": {room: None}, "allocatable": {room: None}}})
