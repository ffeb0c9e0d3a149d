"""Admits Pods and claims within the LimitRanges of their namespace: what they leave out is filled in, what is too much refused.

Source: K/plugin/pkg/admission/limitranger/admission.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

import attrs

from reconcile.errors import ForbiddenError, Tree
from reconcile.handling import AdmissionReview
from reconcile.quantities import parse_quantity
from reconcile.registry import Operator
from reconcile.resources.core import Pod
from reconcile.resources.core.pod_lifecycle import qos_class
from reconcile.views import tree_of

from .amounts import Amounts, of_container, of_pod
from .limit_range import CLAIM, CONTAINER, POD, LimitRange

NOTE = "kubernetes.io/limit-ranger"


@attrs.define
class Limits:
    """The LimitRanges of each namespace, kept by watch events; most namespaces have none."""

    by_namespace: dict[str, dict[str, Tree]] = attrs.field(factory=dict)

    def saw(self, tree: Tree, *, gone: bool) -> None:
        """Take in one change."""
        namespace, name = tree["metadata"]["namespace"], tree["metadata"]["name"]
        known = self.by_namespace.setdefault(namespace, {})
        if gone:
            known.pop(name, None)
            if not known:
                del self.by_namespace[namespace]
        else:
            known[name] = tree

    def items(self, namespace: str) -> list[Tree]:
        """All limits that hold in a namespace, in the order of the LimitRanges' names."""
        known = self.by_namespace.get(namespace)
        if not known:
            return []
        return [item for name in sorted(known) for item in (known[name].get("spec") or {}).get("limits") or ()]


def limit_ranger(limits: Limits) -> Operator:
    """The operator that keeps `limits`."""
    app = Operator("limit-ranger")

    @app.on.event(LimitRange, inline=True)
    def saw(obj: LimitRange, event: str) -> None:
        limits.saw(tree_of(obj), gone=event == "DELETED")

    return app


@attrs.frozen
class LimitedPods:
    """Admits new Pods. What it adds is complete: no defaults are missing in it."""

    limits: Limits

    def admit(self, review: AdmissionReview) -> None:
        """Fill in what a Pod leaves out, then refuse what is too much or too little.

        Raises:
            ForbiddenError: it is; the message says what and how much.
        """
        pod = review.tree
        spec = pod.get("spec")
        items = self.limits.items(pod["metadata"]["namespace"])
        if not items or not isinstance(spec, dict):
            return
        if notes := [note for item in items if item["type"] == CONTAINER for note in _fill(spec, item)]:
            meta = pod["metadata"]
            meta["annotations"] = {**(meta.get("annotations") or {}), NOTE: f"LimitRanger plugin set: {'; '.join(notes)}"}
            pod["status"]["qosClass"] = qos_class(spec)
        _refuse(Pod.__kind__.plural, pod, list(_pod_faults(spec, items)))


def check_claim(limits: Limits, review: AdmissionReview) -> None:
    """Refuse a claim for too much or too little storage."""
    claim = review.tree
    asked = {
        name: parse_quantity(value)
        for name, value in (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).items()
    }
    faults: list[str] = []
    for item in limits.items(claim["metadata"]["namespace"]):
        if item["type"] == CLAIM:
            faults += _each(item, "min", lambda name, bound: _too_little(CLAIM, name, bound, asked, {}))
            faults += _each(item, "max", lambda name, bound: _too_much_asked(CLAIM, name, bound, asked))
    _refuse("persistentvolumeclaims", claim, faults)


def _fill(spec: Tree, item: Tree) -> Iterator[str]:
    """Give each container the defaults that it leaves out; says which."""
    for role, containers in (("container", spec.get("containers")), ("init container", spec.get("initContainers"))):
        for container in containers or ():
            resources = container.setdefault("resources", {})
            for side, source in (("requests", "defaultRequest"), ("limits", "default")):
                given = resources.get(side) or {}
                missing = {name: value for name, value in (item.get(source) or {}).items() if name not in given}
                if missing:
                    resources[side] = {**given, **missing}
                    yield f"{', '.join(sorted(missing))} {side[:-1]} for {role} {container['name']}"


def _pod_faults(spec: Tree, items: Sequence[Tree]) -> Iterator[str]:
    for item in items:
        if item["type"] == CONTAINER:
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                yield from _bounds(item, of_container(container, "requests"), of_container(container, "limits"))
        elif item["type"] == POD:
            yield from _bounds(item, of_pod(spec, "requests"), of_pod(spec, "limits"))


def _bounds(item: Tree, requests: Amounts, limits: Amounts) -> Iterator[str]:
    type_ = item["type"]
    yield from _each(item, "min", lambda name, bound: _too_little(type_, name, bound, requests, limits))
    yield from _each(item, "max", lambda name, bound: _too_much(type_, name, bound, requests, limits))
    yield from _each(item, "maxLimitRequestRatio", lambda name, bound: _too_far(type_, name, bound, requests, limits))


def _each(item: Tree, part: str, check: Callable[[str, str], str]) -> list[str]:
    return [text for name, bound in sorted((item.get(part) or {}).items()) if (text := check(name, str(bound)))]


def _too_little(type_: str, name: str, bound: str, requests: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> str:
    says, least = f"minimum {name} usage per {type_} is {bound}", parse_quantity(bound)
    if name not in requests:
        return f"{says}.  No request is specified"
    if requests[name] < least:
        return f"{says}, but request is {_text(requests[name], bound)}"
    if name in limits and limits[name] < least:
        return f"{says}, but limit is {_text(limits[name], bound)}"
    return ""


def _too_much(type_: str, name: str, bound: str, requests: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> str:
    says, most = f"maximum {name} usage per {type_} is {bound}", parse_quantity(bound)
    if name not in limits:
        return f"{says}.  No limit is specified"
    if limits[name] > most:
        return f"{says}, but limit is {_text(limits[name], bound)}"
    if name in requests and requests[name] > most:
        return f"{says}, but request is {_text(requests[name], bound)}"
    return ""


def _too_much_asked(type_: str, name: str, bound: str, requests: Mapping[str, Decimal]) -> str:
    says = f"maximum {name} usage per {type_} is {bound}"
    if name not in requests:
        return f"{says}.  No request is specified"
    return f"{says}, but request is {_text(requests[name], bound)}" if requests[name] > parse_quantity(bound) else ""


def _too_far(type_: str, name: str, bound: str, requests: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> str:
    says = f"{name} max limit to request ratio per {type_} is {bound}"
    if not requests.get(name):
        return f"{says}, but no request is specified or request is 0"
    if not limits.get(name):
        return f"{says}, but no limit is specified or limit is 0"
    ratio = limits[name] / requests[name]
    return f"{says}, but provided ratio is {ratio:.6f}" if ratio > parse_quantity(bound) else ""


def _text(amount: Decimal, like: str) -> str:
    """An amount in the unit of the bound that it breaks, where it is whole in it."""
    unit = like.lstrip("0123456789.")
    if unit:
        count = amount / parse_quantity(f"1{unit}")
        if count == count.to_integral_value():
            return f"{int(count)}{unit}"
    return str(int(amount)) if amount == amount.to_integral_value() else f"{int(amount * 1000)}m"


def _refuse(plural: str, tree: Tree, faults: Sequence[str]) -> None:
    if faults:
        name = tree["metadata"].get("name") or ""
        why = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
        raise ForbiddenError(f'{plural} "{name}" is forbidden: {why}', details={"name": name, "kind": plural})
