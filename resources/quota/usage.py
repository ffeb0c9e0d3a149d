"""What an object uses of a quota, and which quotas it counts towards. Pure.

Source: K/pkg/quota/v1/evaluator/core
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.quantities import parse_quantity
from reconcile.resources.core.pod_lifecycle import qos_class

from .amounts import Amounts, of_container, of_pod

_COUNTED = frozenset({"configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services"})
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_FINISHED = ("Succeeded", "Failed")
_CLASS = ".storageclass.storage.k8s.io/"
_DEVICES = ".deviceclass.resource.k8s.io/devices"
_DEVICE_CLAIMS = ("resource.k8s.io", "resourceclaims")
_DEVICES_MAX = 32
"""What a claim of all devices may come to."""
_ONE = Decimal(1)


def usage_of(kind: Kind, tree: Tree) -> Amounts:
    """Everything that quotas can name, of one object."""
    used: Amounts = {f"count/{kind.resource}": _ONE}
    if (kind.group, kind.plural) == _DEVICE_CLAIMS:
        return used | _of_device_claim(tree)
    if kind.group:
        return used
    if kind.plural in _COUNTED:
        used[kind.plural] = _ONE
    if kind.plural == "pods":
        used |= _of_pod(tree)
    elif kind.plural == "services":
        used |= _of_service(tree.get("spec") or {})
    elif kind.plural == "persistentvolumeclaims":
        used |= _of_claim(tree)
    return used


def kind_behind(name: str) -> tuple[str, str]:
    """(group, plural) of the kind whose objects a quota's resource counts."""
    if name.startswith("count/"):
        plural, _, group = name.removeprefix("count/").partition(".")
        return group, plural
    if name.startswith("services"):
        return "", "services"
    if name.endswith(_DEVICES):
        return _DEVICE_CLAIMS
    if name in _COUNTED:
        return "", name
    if name == "requests.storage" or _CLASS in name:
        return "", "persistentvolumeclaims"
    return "", "pods"


def counts(quota: Tree, kind: Kind, tree: Tree) -> bool:
    """Whether an object counts towards a quota: one with scopes is for some Pods only."""
    spec = quota.get("spec") or {}
    rules = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    rules += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not rules:
        return True
    if kind.group:
        return False
    if kind.plural == "persistentvolumeclaims":
        return all(_in_claims_scope(rule, tree) for rule in rules)
    return kind.plural == "pods" and all(_in_scope(rule, tree.get("spec") or {}) for rule in rules)


def unspecified(hard: Mapping[str, object], pod: Tree) -> list[str]:
    """What a quota counts and a Pod's containers leave open: `cpu for: a,b`."""
    spec = pod.get("spec") or {}
    missing = []
    for name in sorted(hard):
        side, _, resource = name.rpartition(".") if name.startswith(("requests.", "limits.")) else ("requests", "", name)
        if resource not in _COMPUTE or resource == "ephemeral-storage":
            continue
        containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        bare = sorted(
            c["name"] for c in containers if resource not in of_container(c, "limits" if side == "limits" else "requests")
        )
        if bare:
            missing.append(f"{name} for: {','.join(bare)}")
    return missing


def _of_pod(tree: Tree) -> Amounts:
    if (tree.get("status") or {}).get("phase") in _FINISHED:
        return {}
    spec = tree.get("spec") or {}
    used: Amounts = {"pods": _ONE}
    for name, amount in of_pod(spec, "requests").items():
        used[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = amount
    for name, amount in of_pod(spec, "limits").items():
        if name in _COMPUTE:
            used[f"limits.{name}"] = amount
    return used


def _of_service(spec: Tree) -> Amounts:
    ports = Decimal(len(spec.get("ports") or ()))
    match spec.get("type"):
        case "NodePort":
            return {"services.nodeports": ports}
        case "LoadBalancer":
            nodeports = Decimal(0) if spec.get("allocateLoadBalancerNodePorts") is False else ports
            return {"services.loadbalancers": _ONE, "services.nodeports": nodeports}
    return {}


def _of_claim(tree: Tree) -> Amounts:
    spec = tree.get("spec") or {}
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    used: Amounts = {"requests.storage": parse_quantity(storage)} if storage is not None else {}
    class_ = spec.get("storageClassName")
    if class_:
        used[f"{class_}{_CLASS}persistentvolumeclaims"] = _ONE
        if storage is not None:
            used[f"{class_}{_CLASS}requests.storage"] = parse_quantity(storage)
    return used


def _of_device_claim(tree: Tree) -> Amounts:
    """The devices of each class; of requests of which the first that can be had is taken, the most that it may be."""
    used: Amounts = {}
    for request in ((tree.get("spec") or {}).get("devices") or {}).get("requests") or ():
        most: Amounts = {}
        # Before resource.k8s.io/v1, what is asked for stood in the request itself.
        for wanted in request.get("firstAvailable") or (request.get("exactly") or request,):
            name = f"{wanted.get('deviceClassName') or ''}{_DEVICES}"
            number = _DEVICES_MAX if wanted.get("allocationMode") == "All" else wanted.get("count") or 1
            most[name] = max(most.get(name, Decimal(0)), Decimal(number))
        for name, number in most.items():
            used[name] = used.get(name, Decimal(0)) + number
    return used


def _in_claims_scope(rule: Tree, tree: Tree) -> bool:
    """A claim has the class that it asks for, that it has, and that it is on its way to."""
    if rule.get("scopeName") != "VolumeAttributesClass":
        return False
    status = tree.get("status") or {}
    names = {
        (tree.get("spec") or {}).get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    }  # fmt: skip
    return any(_has_class(rule, name) for name in sorted(filter(None, names)) or ("",))


def _in_scope(rule: Tree, spec: Tree) -> bool:
    match rule.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return _has_class(rule, spec.get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return _crosses(spec.get("affinity") or {})
    return False


def _has_class(rule: Tree, name: str) -> bool:
    values = rule.get("values") or ()
    match rule.get("operator"):
        case "In":
            return bool(name) and name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
    return bool(name)


def _crosses(affinity: Tree) -> bool:
    for part in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(part) or {}
        found = [*(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ())]
        found += [t.get("podAffinityTerm") or {} for t in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in found):
            return True
    return False
