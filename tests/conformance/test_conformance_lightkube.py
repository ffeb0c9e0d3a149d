"""lightkube: typed models over httpx; its applies are server-side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from lightkube import ApiError, Client, codecs
from lightkube.config.kubeconfig import KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Node, Pod
from lightkube.types import CascadeType, PatchType

from tests.conformance.kubectl import OTHERS, WEB
from tests.plane import wait_until

Gadget = create_namespaced_resource("toys.example.com", "v1", "Gadget", "gadgets")


@pytest.fixture
def lightkube(kubeconfig: str, namespace: str) -> Iterator[Client]:
    config = KubeConfig.from_file(kubeconfig)
    with Client(config=config, namespace=namespace, field_manager="lightkube", trust_env=False) as made:
        yield made


@contextmanager
def refused(code: int) -> Iterator[None]:
    """The block ends with the server's refusal."""
    with pytest.raises(ApiError) as caught:
        yield
    assert caught.value.status.code == code


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, labels={"app": name}), data=data)


def test_objects_are_created_listed_patched_replaced_and_deleted(lightkube: Any) -> None:
    """All of its verbs, all of its patch types."""
    lightkube.create(config_map("a", k="1"))
    with refused(409):
        lightkube.create(config_map("a"))
    lightkube.patch(ConfigMap, "a", {"data": {"k": "2"}})
    lightkube.patch(ConfigMap, "a", {"data": {"l": "3"}}, patch_type=PatchType.MERGE)
    lightkube.patch(ConfigMap, "a", [{"op": "remove", "path": "/data/l"}], patch_type=PatchType.JSON)
    read = lightkube.get(ConfigMap, "a")
    assert read.data == {"k": "2"}
    stale = read.metadata.resourceVersion
    read.data = {"k": "4"}
    lightkube.replace(read)
    read.metadata.resourceVersion = stale
    with pytest.raises(ApiError, match="the object has been modified"):
        lightkube.replace(read)
    for name in "bcd":
        lightkube.create(config_map(name))
    assert [item.metadata.name for item in lightkube.list(ConfigMap, chunk_size=1)] == [*"abcd", "kube-root-ca.crt"]
    assert [item.metadata.name for item in lightkube.list(ConfigMap, labels={"app": ["b", "c"]})] == ["b", "c"]
    assert [item.metadata.name for item in lightkube.list(ConfigMap, fields={"metadata.name": "d"})] == ["d"]
    lightkube.deletecollection(ConfigMap)
    with refused(404):
        lightkube.get(ConfigMap, "a")
    assert {node.metadata.name for node in lightkube.list(Node)} >= {"sim-0", "sim-1"}


def test_apply_takes_fields_and_conflicts(lightkube: Any) -> None:
    """Two managers of one field must learn of each other; who leaves a field out lets it go."""
    made = lightkube.apply(config_map("a", k="1", l="1"))
    assert made.metadata.managedFields[0].manager == "lightkube"
    with refused(409):
        lightkube.apply(config_map("a", k="2"), field_manager="other")
    lightkube.apply(config_map("a", k="2"), field_manager="other", force=True)
    assert lightkube.apply(config_map("a"), force=True).data == {"k": "2"}


def test_a_deployment_is_waited_for_and_watched(lightkube: Any, namespace: str) -> None:
    """`wait` reads conditions from a watch; scale and status are subresources of their own."""
    for item in codecs.load_all_yaml(WEB + "---" + OTHERS):
        lightkube.apply(item)
    available = lightkube.wait(Deployment, "web", for_conditions=["Available"])
    assert available.status.availableReplicas == 1
    scale = lightkube.get(Deployment.Scale, "web")
    scale.spec.replicas = 2
    lightkube.replace(scale, "web")
    with closing(lightkube.watch(Pod, labels={"app": "web"})) as events:
        assert any(event == "MODIFIED" and pod.status.phase == "Running" for event, pod in events)
    assert lightkube.get(Deployment.Status, "web").status.replicas == 2
    lightkube.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)
    wait_until("it is gone", lambda: not list(lightkube.list(Deployment)))
    assert list(lightkube.list(Pod)) == []


def test_kinds_without_a_model_are_generic(lightkube: Any) -> None:
    """Declared in the folder, applied as any other."""
    made = lightkube.apply(Gadget(metadata=ObjectMeta(name="g"), spec={"size": 2}))
    assert made["spec"] == {"size": 2}
    status = lightkube.patch(Gadget.Status, "g", {"status": {"phase": "Up"}}, patch_type=PatchType.MERGE)
    assert status["status"]["phase"] == "Up"
    with refused(404):
        lightkube.get(Gadget, "none")
