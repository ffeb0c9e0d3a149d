"""pykube-ng: objects that know their API, changed here and sent back whole, as merge patches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pykube
import pytest
import yaml

from tests.conformance.kubectl import WEB
from tests.plane import wait_until

_OLD = ("CronJob", "PodSecurityPolicy")
"""Kinds in versions that no server has had since 1.25."""


@pytest.fixture(scope="module")
def api(plane: Any) -> Iterator[Any]:
    config = pykube.KubeConfig.from_file(str(plane.data_dir / "kubeconfig"))
    made = pykube.HTTPClient(config, timeout=10)
    yield made
    made.session.close()


def config_map(api: Any, namespace: str, name: str, **labels: str) -> Any:
    tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, "labels": labels}}
    return pykube.ConfigMap(api, {**tree, "data": {"k": "1"}})


def web(api: Any, namespace: str) -> Any:
    tree = yaml.safe_load(WEB)
    tree["metadata"]["namespace"] = namespace
    return pykube.Deployment(api, tree)


def test_objects_are_created_changed_reloaded_and_deleted(api: Any, namespace: str) -> None:
    """`update` sends the whole object as a merge patch, with the resourceVersion that it was read at."""
    made = config_map(api, namespace, "a", app="x")
    assert not made.exists()
    made.create()
    made.obj["data"] = {"k": "2", "l": "3"}
    made.labels["more"] = "1"
    made.update()
    made.reload()
    assert (made.obj["data"], made.labels) == ({"k": "2", "l": "3"}, {"app": "x", "more": "1"})
    made.obj["data"]["l"] = None
    made.update()
    assert pykube.ConfigMap.objects(api, namespace=namespace).get_by_name("a").obj["data"] == {"k": "2"}
    made.patch({"metadata": {"annotations": {"note": "n"}}})
    stale = pykube.ConfigMap.objects(api, namespace=namespace).get_by_name("a")
    made.patch({"data": {"k": "3"}})
    with pytest.raises(pykube.exceptions.HTTPError, match="the object has been modified"):
        stale.update()
    assert made.annotations == {"note": "n"}
    with pytest.raises(pykube.exceptions.HTTPError, match='configmaps "a" already exists') as caught:
        config_map(api, namespace, "a").create()
    assert caught.value.code == 409
    made.delete()
    assert not made.exists()
    with pytest.raises(pykube.ObjectDoesNotExist):
        pykube.ConfigMap.objects(api).filter(namespace=namespace).get_by_name("a")


def test_objects_are_found_by_selectors_and_in_tables(api: Any, namespace: str) -> None:
    """Its query language becomes label and field selectors."""
    for name, labels in (("a", {"app": "x", "tier": "1"}), ("b", {"app": "x", "tier": "2"}), ("c", {"app": "y"})):
        config_map(api, namespace, name, **labels).create()
    found = pykube.ConfigMap.objects(api, namespace=namespace)
    for selector, names in (
        ({"app": "x"}, "ab"), ({"app__in": ["x", "y"]}, "abc"), ({"tier__neq": "1", "app": "x"}, "b"),
        ("app,app notin (x,z),tier!=1", "c"), ("app=x,tier!=2", "a"), ("!tier,app", "c"),
    ):  # fmt: skip
        assert "".join(sorted(item.name for item in found.filter(selector=selector))) == names, selector
    assert [item.name for item in found.filter(field_selector={"metadata.name": "b"})] == ["b"]
    assert found.filter(selector={"app": "y"}).get().name == "c"
    rows = found.filter(selector={"app": "x"}).as_table()
    assert [column["name"] for column in rows.columns] == ["Name", "Data", "Age"]
    assert [row["cells"][:2] for row in rows.rows] == [["a", 1], ["b", 1]]
    assert {"c"} <= {item.name for item in pykube.ConfigMap.objects(api).filter(namespace=pykube.all, selector={"app": "y"})}


def test_a_deployment_is_scaled_and_changed(api: Any, namespace: str) -> None:
    """Going back is no flow: it asks for an endpoint that no server has had since 1.16."""
    deployment = web(api, namespace)
    deployment.create()

    def is_ready() -> bool:
        deployment.reload()
        seen = deployment.obj["status"]
        there = {"observedGeneration", "updatedReplicas", "readyReplicas"} <= seen.keys()  # each is missing while it is 0
        return there and bool(deployment.ready) and seen["readyReplicas"] == deployment.replicas

    wait_until("it is ready", is_ready)
    deployment.scale(2)
    wait_until("both are ready", is_ready)
    deployment.patch({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x:2"}]}}}})
    wait_until("the newer ones are ready", is_ready)
    pods = pykube.Pod.objects(api, namespace=namespace).filter(selector={"app": "web"})
    wait_until("two Pods are ready", lambda: [pod.ready for pod in pods.all()].count(True) == 2)
    deployment.delete(propagation_policy="Foreground")
    wait_until("it and its Pods are gone", lambda: not deployment.exists() and not len(pods.all()))


def test_a_watch_tells_what_happens(api: Any, namespace: str) -> None:
    """From the revision of a list, so that nothing is missed between the two."""
    query = pykube.ConfigMap.objects(api, namespace=namespace).filter(selector={"app": "x"})
    since = query.response["metadata"]["resourceVersion"]
    made = config_map(api, namespace, "a", app="x")
    made.create()
    made.patch({"data": {"k": "2"}})
    made.patch({"metadata": {"labels": {"app": "y"}}})
    watch = query.watch(since=since)
    seen = []
    for event in watch:
        seen.append((event.type, event.object.name))
        if event.type == "DELETED":
            break
    watch.response.close()
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")], "what no longer matches is gone for this watch"


def test_every_kind_that_it_knows_is_listed(api: Any, namespace: str) -> None:
    """Its classes name versions and endpoints themselves; others are made from discovery."""
    found: list[Any] = [each for each in vars(pykube.objects).values() if isinstance(each, type)]
    classes = [each for each in found if getattr(each, "endpoint", None)]
    known = {each.__name__ for each in classes if each.__name__ not in _OLD}
    assert {"Pod", "StatefulSet", "HorizontalPodAutoscaler", "CustomResourceDefinition"} <= known
    for each in classes:
        if each.__name__ in known:
            assert len(each.objects(api)) >= 0, each
    gadget = pykube.object_factory(api, "toys.example.com/v1", "Gadget")
    body = {"apiVersion": "toys.example.com/v1", "kind": "Gadget", "metadata": {"name": "g", "namespace": namespace}}
    gadget(api, {**body, "spec": {"size": 2}}).create()
    assert gadget.objects(api, namespace=namespace).get_by_name("g").obj["spec"]["size"] == 2
    assert api.version == ("1", "36")
