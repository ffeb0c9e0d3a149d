"""The Pods and claims of a StatefulSet: their names, their numbers, how they are made and what they are in.

Source: k8s.io/kubernetes/pkg/controller/statefulset/stateful_set_utils.go
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Tree

from .history import HASH_LABEL, template_of
from .pod_state import available_at_s, is_finished, is_ready

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def ordinal_of(name: str, pod: Tree) -> int | None:
    """The number in a Pod's name; None if it is no name of this set."""
    parent, dash, number = str(pod["metadata"]["name"]).rpartition("-")
    return int(number) if dash and parent == name and number.isdigit() and str(int(number)) == number else None


def revision_of(pod: Tree) -> str:
    """The name's hash of the revision that a Pod was made of."""
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def runs(pod: Tree) -> bool:
    """Whether a Pod is running and ready."""
    return (pod.get("status") or {}).get("phase") == "Running" and is_ready(pod)


def is_healthy(pod: Tree, min_ready_s: int, now_s: float) -> bool:
    """Whether it is available, and stays: the next one may be started or replaced."""
    if pod["metadata"].get("deletionTimestamp") or not runs(pod) or is_finished(pod):
        return False
    at_s = available_at_s(pod, min_ready_s)
    return at_s is not None and at_s <= now_s


def pod_tree(stateful_set: Tree, ordinal: int, revision: Tree, reference: Tree) -> Tree:
    """The Pod of a number, of a revision."""
    meta, spec = stateful_set["metadata"], stateful_set["spec"]
    template = template_of(revision)
    of_template = template.get("metadata") or {}
    name = f"{meta['name']}-{ordinal}"
    labels = {
        **(of_template.get("labels") or {}), POD_NAME: name, POD_INDEX: str(ordinal), HASH_LABEL: revision["metadata"]["name"],
    }  # fmt: skip
    made: Tree = {"name": name, "namespace": meta["namespace"], "labels": labels, "ownerReferences": [reference]}
    for part in ("annotations", "finalizers"):
        if of_template.get(part):
            made[part] = of_template[part]
    inner = {**template["spec"], "hostname": name}
    if spec.get("serviceName"):
        inner["subdomain"] = spec["serviceName"]
    claims = [
        {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name(claim, name)}}
        for claim in spec.get("volumeClaimTemplates") or ()
    ]
    if claims:
        named = {volume["name"] for volume in claims}
        inner["volumes"] = [*claims, *(v for v in inner.get("volumes") or () if v.get("name") not in named)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": inner}


def claim_name(template: Tree, pod: str) -> str:
    """The name of a Pod's claim."""
    return f"{template['metadata']['name']}-{pod}"


def claim_trees(stateful_set: Tree, ordinal: int, reference: Tree) -> Iterator[Tree]:
    """The claims of the Pod of a number. They belong to the set where its policy has them go with it."""
    meta, spec = stateful_set["metadata"], stateful_set["spec"]
    policy = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for template in spec.get("volumeClaimTemplates") or ():
        of_template = template.get("metadata") or {}
        labels = {**(of_template.get("labels") or {}), **((spec.get("selector") or {}).get("matchLabels") or {})}
        made: Tree = {
            "name": claim_name(template, f"{meta['name']}-{ordinal}"), "namespace": meta["namespace"], "labels": labels,
        }  # fmt: skip
        if of_template.get("annotations"):
            made["annotations"] = of_template["annotations"]
        if policy.get("whenDeleted") == "Delete":
            made["ownerReferences"] = [reference]
        yield {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": made, "spec": template["spec"]}
