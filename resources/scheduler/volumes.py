"""Volumes in the choice of a node: where a bound one can be reached, and claims that are bound once their Pod has a place.

A claim whose class says WaitForFirstConsumer is bound for the node that was chosen: a volume that is there is kept for it, or who
makes volumes is told the node, in an annotation of the claim. The Pod is bound when its claims are. Claims of other classes are
left to their binder, and a Pod is not kept waiting for them here: its kubelet waits.

Source: K/pkg/scheduler/framework/plugins/volumebinding, K/staging/src/k8s.io/component-helpers/storage/volume
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.clock import Clock
from reconcile.errors import ConflictError, Tree, UnavailableError
from reconcile.kinds import Kind
from reconcile.resources.stored.storage import persistent_volume, persistent_volume_claim
from reconcile.resources.volumes.claims import LATE, SELECTED_NODE, best_for, is_bound, reference_to

from .demand import PodInfo
from .plugin import Cycle, Plugin
from .snapshot import ClusterState, NodeInfo
from .terms import node_tests

BOUND_BY_US = "pv.kubernetes.io/bound-by-controller"
VOLUME_EVENT = "volume"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_WAIT_S_MAX, _LOOK_S_FIRST, _LOOK_S_MAX = 600.0, 0.05, 1.0
_Name = tuple[str, str]


@attrs.define
class Volumes:
    """The claims, volumes and classes of a cluster, kept by events."""

    claims: dict[_Name, Tree] = attrs.field(factory=dict)
    volumes: dict[str, Tree] = attrs.field(factory=dict)
    classes: dict[str, Tree] = attrs.field(factory=dict)

    def saw(self, kind: Kind, tree: Tree, *, gone: bool) -> None:
        """Take in one change."""
        meta = tree["metadata"]
        known: dict[Any, Tree]
        key: Any
        if kind.namespaced:
            known, key = self.claims, (meta["namespace"], meta["name"])
        else:
            known, key = (self.volumes if kind.plural == persistent_volume().plural else self.classes), meta["name"]
        if gone:
            known.pop(key, None)
        else:
            known[key] = tree

    def is_late(self, claim: Tree) -> bool:
        """Whether a claim is bound once its Pod has a node, and is not yet."""
        cls = self.classes.get(claim["spec"].get("storageClassName") or "") or {}
        return cls.get("volumeBindingMode") == LATE and not claim["spec"].get("volumeName")

    def late_of(self, pod: PodInfo) -> list[_Name]:
        """The claims of a Pod that are bound with it."""
        return [name for name in claims_of(pod) if name in self.claims and self.is_late(self.claims[name])]

    def found_for(self, names: Sequence[_Name], node: NodeInfo) -> Mapping[_Name, Tree | None] | None:
        """What each of these claims gets on a node: a volume, or None for one that is made; None: one of them gets nothing."""
        taken: set[str] = set()
        chosen: dict[_Name, Tree | None] = {}
        for name in names:
            claim = self.claims[name]
            selected = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
            if selected and selected != node.name:
                return None
            wanted = claim["spec"].get("storageClassName")
            free = [
                volume
                for volume in self.volumes.values()
                if volume["spec"].get("storageClassName") == wanted
                and volume["metadata"]["name"] not in taken
                and reaches(volume, node)
            ]
            volume = best_for(claim, free)
            if volume is None and not self._is_made(claim, node):
                return None
            if volume is not None:
                taken.add(volume["metadata"]["name"])
            chosen[name] = volume
        return chosen

    def _is_made(self, claim: Tree, node: NodeInfo) -> bool:
        """Whether somebody makes volumes of the claim's class where that node is."""
        cls = self.classes[claim["spec"]["storageClassName"]]
        terms = cls.get("allowedTopologies") or ()
        topology = [
            {"matchExpressions": [{**rule, "operator": "In"} for rule in term.get("matchLabelExpressions") or ()]}
            for term in terms
        ]
        return cls.get("provisioner") != _NO_PROVISIONER and (not topology or _matches(topology, node))


def claims_of(pod: PodInfo) -> Iterator[_Name]:
    """The claims that a Pod's volumes name, those that are made for it alone among them."""
    for volume in (pod.tree.get("spec") or {}).get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield pod.namespace, volume["persistentVolumeClaim"]["claimName"]
        elif "ephemeral" in volume:
            yield pod.namespace, f"{pod.name}-{volume['name']}"


