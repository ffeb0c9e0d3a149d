"""Flows of Kubernetes' list of conformance tests that need the API server alone, in our words.

Source: https://github.com/kubernetes/kubernetes/tree/v1.36.0/test/conformance/testdata/conformance.yaml
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from tests.plane import Plane, wait_until

Tree = dict[str, Any]  # Any: JSON


@pytest.fixture(scope="module")
def connection(plane: Plane) -> Iterator[Any]:
    with config.new_client_from_config(str(plane.data_dir / "kubeconfig")) as made:
        yield made


@pytest.fixture
def core(connection: Any) -> Any:
    return client.CoreV1Api(connection)


class Raw:
    """Requests as bytes, answers as status, headers and JSON."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._base = connection.configuration.host

    def __call__(self, method: str, path: str, body: bytes | Tree | None = None, **headers: str) -> tuple[int, Any, Tree]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        named.setdefault("Content-Type", "application/json")
        self._connection.update_params_for_auth(named, [], ["BearerToken"])
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        answer = self._connection.rest_client.pool_manager.request(method, self._base + path, body=data, headers=named)
        return answer.status, answer.headers, json.loads(answer.data) if answer.data[:1] in (b"{", b"[") else {"raw": answer.data}


@pytest.fixture
def raw(connection: Any) -> Raw:
    return Raw(connection)


def refused(call: Callable[..., Any], *arguments: Any) -> Tree:
    with pytest.raises(ApiException) as caught:
        call(*arguments)
    status: Tree = json.loads(caught.value.body)
    return status


# Discovery

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList"


def test_aggregated_discovery_lists_groups_versions_and_resources(raw: Raw) -> None:
    for path, wanted in (("/api", ("", "v1", "pods")), ("/apis", ("apps", "v1", "deployments"))):
        for version in ("v2",):
            code, headers, found = raw("GET", path, Accept=_AGGREGATED.format(v=version))
            assert code == 200
            assert f"v={version}" in headers["Content-Type"]
            assert found["kind"] == "APIGroupDiscoveryList"
            told = {
                (item["metadata"].get("name", ""), at["version"], resource["resource"])
                for item in found["items"] for at in item["versions"] for resource in at["resources"]
            }  # fmt: skip
            assert wanted in told


def test_raw_discovery_answers_each_accept_header(raw: Raw) -> None:
    aggregated = _AGGREGATED.format(v="v2")
    for path, plain in (("/api", "APIVersions"), ("/apis", "APIGroupList")):
        for accept, kind in (
            ("", plain), ("application/json", plain), (aggregated, "APIGroupDiscoveryList"),
            (f"{aggregated},application/json", "APIGroupDiscoveryList"),
            (f"application/json,{aggregated}", plain),
        ):  # fmt: skip
            code, headers, found = raw("GET", path, Accept=accept or "*/*")
            assert (code, found["kind"]) == (200, kind), accept
            assert headers["Vary"] == "Accept"


def test_the_preferred_version_of_each_group_is_one_of_its_versions(raw: Raw) -> None:
    _, _, groups = raw("GET", "/apis")
    assert {"apps", "batch", "apiextensions.k8s.io", "admissionregistration.k8s.io"} <= {g["name"] for g in groups["groups"]}
    for group in groups["groups"]:
        preferred = group["preferredVersion"]
        assert preferred in group["versions"]
        code, _, one = raw("GET", f"/apis/{group['name']}")
        assert (code, one["name"], one["preferredVersion"]) == (200, group["name"], preferred)
        for version in group["versions"]:
            code, _, resources = raw("GET", f"/apis/{version['groupVersion']}")
            assert (code, resources["groupVersion"]) == (200, version["groupVersion"])
            assert resources["resources"]


def test_the_version_of_the_server_is_told(raw: Raw) -> None:
    _, _, version = raw("GET", "/version")
    assert int(version["major"]) >= 1
    assert version["minor"].rstrip("+").isdigit()


# Reading


def test_a_table_of_what_has_no_metadata_is_refused(raw: Raw) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
              "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}  # fmt: skip
    code, _, status = raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, Accept=accept)
    assert (code, status["reason"]) == (406, "NotAcceptable")


