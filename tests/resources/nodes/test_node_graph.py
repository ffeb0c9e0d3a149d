"""What the Pods of a node refer to, as the graph keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import Tree
from reconcile.resources.nodes import NodeGraph

Objects = dict[tuple[str, str, str, str], Tree]


def graph_of(*pods: Tree, objects: Objects | None = None) -> NodeGraph:
    graph = NodeGraph(lambda *where: (objects or {}).get(where))
    for pod in pods:
        graph.saw(pod, gone=False)
    return graph


def pod(name: str = "p", node: str = "n1", uid: str = "u", annotations: dict[str, str] | None = None, **spec: Any) -> Tree:
    meta = {"name": name, "namespace": "ns", "uid": uid, "annotations": annotations or {}}
    return {"metadata": meta, "spec": {**({"nodeName": node} if node else {}), **spec}}


def container(**parts: Any) -> list[Tree]:
    return [{"name": "c", **parts}]


@pytest.mark.parametrize(
    ("spec", "resource", "name"),
    [
        ({"imagePullSecrets": [{"name": "x"}]}, "secrets", "x"),
        ({"containers": container(envFrom=[{"secretRef": {"name": "x"}}])}, "secrets", "x"),
        ({"initContainers": container(env=[{"valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}])}, "secrets", "x"),
        ({"ephemeralContainers": container(envFrom=[{"configMapRef": {"name": "x"}}])}, "configmaps", "x"),
        ({"containers": container(env=[{"valueFrom": {"configMapKeyRef": {"name": "x"}}}])}, "configmaps", "x"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}, "secrets", "x"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "x"}}]}}]}, "secrets", "x"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "x"}}]}}]}, "configmaps", "x"),
        ({"volumes": [{"name": "v", "iscsi": {"secretRef": {"name": "x"}}}]}, "secrets", "x"),
        ({"volumes": [{"name": "v", "csi": {"nodePublishSecretRef": {"name": "x"}}}]}, "secrets", "x"),
        ({"volumes": [{"name": "v", "configMap": {"name": "x"}}]}, "configmaps", "x"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]}, "persistentvolumeclaims", "x"),
        ({"volumes": [{"name": "v", "ephemeral": {}}]}, "persistentvolumeclaims", "p-v"),
        ({"serviceAccountName": "x"}, "serviceaccounts", "x"),
        ({"resourceClaims": [{"name": "r", "resourceClaimName": "x"}]}, "resourceclaims", "x"),
        ({}, "pods", "p"),
    ],
)
def test_a_node_has_to_do_with_what_its_pods_refer_to_and_no_other_node_has(spec: Tree, resource: str, name: str) -> None:
    """Each way in which a Pod can name something; forgetting one would break Pods, one too many would be a leak."""
    graph = graph_of(pod(**spec))
    assert graph.leads("n1", resource, "ns", name)
    assert not graph.leads("n2", resource, "ns", name)
    assert not graph.leads("n1", resource, "other", name)
    assert not graph.leads("n1", resource, "ns", "y")
    graph.saw(pod(**spec), gone=True)
    assert not graph.leads("n1", resource, "ns", name)


def test_a_pod_leads_to_nothing_before_it_is_bound_and_a_mirror_only_to_itself() -> None:
    """Who may create Pods must not lend a node what the scheduler did not give it."""
    spec: Tree = {"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}
    graph = graph_of(pod(node="", **spec))
    assert not graph.leads("n1", "secrets", "ns", "x")
    graph.saw(pod(**spec), gone=False)
    assert graph.leads("n1", "secrets", "ns", "x")
    mirror = graph_of(pod(annotations={"kubernetes.io/config.mirror": "h"}, **spec))
    assert mirror.leads("n1", "pods", "ns", "p")
    assert not mirror.leads("n1", "secrets", "ns", "x")


def test_what_two_pods_refer_to_stays_until_the_last_of_them_is_gone() -> None:
    """And a Pod of the same name that came after another one counts for itself."""
    spec: Tree = {"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}
    graph = graph_of(pod("a", uid="1", **spec), pod("b", uid="2", **spec))
    graph.saw(pod("a", uid="1", **spec), gone=True)
    assert graph.leads("n1", "secrets", "ns", "x")
    graph.saw(pod("b", node="n2", uid="3", **spec), gone=False)
    assert graph.leads("n2", "secrets", "ns", "x")
    assert not graph.leads("n1", "secrets", "ns", "x")
    graph.saw(pod("b", node="n2", uid="3", **spec), gone=True)
    assert not graph._nodes
    assert not graph._pods


def test_a_claim_leads_to_its_volume_and_to_the_secrets_of_that() -> None:
    """Only while claim and volume name each other: else somebody could bind a volume to a claim of theirs."""
    claim: Tree = {"spec": {"volumeName": "pv"}}
    volume: Tree = {
        "spec": {
            "claimRef": {"namespace": "ns", "name": "c"},
            "csi": {"nodeStageSecretRef": {"name": "x", "namespace": "sys"}, "controllerPublishSecretRef": {"name": "boss"}},
            "rbd": {"secretRef": {"name": "mine"}},
        }
    }
    objects: Objects = {
        ("", "persistentvolumeclaims", "ns", "c"): claim, ("", "persistentvolumes", "", "pv"): volume
    }  # fmt: skip
    graph = graph_of(pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]), objects=objects)
    assert graph.leads("n1", "persistentvolumes", "", "pv")
    assert graph.leads("n1", "secrets", "sys", "x")
    assert graph.leads("n1", "secrets", "ns", "mine")
    assert not graph.leads("n1", "secrets", "ns", "boss")  # that one is for whoever attaches it
    assert not graph.leads("n2", "secrets", "sys", "x")
    assert not graph.leads("n2", "persistentvolumes", "", "pv")
    volume["spec"]["claimRef"]["name"] = "other"
    assert not graph.leads("n1", "persistentvolumes", "", "pv")
    assert not graph.leads("n1", "secrets", "sys", "x")