def reaches(volume: Tree, node: NodeInfo) -> bool:
    """Whether a volume can be used on a node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return not required or _matches(required.get("nodeSelectorTerms") or (), node)


def _matches(terms: Sequence[Tree], node: NodeInfo) -> bool:
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    test = node_tests({"affinity": {"nodeAffinity": wanted}})
    return test is None or test(node.name, node.labels)


class VolumeBinding(Plugin):
    """Keeps Pods where their volumes are, or can be."""

    name, filters, node_local = "VolumeBinding", True, False
    helped_by = frozenset(["node", VOLUME_EVENT])

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def applies(self, pod: PodInfo, state: ClusterState) -> bool:  # noqa: D102 - see Plugin
        return next(claims_of(pod), None) is not None

    def prepare(self, pod: PodInfo, cycle: Cycle) -> None:  # noqa: D102 - see Plugin
        claims = self._volumes.claims
        missing = [name for _, name in claims_of(pod) if (pod.namespace, name) not in claims]
        bound = [claims[name]["spec"].get("volumeName") or "" for name in claims_of(pod) if name in claims]
        there = [self._volumes.volumes[name] for name in bound if name in self._volumes.volumes]
        cycle.prepared[self.name] = (missing, there, self._volumes.late_of(pod))

    def reject(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> tuple[str, ...]:  # noqa: D102 - see Plugin
        missing, bound, late = cycle.prepared[self.name]
        if missing:
            return (f'persistentvolumeclaim "{missing[0]}" not found',)
        if not all(reaches(volume, node) for volume in bound):
            return ("node(s) didn't match PersistentVolume's node affinity",)
        if late and self._volumes.found_for(late, node) is None:
            return ("node(s) didn't find available persistent volumes to bind",)
        return ()


async def bind_claims(volumes: Volumes, late: Sequence[_Name], node: NodeInfo, client: Client, clock: Clock) -> None:
    """Have these claims bound for a node, and wait until they are.

    Raises:
        ConflictError: a volume was taken by another claim meanwhile.
        UnavailableError: they were not bound in ten minutes, or the node was given up by whoever makes volumes.
    """
    found = volumes.found_for(late, node)
    if found is None:
        raise ConflictError(f"the volumes for {node.name} were taken meanwhile")
    for (namespace, name), volume in found.items():
        claim = volumes.claims[namespace, name]
        if volume is not None and not volume["spec"].get("claimRef"):
            meta = {"resourceVersion": volume["metadata"]["resourceVersion"], "annotations": {BOUND_BY_US: "yes"}}
            change = Patch(MERGE_PATCH, {"metadata": meta, "spec": {"claimRef": reference_to(claim)}})
            await client.patch(persistent_volume(), volume["metadata"]["name"], change)
        elif volume is None:
            meta = {"uid": claim["metadata"]["uid"], "annotations": {SELECTED_NODE: node.name}}
            await client.patch(persistent_volume_claim(), name, Patch(MERGE_PATCH, {"metadata": meta}), namespace)
    made = [name for name, volume in found.items() if volume is None]
    await _bound(volumes, list(found), made, node, clock)


async def _bound(volumes: Volumes, names: Sequence[_Name], made: Sequence[_Name], node: NodeInfo, clock: Clock) -> None:
    until_s, look_s, told = clock.monotonic() + _WAIT_S_MAX, _LOOK_S_FIRST, set[_Name]()
    while True:
        claims = {name: volumes.claims.get(name) for name in names}
        if all(claim is not None and is_bound(claim) for claim in claims.values()):
            return
        for name in made:
            selected = ((claims[name] or {}).get("metadata", {}).get("annotations") or {}).get(SELECTED_NODE)
            if selected == node.name:
                told.add(name)
            elif name in told and not is_bound(claims[name] or {}):
                raise UnavailableError(f"claim {name[1]} gets no volume on {node.name}")
        if None in claims.values() or clock.monotonic() >= until_s:
            raise UnavailableError(f"claims {', '.join(name for _, name in names)} were not bound for {node.name}")
        await clock.sleep(look_s)
        look_s = min(2 * look_s, _LOOK_S_MAX)