def test_a_list_comes_in_chunks_of_one_revision(core: Any, namespace: str) -> None:
    for number in range(40):
        core.create_namespaced_pod_template(
            namespace,
            {
                "metadata": {"name": f"template-{number:04}"},
                "template": {"spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}},
            },
        )
    found: list[str] = []
    token, revision, left = None, None, 40
    while True:
        page = core.list_namespaced_pod_template(namespace, limit=17, **({"_continue": token} if token else {}))
        found += [item.metadata.name for item in page.items]
        revision = revision or page.metadata.resource_version
        assert page.metadata.resource_version == revision
        left -= len(page.items)
        assert (page.metadata.remaining_item_count or 0) == left
        token = page.metadata._continue
        if not token:
            break
    assert found == [f"template-{number:04}" for number in range(40)]
    whole = core.list_namespaced_pod_template(namespace)
    assert [item.metadata.name for item in whole.items] == found


def _changes(stream: Any, number: int) -> list[tuple[str, str]]:
    seen = []
    for event in stream:
        seen.append((event["type"], event["object"].metadata.resource_version))
        if len(seen) == number:
            break
    return seen


def test_watches_tell_adds_changes_and_deletions_to_whom_they_concern(core: Any, namespace: str) -> None:
    start = core.list_namespaced_config_map(namespace).metadata.resource_version

    def made(name: str, label: str) -> Any:
        return core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": {"watched": label}}})

    a, b = made("a", "A"), made("b", "B")
    a = core.patch_namespaced_config_map("a", namespace, {"data": {"mutation": "1"}})
    core.delete_namespaced_config_map("a", namespace)
    core.delete_namespaced_config_map("b", namespace)

    def types(selector: str, number: int, since: str = start) -> list[str]:
        stream = watch.Watch().stream(
            core.list_namespaced_config_map, namespace, label_selector=selector, resource_version=since, timeout_seconds=10
        )
        return [kind for kind, _ in _changes(stream, number)]

    assert types("watched=A", 3) == ["ADDED", "MODIFIED", "DELETED"]
    assert types("watched=B", 2) == ["ADDED", "DELETED"]
    assert types("watched in (A, B)", 5) == ["ADDED", "ADDED", "MODIFIED", "DELETED", "DELETED"]
    assert types("watched in (A, B)", 3, b.metadata.resource_version) == ["MODIFIED", "DELETED", "DELETED"]
    assert types("watched=A", 1, a.metadata.resource_version) == ["DELETED"], "where the last watch ended, the next goes on"


def test_an_object_that_stops_matching_is_deleted_for_the_watch_and_added_when_it_matches_again(
    core: Any, namespace: str
) -> None:
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "c", "labels": {"watched": "yes"}}})
    for change in (
        {"metadata": {"labels": {"watched": "no"}}},
        {"data": {"m": "2"}},
        {"metadata": {"labels": {"watched": "yes"}}},
    ):
        core.patch_namespaced_config_map("c", namespace, change)
    core.delete_namespaced_config_map("c", namespace)
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, namespace, label_selector="watched=yes", resource_version=start, timeout_seconds=10
    )
    assert [kind for kind, _ in _changes(stream, 4)] == ["ADDED", "DELETED", "ADDED", "DELETED"]


def test_watches_from_every_revision_tell_the_same_order(core: Any, namespace: str) -> None:
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    for number in range(10):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"n{number}"}})
        core.patch_namespaced_config_map(f"n{number}", namespace, {"data": {"k": "1"}})
        core.delete_namespaced_config_map(f"n{number}", namespace)

    def told(since: str, number: int) -> list[tuple[str, str]]:
        stream = watch.Watch().stream(core.list_namespaced_config_map, namespace, resource_version=since, timeout_seconds=10)
        return _changes(stream, number)

    whole = told(start, 30)
    for at in (0, 7, 13, 28):
        assert told(whole[at][1], 29 - at) == whole[at + 1 :]


# Namespaces, nodes, small kinds


def test_a_namespace_is_patched_replaced_and_given_conditions(core: Any, namespace: str) -> None:
    patched = core.patch_namespace(namespace, {"metadata": {"labels": {"testLabel": "testValue"}}})
    assert patched.metadata.labels["testLabel"] == "testValue"
    condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched", "lastTransitionTime": None}
    patched = core.patch_namespace_status(
        namespace, {"metadata": {"annotations": {"e": "1"}}, "status": {"conditions": [condition]}}
    )
    assert [found.type for found in patched.status.conditions] == ["StatusPatch"]
    newest = core.read_namespace_status(namespace)
    newest.status.conditions.append(
        client.V1NamespaceCondition(type="StatusUpdate", status="True", reason="E2E", message="Updated")
    )
    replaced = core.replace_namespace_status(namespace, newest)
    assert {found.type for found in replaced.status.conditions} == {"StatusPatch", "StatusUpdate"}


