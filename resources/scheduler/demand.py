"""What a Pod asks of a node, parsed once for all Pods that ask the same.

The Pods of one ReplicaSet differ in nothing that matters for scheduling. They share one `Demand`, and whatever is worked
out for a Demand (see `ranking`) serves all of them.

Source: k8s.io/component-helpers/resource (pod requests), k8s.io/kube-scheduler SignPlugin
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.quantities import milli, whole
from reconcile.selectors import LabelSelector, Requirement, label_selector

from .terms import NodeTest, Toleration, node_tests, preferred_node_tests, tolerations

_NONZERO_CPU_MILLI, _NONZERO_MEMORY_BYTES = 100, 200 * 1024 * 1024
_DEMANDS_MAX = 4096
_milli = lru_cache(maxsize=4096)(milli)
_whole = lru_cache(maxsize=4096)(whole)


@attrs.frozen
class SpreadConstraint:
    """One of spec.topologySpreadConstraints."""

    key: str
    max_skew: int
    hard: bool
    selector: LabelSelector
    min_domains: int
    honours_affinity: bool
    honours_taints: bool


@attrs.frozen
class PodTerm:
    """One term of a Pod's affinity or anti-affinity to other Pods. `weight` is 0 for required terms."""

    key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    weight: int = 0

    def matches(self, pod: PodInfo, namespace_labels: Callable[[str], Mapping[str, str]]) -> bool:
        """Whether the term is about this other Pod."""
        named = pod.namespace in self.namespaces or (
            self.namespace_selector is not None and self.namespace_selector.matches(namespace_labels(pod.namespace))
        )
        return named and self.selector.matches(pod.labels)


@attrs.frozen(eq=False)
class Demand:
    """Everything about a Pod that decides where it can run and where it runs best."""

    cpu_milli: int
    memory_bytes: int
    scalars: Mapping[str, int]
    score_cpu_milli: int
    score_memory_bytes: int
    ports: frozenset[tuple[str, str, int]]
    node_required: NodeTest | None
    node_preferred: tuple[tuple[int, NodeTest], ...]
    tolerations: tuple[Toleration, ...]
    spread: tuple[SpreadConstraint, ...]
    affinity: tuple[PodTerm, ...]
    anti_affinity: tuple[PodTerm, ...]
    preferred: tuple[PodTerm, ...]
    owner: str

    @property
    def about_pods(self) -> bool:
        """Whether other Pods' places matter beyond their resources."""
        return bool(self.spread or self.affinity or self.anti_affinity or self.preferred)


@attrs.frozen(eq=False)
class PodInfo:
    """One Pod as the scheduler sees it."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    priority: int
    generation: int
    demand: Demand
    tree: Tree

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Demands:
    """Gives equal Pods the same `Demand`. Bounded: the least recently used are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Demand] = OrderedDict()

    def read(self, tree: Tree) -> PodInfo:
        """Parse a Pod. O(1) for a Pod like one seen before."""
        meta, spec = tree["metadata"], tree.get("spec") or {}
        key = _signature(meta, spec)
        demand = self._known.get(key)
        if demand is None:
            demand = self._known[key] = _parsed(meta, spec)
            if len(self._known) > _DEMANDS_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return PodInfo(
            meta.get("uid", ""), meta.get("namespace", ""), meta["name"], meta.get("labels") or {}, spec.get("priority") or 0,
            meta.get("generation", 0), demand, tree,
        )  # fmt: skip


