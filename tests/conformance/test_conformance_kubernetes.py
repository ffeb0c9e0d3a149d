"""The official Python client (`kubernetes`): typed and dynamic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.utils import create_from_yaml

from tests.conformance.kubectl import WEB
from tests.plane import wait_until


@pytest.fixture(scope="module")
def connection(plane: Any) -> Iterator[Any]:
    with config.new_client_from_config(str(plane.data_dir / "kubeconfig")) as made:
        yield made


@pytest.fixture
def core(connection: Any) -> Any:
    return client.CoreV1Api(connection)


@pytest.fixture
def apps(connection: Any) -> Any:
    return client.AppsV1Api(connection)


def config_map(name: str, **data: str) -> Any:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), data=data)


def web() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(WEB)
    return tree


def status_of(call: Callable[[], Any]) -> dict[str, Any]:
    """The Status of a refused call."""
    with pytest.raises(ApiException) as caught:
        call()
    status: dict[str, Any] = json.loads(caught.value.body)
    assert status["code"] == caught.value.status
    return status


def test_objects_are_created_read_replaced_and_deleted(core: Any, namespace: str) -> None:
    """The typed models check every field that comes back."""
    made = core.create_namespaced_config_map(namespace, config_map("a", k="1"))
    assert made.metadata.creation_timestamp.tzinfo is not None
    read = core.read_namespaced_config_map("a", namespace)
    assert (read.metadata.uid, read.data) == (made.metadata.uid, {"k": "1"})
    read.data["k"] = "2"
    replaced = core.replace_namespaced_config_map("a", namespace, read)
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    deleted = core.delete_namespaced_config_map("a", namespace)
    assert (deleted.status, deleted.details.name) == ("Success", "a")
    secret = client.V1Secret(metadata=client.V1ObjectMeta(generate_name="s-"), string_data={"k": "v"})
    assert core.create_namespaced_secret(namespace, secret).data == {"k": "dg=="}


def test_refusals_are_statuses_with_reasons_and_causes(core: Any, apps: Any, namespace: str) -> None:
    """Programs branch on reason and causes, not on texts."""
    assert status_of(lambda: core.read_namespaced_config_map("none", namespace))["reason"] == "NotFound"
    core.create_namespaced_config_map(namespace, config_map("a"))
    assert status_of(lambda: core.create_namespaced_config_map(namespace, config_map("a")))["reason"] == "AlreadyExists"
    stale = core.read_namespaced_config_map("a", namespace)
    core.patch_namespaced_config_map("a", namespace, {"data": {"k": "1"}})
    assert status_of(lambda: core.replace_namespaced_config_map("a", namespace, stale))["reason"] == "Conflict"
    tree = web()
    tree["spec"]["template"]["metadata"]["labels"] = {"other": "x"}
    invalid = status_of(lambda: apps.create_namespaced_deployment(namespace, tree))
    assert (invalid["code"], invalid["reason"]) == (422, "Invalid")
    assert invalid["details"]["causes"][0]["field"] == "spec.template.metadata.labels"
    wrong = {**web(), "spec": {**web()["spec"], "replicas": "three"}}
    assert status_of(lambda: apps.create_namespaced_deployment(namespace, wrong))["code"] == 400
    unknown = {**web(), "spec": {**web()["spec"], "replikas": 1}}
    strict = status_of(lambda: apps.create_namespaced_deployment(namespace, unknown, field_validation="Strict"))
    assert 'unknown field "spec.replikas"' in strict["message"]
    gone = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
    assert status_of(lambda: core.delete_namespaced_config_map("a", namespace, body=gone))["code"] == 409


def test_every_patch_type_is_taken(core: Any, apps: Any, namespace: str) -> None:
    """The client picks the type by the body: a list is a JSON patch, an object a strategic merge; others are asked for."""
    apps.create_namespaced_deployment(namespace, web())
    container = {"name": "b", "image": "y"}
    change = {"spec": {"template": {"spec": {"containers": [container]}}}}
    strategic = apps.patch_namespaced_deployment("web", namespace, change)
    assert [c.name for c in strategic.spec.template.spec.containers] == ["b", "a"]
    merged = apps.patch_namespaced_deployment("web", namespace, change, _content_type="application/merge-patch+json")
    assert [c.name for c in merged.spec.template.spec.containers] == ["b"]
    operations = [{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 0}]
    assert apps.patch_namespaced_deployment("web", namespace, operations).spec.replicas == 0
    assert status_of(lambda: apps.patch_namespaced_deployment("web", namespace, operations))["code"] == 422
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}}
    apply = {"_content_type": "application/apply-patch+yaml", "field_manager": "one"}
    made = core.patch_namespaced_config_map("a", namespace, body, **apply)
    assert [(e.manager, e.operation) for e in made.metadata.managed_fields] == [("one", "Apply")]
    other = {**body, "data": {"k": "2"}}
    refused = status_of(lambda: core.patch_namespaced_config_map("a", namespace, other, **{**apply, "field_manager": "two"}))
    assert refused["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.k"}
    ]
    forced = core.patch_namespaced_config_map("a", namespace, other, force=True, **{**apply, "field_manager": "two"})
    assert forced.data == {"k": "2"}
    dry = core.patch_namespaced_config_map("a", namespace, {"data": {"k": "3"}}, dry_run="All")
    assert (dry.data, core.read_namespaced_config_map("a", namespace).data) == ({"k": "3"}, {"k": "2"})


def test_lists_come_in_pages_of_one_revision_and_by_selector(core: Any, namespace: str) -> None:
    """What is written between two pages must not show in the second."""
    for name in "abcde":
        core.create_namespaced_config_map(namespace, config_map(name))
    page = core.list_namespaced_config_map(namespace, limit=2)
    assert page.metadata.remaining_item_count == 4  # kube-root-ca.crt is in every namespace
    core.create_namespaced_config_map(namespace, config_map("f"))
    names, revision = [item.metadata.name for item in page.items], page.metadata.resource_version
    while page.metadata._continue:
        page = core.list_namespaced_config_map(namespace, limit=2, _continue=page.metadata._continue)
        assert page.metadata.resource_version == revision
        names += [item.metadata.name for item in page.items]
    assert names == [*"abcde", "kube-root-ca.crt"]

    def picked(**selectors: str) -> list[str]:
        return [item.metadata.name for item in core.list_namespaced_config_map(namespace, **selectors).items]

    assert picked(label_selector="app in (a, b),app!=b") == ["a"]
    assert picked(field_selector="metadata.name=c") == ["c"]
    assert status_of(lambda: picked(field_selector="data.k=1"))["code"] == 400
    old = core.list_namespaced_config_map(namespace, resource_version=revision, resource_version_match="Exact")
    assert len(old.items) == 6
    core.delete_collection_namespaced_config_map(namespace, label_selector="app in (a,b,c)")
    assert picked() == ["d", "e", "f", "kube-root-ca.crt"]


def test_a_watch_goes_on_from_a_revision_and_ends_in_time(core: Any, namespace: str) -> None:
    """List, then watch from there: the way of every informer."""
    since = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("a"))
    core.patch_namespaced_config_map("a", namespace, {"data": {"k": "1"}})
    core.create_namespaced_config_map(namespace, config_map("other"))
    core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"app": "gone"}}})
    seen = [
        (event["type"], event["object"].metadata.name)
        for event in watch.Watch().stream(
            core.list_namespaced_config_map, namespace, resource_version=since, label_selector="app=a", timeout_seconds=1
        )
    ]
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_a_deployment_becomes_available_scales_and_goes_with_all_it_owns(core: Any, apps: Any, namespace: str) -> None:
    """The whole chain of controllers, watched from outside."""
    apps.create_namespaced_deployment(namespace, web())
    watched = watch.Watch()
    for event in watched.stream(apps.list_namespaced_deployment, namespace, timeout_seconds=10):
        conditions = {c.type: c.status for c in event["object"].status.conditions or ()}
        if conditions.get("Available") == "True":
            watched.stop()
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=web")
    scale.spec.replicas = 3
    apps.replace_namespaced_deployment_scale("web", namespace, scale)
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
    read = apps.read_namespaced_deployment_status
    wait_until("two replicas run", lambda: read("web", namespace).status.ready_replicas == 2)
    events = core.list_namespaced_event(namespace, field_selector="involvedObject.kind=Deployment").items
    assert {event.reason for event in events} == {"ScalingReplicaSet"}
    assert all(event.involved_object.name == "web" for event in events)

    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    wait_until("it is gone", lambda: not apps.list_namespaced_deployment(namespace).items)
    assert not apps.list_namespaced_replica_set(namespace).items
    wait_until("its pods are gone", lambda: not core.list_namespaced_pod(namespace).items)


def test_orphans_stay_and_a_namespace_takes_everything_along(core: Any, apps: Any, namespace: str) -> None:
    """Propagation policies are the garbage collector's orders."""
    apps.create_namespaced_deployment(namespace, web())
    wait_until("there is a pod", lambda: core.list_namespaced_pod(namespace).items)
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Orphan")
    wait_until("it is gone", lambda: not apps.list_namespaced_deployment(namespace).items)
    assert [rs.metadata.owner_references for rs in apps.list_namespaced_replica_set(namespace).items] == [None]
    phase = core.delete_namespace(namespace)
    assert phase.status is not None
    wait_until("the namespace is gone", lambda: namespace not in {n.metadata.name for n in core.list_namespace().items})
    assert not core.list_pod_for_all_namespaces(field_selector=f"metadata.namespace={namespace}").items