def test_a_finalizer_holds_a_namespace_until_it_is_finalized(core: Any, plane: Plane) -> None:
    name = "held-by-a-finalizer"
    core.create_namespace({"metadata": {"name": name}})
    found = core.read_namespace(name)
    found.spec.finalizers.append("e2e.example.com/fake")
    updated = core.replace_namespace_finalize(name, found)
    assert sorted(updated.spec.finalizers) == ["e2e.example.com/fake", "kubernetes"]
    core.delete_namespace(name)
    plane.wait("the controller has done its part", lambda: core.read_namespace(name).spec.finalizers == ["e2e.example.com/fake"])
    held = core.read_namespace(name)
    assert held.status.phase == "Terminating"
    held.spec.finalizers = []
    core.replace_namespace_finalize(name, held)
    assert plane.wait("it is gone", lambda: not core.list_namespace(field_selector=f"metadata.name={name}").items)


def test_a_config_map_and_a_secret_need_keys_and_may_be_immutable(core: Any, namespace: str) -> None:
    for create, body in (
        (core.create_namespaced_config_map, {"data": {"": "v"}}), (core.create_namespaced_secret, {"data": {"": "dg=="}})
    ):  # fmt: skip
        status = refused(create, namespace, {"metadata": {"name": "empty"}, **body})
        assert (status["code"], status["reason"]) == (422, "Invalid")
    for kind, data in (("config_map", "v"), ("secret", "dg==")):
        create, patch = (getattr(core, f"{verb}_namespaced_{kind}") for verb in ("create", "patch"))
        create(namespace, {"metadata": {"name": "fixed"}, "data": {"k": data}})
        patch("fixed", namespace, {"immutable": True})
        status = refused(patch, "fixed", namespace, {"data": {"k": "bmV3"}})
        assert (status["code"], status["reason"]) == (422, "Invalid")
        assert "immutable" in status["message"]
        assert refused(patch, "fixed", namespace, {"immutable": False})["code"] == 422
        assert patch("fixed", namespace, {"metadata": {"labels": {"still": "free"}}}).metadata.labels == {"still": "free"}
        getattr(core, f"delete_namespaced_{kind}")("fixed", namespace)


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "100m", "memory": "100Mi"}}, "Guaranteed"),
        ({"limits": {"cpu": "100m", "memory": "100Mi"}}, "Guaranteed"),
        ({"requests": {"cpu": "100m"}}, "Burstable"),
        ({}, "BestEffort"),
    ],
)
def test_the_quality_of_service_of_a_pod_is_set(core: Any, namespace: str, resources: Tree, wanted: str) -> None:
    container = {"name": "c", "image": "registry.example/agnhost:2", "resources": resources}
    made = core.create_namespaced_pod(namespace, {"metadata": {"generateName": "qos-"}, "spec": {"containers": [container]}})
    assert made.status.qos_class == wanted


def test_a_pod_with_a_runtime_class_that_is_not_there_is_rejected(connection: Any, core: Any, namespace: str) -> None:
    spec = {"containers": [{"name": "c", "image": "registry.example/x:1"}], "runtimeClassName": "nowhere"}
    status = refused(lambda: core.create_namespaced_pod(namespace, {"metadata": {"name": "p"}, "spec": spec}))
    assert (status["code"], status["reason"]) == (403, "Forbidden")
    node = client.NodeV1Api(connection)
    node.create_runtime_class({"metadata": {"name": "somewhere"}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}}})
    made = core.create_namespaced_pod(namespace, {"metadata": {"name": "p"}, "spec": {**spec, "runtimeClassName": "somewhere"}})
    assert made.spec.overhead == {"cpu": "10m"}
    node.delete_runtime_class("somewhere")
    again = {"metadata": {"name": "q"}, "spec": {**spec, "runtimeClassName": "somewhere"}}
    assert refused(lambda: core.create_namespaced_pod(namespace, again))["code"] == 403


def test_invalid_sysctls_are_rejected_each_by_name(core: Any, namespace: str) -> None:
    names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."]
    spec = {
        "containers": [{"name": "c", "image": "registry.example/x:1"}],
        "securityContext": {"sysctls": [{"name": name, "value": "1"} for name in names]},
    }
    status = refused(lambda: core.create_namespaced_pod(namespace, {"metadata": {"name": "p"}, "spec": spec}))
    assert status["code"] == 422
    for name in ("foo-", "bar.."):
        assert f'Invalid value: "{name}"' in status["message"]
    for name in ("kernel.shmmax", "safe-and-unsafe"):
        assert f'"{name}"' not in status["message"]


