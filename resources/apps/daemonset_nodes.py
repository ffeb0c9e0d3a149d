"""Which nodes a DaemonSet means, which Pod stands for which, and what a Pod for a node looks like.

A Pod is bound by the scheduler: required node affinity names the one node it is for. It bears what makes other Pods leave a
node, because a daemon belongs there whatever state the node is in.

Source: k8s.io/kubernetes/pkg/controller/daemon/{daemon_controller.go,util/daemonset_util.go}
"""

from __future__ import annotations

from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.resources.scheduler.terms import node_tests, taints, tolerations, untolerated

from .history import HASH_LABEL

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_BORNE = (
    ("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"), ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"), ("node.kubernetes.io/unschedulable", "NoSchedule"),
)  # fmt: skip
_BORNE_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@attrs.frozen
class Fit:
    """Whether a Pod is to be on a node, and whether one that is there may stay."""

    runs: bool
    stays: bool


def pod_spec(spec: Tree, node: str) -> Tree:
    """A template's PodSpec for one node."""
    affinity = dict(spec.get("affinity") or {})
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    terms = (node_affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    only = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    node_affinity[_REQUIRED] = {"nodeSelectorTerms": [{**term, "matchFields": only} for term in terms]}
    return {**spec, "affinity": {**affinity, "nodeAffinity": node_affinity}, "tolerations": _tolerations(spec)}


def _tolerations(spec: Tree) -> list[Tree]:
    borne = [*_BORNE, *((_BORNE_ON_HOST_NETWORK,) if spec.get("hostNetwork") else ())]
    given = list(spec.get("tolerations") or ())
    added: list[Tree] = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in borne]
    return given + [toleration for toleration in added if toleration not in given]


def fit(template: Tree, node: Tree) -> Fit:
    """Whether a template's Pod belongs on a node. Only taints decide, and what the template asks of nodes: not its room."""
    spec = template.get("spec") or {}
    meta = node["metadata"]
    named = spec.get("nodeName")
    test = node_tests(spec)
    if (named and named != meta["name"]) or (test is not None and not test(meta["name"], meta.get("labels") or {})):
        return Fit(False, False)
    borne = tolerations({"tolerations": _tolerations(spec)})
    found = taints(node)
    stays = untolerated(found, borne, ("NoExecute",)) is None
    return Fit(stays and untolerated(found, borne, ("NoSchedule",)) is None, stays)


def node_of(pod: Tree) -> str:
    """The node that a Pod is on, or is for."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required: Any = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for rule in term.get("matchFields") or ():
            if rule.get("key") == "metadata.name" and rule.get("operator") == "In" and rule.get("values"):
                return str(rule["values"][0])
    return ""


def pod_tree(daemon_set: Tree, node: str, hash_: str, reference: Tree) -> Tree:
    """A new Pod for a node; the server completes its name."""
    meta, template = daemon_set["metadata"], daemon_set["spec"]["template"]
    of_template = template.get("metadata") or {}
    made: Tree = {
        "generateName": f"{meta['name'][:57]}-", "namespace": meta["namespace"], "ownerReferences": [reference],
        "labels": {**(of_template.get("labels") or {}), HASH_LABEL: hash_},
    }  # fmt: skip
    for part in ("annotations", "finalizers"):
        if of_template.get(part):
            made[part] = of_template[part]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": pod_spec(template["spec"], node)}