def test_finalizers_hold_an_object_until_they_are_gone(core: Any, namespace: str) -> None:
    """The first answer is the object as it lingers."""
    made = config_map("a")
    made.metadata.finalizers = ["example.com/hold"]
    core.create_namespaced_config_map(namespace, made)
    core.delete_namespaced_config_map("a", namespace)
    assert core.read_namespaced_config_map("a", namespace).metadata.deletion_timestamp is not None
    core.patch_namespaced_config_map("a", namespace, {"metadata": {"finalizers": None}})
    assert status_of(lambda: core.read_namespaced_config_map("a", namespace))["code"] == 404


def test_pods_are_bound_and_their_status_is_written_apart(core: Any, namespace: str) -> None:
    """What a scheduler and a kubelet of somebody else would do."""
    spec = client.V1PodSpec(containers=[client.V1Container(name="a", image="x")], scheduler_name="mine")
    core.create_namespaced_pod(namespace, client.V1Pod(metadata=client.V1ObjectMeta(name="p"), spec=spec))
    target = client.V1ObjectReference(kind="Node", name="nowhere", api_version="v1")
    binding = client.V1Binding(metadata=client.V1ObjectMeta(name="p"), target=target)
    core.create_namespaced_pod_binding("p", namespace, binding, _preload_content=False)
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": datetime.now(UTC).isoformat()}
    core.patch_namespaced_pod_status("p", namespace, {"status": {"phase": "Running", "conditions": [condition]}})
    pod = core.read_namespaced_pod_status("p", namespace)
    assert (pod.spec.node_name, pod.status.phase) == ("nowhere", "Running")
    assert {c.type for c in pod.status.conditions} == {"PodScheduled", "Ready"}
    core.patch_namespaced_pod("p", namespace, {"status": {"phase": "Failed"}})
    assert core.read_namespaced_pod("p", namespace).status.phase == "Running"
    core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
    assert status_of(lambda: core.read_namespaced_pod("p", namespace))["code"] == 404