def test_a_pod_gets_the_defaults_of_a_limit_range(core: Any, namespace: str) -> None:
    limits = {"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"}, "default": {"cpu": "300m"},
              "defaultRequest": {"cpu": "100m"}}  # fmt: skip
    core.create_namespaced_limit_range(namespace, {"metadata": {"name": "l"}, "spec": {"limits": [limits]}})
    bare: Tree = {"containers": [{"name": "c", "image": "registry.example/x:1"}]}
    made = core.create_namespaced_pod(namespace, {"metadata": {"name": "p"}, "spec": bare})
    assert (made.spec.containers[0].resources.requests, made.spec.containers[0].resources.limits) == (
        {"cpu": "100m"},
        {"cpu": "300m"},
    )
    for cpu in ("10m", "600m"):
        bare["containers"][0]["resources"] = {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}
        assert refused(lambda: core.create_namespaced_pod(namespace, {"metadata": {"name": "q"}, "spec": bare}))["code"] == 403


def test_a_priority_class_keeps_its_value(connection: Any) -> None:
    api = client.SchedulingV1Api(connection)
    for name, value in (("p1", 1), ("p2", 2)):
        api.create_priority_class({"metadata": {"name": name}, "value": value})
        status = refused(api.patch_priority_class, name, {"value": 10})
        assert (status["code"], status["reason"]) == (422, "Invalid")
        assert api.patch_priority_class(name, {"description": "same value"}).value == value
        api.delete_priority_class(name)


def test_a_pod_may_name_a_csi_volume(core: Any, namespace: str) -> None:
    spec = {
        "containers": [{"name": "c", "image": "registry.example/x:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "csi": {"driver": "e2e.example.com", "readOnly": True, "volumeAttributes": {"a": "b"}}}],
        "nodeSelector": {"no": "where"},
    }
    core.create_namespaced_pod(namespace, {"metadata": {"name": "p"}, "spec": spec})
    found = core.list_namespaced_pod(namespace).items[0]
    assert (found.spec.volumes[0].csi.driver, found.spec.volumes[0].csi.volume_attributes) == ("e2e.example.com", {"a": "b"})
    core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0)
    wait_until("it is gone", lambda: not core.list_namespaced_pod(namespace).items)


def test_a_service_account_decides_whether_its_token_is_mounted(core: Any, namespace: str) -> None:
    for name, mounts in (("mounting", None), ("not-mounting", False)):
        core.create_namespaced_service_account(namespace, {"metadata": {"name": name}, "automountServiceAccountToken": mounts})
    cases = (
        ("mounting", None, True), ("mounting", False, False), ("mounting", True, True),
        ("not-mounting", None, False), ("not-mounting", False, False), ("not-mounting", True, True),
    )  # fmt: skip
    for number, (account, asked, wanted) in enumerate(cases):
        spec: Tree = {"containers": [{"name": "c", "image": "registry.example/x:1"}], "serviceAccountName": account}
        if asked is not None:
            spec["automountServiceAccountToken"] = asked
        made = core.create_namespaced_pod(namespace, {"metadata": {"name": f"p{number}"}, "spec": spec})
        mounted = any(mount.mount_path == "/var/run/secrets/kubernetes.io/serviceaccount"
                      for mount in made.spec.containers[0].volume_mounts or ())  # fmt: skip
        assert mounted is wanted, (account, asked)


def test_a_token_of_a_service_account_is_reviewed(connection: Any, core: Any, namespace: str) -> None:
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "sa"}})
    made = core.create_namespaced_service_account_token("sa", namespace, {"spec": {"expirationSeconds": 3600}})
    review = client.AuthenticationV1Api(connection).create_token_review({"spec": {"token": made.status.token}})
    assert review.status.authenticated
    assert review.status.error in (None, "")
    assert review.status.user.username == f"system:serviceaccount:{namespace}:sa"
    assert set(review.status.user.groups) == {
        "system:authenticated",
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
    }


def test_at_least_two_nodes_take_any_pod(core: Any) -> None:
    free = [node for node in core.list_node().items if not node.spec.unschedulable and not node.spec.taints]
    assert len(free) >= 2