_ASKS = ("nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "overhead", "resources", "hostNetwork")


def _signature(meta: Tree, spec: Tree) -> str:
    containers = [
        (c.get("resources"), c.get("ports"), c.get("restartPolicy"))
        for c in (*(spec.get("containers") or ()), None, *(spec.get("initContainers") or ()))
        if c is not None
    ]
    affine = spec.get("affinity") or spec.get("topologySpreadConstraints")
    return repr(
        (
            len(spec.get("containers") or ()), containers, [spec.get(name) for name in _ASKS], _owner(meta),
            (meta.get("namespace"), meta.get("labels")) if affine else None,
        )
    )  # fmt: skip


def _parsed(meta: Tree, spec: Tree) -> Demand:
    requests = pod_requests(spec)
    cpu, memory = requests.pop("cpu", 0), requests.pop("memory", 0)
    score_cpu, score_memory = _scoring_requests(spec, cpu, memory)
    affinity = spec.get("affinity") or {}
    labels, namespace = meta.get("labels") or {}, meta.get("namespace", "")
    near, far = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    wishes = [
        _pod_term(wish["podAffinityTerm"], labels, namespace, sign * wish["weight"])
        for sign, source in ((1, near), (-1, far))
        for wish in source.get(preferred) or ()
    ]
    return Demand(
        cpu_milli=cpu, memory_bytes=memory, scalars=requests, score_cpu_milli=score_cpu, score_memory_bytes=score_memory,
        ports=frozenset(_host_ports(spec)), node_required=node_tests(spec),
        node_preferred=preferred_node_tests(spec), tolerations=tolerations(spec),
        spread=tuple(_spread(c, labels) for c in spec.get("topologySpreadConstraints") or ()),
        affinity=tuple(_pod_term(term, labels, namespace) for term in near.get(required) or ()),
        anti_affinity=tuple(_pod_term(term, labels, namespace) for term in far.get(required) or ()),
        preferred=tuple(wishes), owner=_owner(meta),
    )  # fmt: skip


def pod_requests(spec: Tree) -> dict[str, int]:
    """What the Pod as a whole requests: CPU in thousandths, everything else in whole units.

    Containers and sidecars run together; an init container runs beside the sidecars started before it.

    Source: PodRequests in k8s.io/component-helpers/resource/helpers.go
    """
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, _requests(container))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        asked = _requests(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, asked)
            asked = dict(sidecars)
        else:
            asked = dict(asked)
            _add(asked, sidecars)
        for name, amount in asked.items():
            peak[name] = max(peak.get(name, 0), amount)
    _add(total, sidecars)
    for name, amount in peak.items():
        total[name] = max(total.get(name, 0), amount)
    total.update(_requests(spec))  # requests for the whole Pod stand for those of its containers
    _add(total, _amounts(spec.get("overhead") or {}))
    return total


def _scoring_requests(spec: Tree, cpu: int, memory: int) -> tuple[int, int]:
    """Requests for scoring: a container that asks for nothing is taken to use a little."""
    containers = spec.get("containers") or ()
    for container in containers:
        asked = _requests(container)
        cpu += 0 if "cpu" in asked else _NONZERO_CPU_MILLI
        memory += 0 if "memory" in asked else _NONZERO_MEMORY_BYTES
    return cpu, memory


def _requests(owner: Tree) -> dict[str, int]:
    return _amounts((owner.get("resources") or {}).get("requests") or {})


def _amounts(requests: Mapping[str, Any]) -> dict[str, int]:
    return {name: _milli(amount) if name == "cpu" else _whole(amount) for name, amount in requests.items()}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _host_ports(spec: Tree) -> Iterable[tuple[str, str, int]]:
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port["hostPort"]  # noqa: S104 - compared


def _owner(meta: Tree) -> str:
    for reference in meta.get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def _spread(tree: Tree, labels: Mapping[str, str]) -> SpreadConstraint:
    return SpreadConstraint(
        key=tree["topologyKey"], max_skew=tree["maxSkew"], hard=tree["whenUnsatisfiable"] == "DoNotSchedule",
        selector=_selector(tree.get("labelSelector"), tree.get("matchLabelKeys"), labels),
        min_domains=tree.get("minDomains") or 1,
        honours_affinity=tree.get("nodeAffinityPolicy", "Honor") == "Honor",
        honours_taints=tree.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )  # fmt: skip


def _pod_term(tree: Tree, labels: Mapping[str, str], namespace: str, weight: int = 0) -> PodTerm:
    namespaces, chosen = tree.get("namespaces") or (), tree.get("namespaceSelector")
    return PodTerm(
        key=tree["topologyKey"], selector=_selector(tree.get("labelSelector"), tree.get("matchLabelKeys"), labels),
        namespaces=frozenset(namespaces) if namespaces or chosen is not None else frozenset([namespace]),
        namespace_selector=None if chosen is None else label_selector(chosen), weight=weight,
    )  # fmt: skip


_NOTHING = LabelSelector((Requirement("reconcile.dev/nothing", "exists"),))


def _selector(tree: Tree | None, keys: Iterable[str] | None, labels: Mapping[str, str]) -> LabelSelector:
    """The selector; an absent one selects nothing. `keys` are labels whose values must be the Pod's own."""
    if tree is None:
        return _NOTHING
    found = label_selector(tree)
    same = tuple(Requirement(key, "=", (labels[key],)) for key in keys or () if key in labels)
    return LabelSelector(found.requirements + same) if same else found