def test_leases_events_and_services_have_their_types(core: Any, connection: Any, namespace: str) -> None:
    """Leader election and event recording are what every operator does first."""
    leases = client.CoordinationV1Api(connection)
    now = datetime.now(UTC)
    spec = client.V1LeaseSpec(holder_identity="me", lease_duration_seconds=5, renew_time=now)
    leases.create_namespaced_lease(namespace, client.V1Lease(metadata=client.V1ObjectMeta(name="l"), spec=spec))
    assert leases.read_namespaced_lease("l", namespace).spec.renew_time == now
    about = client.V1ObjectReference(kind="ConfigMap", name="a", namespace=namespace)
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(generate_name="e-"), involved_object=about, reason="Told", message="m", type="Normal",
        event_time=now, reporting_component="test", reporting_instance="t", action="Tell",
    )  # fmt: skip
    assert core.create_namespaced_event(namespace, event).event_time == now
    port = client.V1ServicePort(port=80, target_port="http")
    service = client.V1Service(
        metadata=client.V1ObjectMeta(name="s"), spec=client.V1ServiceSpec(ports=[port], selector={"a": "b"})
    )
    core.create_namespaced_service(namespace, service)
    wait_until("it has an address", lambda: core.read_namespaced_service("s", namespace).spec.cluster_ip)


