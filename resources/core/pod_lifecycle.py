"""What the server does to a Pod by itself: its first status, its grace on deletion, being bound to a node.

Source: K/pkg/registry/core/pod/strategy.go, K/pkg/registry/core/pod/storage/storage.go
"""

from __future__ import annotations

from reconcile.errors import BadRequestError, Cause, ConflictError, InvalidError, Tree
from reconcile.quantities import parse_quantity

_BORNE = tuple(  # held by every Pod, and like all that is stored never changed in place
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for state in ("not-ready", "unreachable")
)
_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_COUNTED = ("cpu", "memory")


def prepare_pod(tree: Tree, old: Tree | None) -> None:
    """Set what belongs to the server: on create the first status, tolerations, priority and service account.

    Who replaces the tolerations need not name those that every Pod is given.
    """
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    if old is not None:
        _tolerate_short_outages(spec)
        return
    tree["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        tree["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    class_name = spec.get("priorityClassName") or ""
    if not class_name or class_name in _PRIORITIES:
        # What other classes say, only their admission knows.
        if spec.get("priority") is None:
            spec["priority"] = _PRIORITIES.get(class_name, 0)
        if spec.get("preemptionPolicy") is None:
            spec["preemptionPolicy"] = "PreemptLowerPriority"
    _tolerate_short_outages(spec)


def changes_tolerations(tree: Tree, old: Tree) -> bool:
    """Whether a change of a Pod is one that `prepare_pod` looks at."""
    spec, before = tree.get("spec"), old.get("spec")
    if spec is before or not isinstance(spec, dict) or not isinstance(before, dict):
        return False
    return bool(spec.get("tolerations") != before.get("tolerations"))


def _tolerate_short_outages(spec: Tree) -> None:
    """Bear a node that is not ready or unreachable for a while, unless the Pod says otherwise itself.

    Source: K/plugin/pkg/admission/defaulttolerationseconds
    """
    tolerations = spec.get("tolerations") or []
    borne = {t.get("key") for t in tolerations if t.get("effect") in ("NoExecute", None, "")}
    missing = [toleration for toleration in _BORNE if not borne & {toleration["key"], None, ""}]
    if missing:
        spec["tolerations"] = [*tolerations, *missing]


def qos_class(spec: Tree) -> str:
    """Guaranteed, Burstable or BestEffort: how well the Pod is protected when the node runs short.

    Source: K/pkg/apis/core/v1/helper/qos/qos.go
    """
    guaranteed, nothing = True, True
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in _COUNTED:
            limit, request = limits.get(name), requests.get(name)
            if _positive(limit) or _positive(request):
                nothing = False
            if not _positive(limit) or (request is not None and not _same(limit, request)):
                guaranteed = False
    if nothing:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(amount: str | float | None) -> bool:
    try:
        return amount is not None and parse_quantity(amount) > 0
    except ValueError:
        return False  # validation tells; a class is only a summary


def _same(one: str | float | None, other: str | float) -> bool:
    try:
        return one is not None and parse_quantity(one) == parse_quantity(other)
    except ValueError:
        return False


def pod_grace_s(tree: Tree, asked_s: int | None) -> int:
    """How long a deleted Pod may take: none where nothing can run; else what was asked for, else its own period.

    A Pod that is being deleted already can only get less time.
    """
    spec, status = tree.get("spec") or {}, tree.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    grace_s = asked_s if asked_s is not None else spec.get("terminationGracePeriodSeconds", 30)
    if grace_s < 0:
        grace_s = 1
    left_s = tree["metadata"].get("deletionGracePeriodSeconds")
    return grace_s if left_s is None else min(grace_s, left_s)


def bind(tree: Tree, body: Tree) -> Tree:
    """Answer a POST of a Binding: put the Pod on a node, once.

    Raises:
        ConflictError: it has a node already, or is going away.
        InvalidError: the target is no node.
    """
    name, spec = tree["metadata"]["name"], tree.get("spec") or {}
    target = body.get("target") or {}
    if target.get("kind") not in (None, "", "Node"):
        text = f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        raise _invalid_binding(name, Cause("FieldValueNotSupported", text, "target.kind"))
    node = target.get("name")
    if not node:
        raise _invalid_binding(name, Cause("FieldValueRequired", "Required value", "target.name"))
    uid = (body.get("metadata") or {}).get("uid")
    if uid and uid != tree["metadata"].get("uid"):
        raise _binding_conflict(
            name, f"the UID in the precondition ({uid}) does not match the UID in record ({tree['metadata'].get('uid')})"
        )
    if tree["metadata"].get("deletionTimestamp"):
        raise _binding_conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _binding_conflict(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise BadRequestError(f"pod {name} has non-empty .spec.schedulingGates")
    return _bound(tree, node, body.get("metadata") or {})


def _bound(tree: Tree, node: str, given: Tree) -> Tree:
    """The Pod with its node. The time of the binding is the Binding's own creationTimestamp."""
    status = tree.get("status") or {}
    condition: Tree = {"type": "PodScheduled", "status": "True"}
    if given.get("creationTimestamp"):
        condition["lastTransitionTime"] = given["creationTimestamp"]
    if tree["metadata"].get("generation"):
        condition["observedGeneration"] = tree["metadata"]["generation"]
    others = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
    bound = {
        **tree,
        "spec": {**tree["spec"], "nodeName": node},
        "status": {**{k: v for k, v in status.items() if k != "nominatedNodeName"}, "conditions": [*others, condition]},
    }
    if given.get("annotations"):
        meta = tree["metadata"]
        bound["metadata"] = {**meta, "annotations": {**(meta.get("annotations") or {}), **given["annotations"]}}
    return bound


def _binding_conflict(name: str, why: str) -> ConflictError:
    return ConflictError(
        f'Operation cannot be fulfilled on pods/binding "{name}": {why}', details={"name": name, "kind": "pods/binding"}
    )


def _invalid_binding(name: str, cause: Cause) -> InvalidError:
    return InvalidError(
        f'Binding "{name}" is invalid: {cause.field}: {cause.message}', details={"name": name, "kind": "Binding"}, causes=[cause]
    )