def test_the_dynamic_client_discovers_and_handles_every_kind(connection: Any, namespace: str) -> None:
    """It reads discovery alone; `Gadget` is a kind that only a file in the folder declares."""
    found = dynamic.DynamicClient(connection)
    gadgets = found.resources.get(api_version="toys.example.com/v1", kind="Gadget")
    assert (gadgets.name, gadgets.namespaced, gadgets.short_names) == ("gadgets", True, ["gad"])
    body = {"apiVersion": "toys.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"colour": "red"}}
    made = gadgets.create(body=body, namespace=namespace)
    assert made.spec.size == 1
    assert gadgets.get(name="g", namespace=namespace).spec.colour == "red"
    patched = gadgets.patch(
        name="g", namespace=namespace, body={"spec": {"size": 2}}, content_type="application/merge-patch+json"
    )
    assert (patched.spec.size, patched.metadata.generation) == (2, 2)
    body["spec"] = {"size": 3}
    applied = gadgets.server_side_apply(body=body, name="g", namespace=namespace, field_manager="dyn", force_conflicts=True)
    assert applied.spec.size == 3
    status = gadgets.status.patch(
        name="g", namespace=namespace, body={"status": {"phase": "Up"}}, content_type="application/merge-patch+json"
    )
    assert status.status.phase == "Up"
    events = gadgets.watch(namespace=namespace, resource_version=0, timeout=1)
    assert [event["raw_object"]["status"]["phase"] for event in events][-1:] == ["Up"]
    gadgets.delete(name="g", namespace=namespace)
    assert gadgets.get(namespace=namespace).items == []
    deployments = found.resources.get(kind="Deployment")
    assert "scale" in deployments.subresources


def test_custom_objects_and_yaml_files_work_too(connection: Any, namespace: str, tmp_path: Any) -> None:
    """The two further doors of this client."""
    custom = client.CustomObjectsApi(connection)
    where = {"group": "toys.example.com", "version": "v1", "namespace": namespace, "plural": "gadgets"}
    body = {"apiVersion": "toys.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {}}
    custom.create_namespaced_custom_object(body=body, **where)
    assert custom.patch_namespaced_custom_object(name="g", body={"spec": {"size": 4}}, **where)["spec"]["size"] == 4
    assert len(custom.list_namespaced_custom_object(**where)["items"]) == 1
    (tmp_path / "web.yaml").write_text(WEB)
    create_from_yaml(connection, str(tmp_path / "web.yaml"), namespace=namespace)
    assert client.AppsV1Api(connection).read_namespaced_deployment("web", namespace).spec.replicas == 1
    version = client.VersionApi(connection).get_code()
    assert (version.major, version.minor.isdigit()) == ("1", True)
