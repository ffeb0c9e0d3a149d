"""The disruption controller: counts the Pods of each budget, and says how many more may go.

Where anything about the count is not known, nothing may go.

Source: k8s.io/kubernetes/pkg/controller/disruption/disruption.go
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from reconcile.client import Client
from reconcile.clock import Clock, parse_timestamp
from reconcile.conditions import is_true, with_condition
from reconcile.errors import ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder, Requeue
from reconcile.kinds import Resource, typed
from reconcile.paths import getter
from reconcile.quantities import scaled
from reconcile.registry import Operator
from reconcile.resources.apps import Deployment, ReplicaSet, StatefulSet
from reconcile.resources.apps.pod_state import controller_of
from reconcile.resources.core import Pod, ReplicationController
from reconcile.views import tree_of

from .budget import PodDisruptionBudget

DISRUPTED_S_MAX = 120.0
"""A Pod whose eviction was granted and that is still there after this long counts again: nobody deleted it."""
ALLOWED, SUFFICIENT, INSUFFICIENT, FAILED = "DisruptionAllowed", "SufficientPods", "InsufficientPods", "SyncFailed"
_SCALED: dict[tuple[str, str], type[Resource]] = {
    ("apps/v1", "ReplicaSet"): ReplicaSet, ("apps/v1", "StatefulSet"): StatefulSet,
    ("v1", "ReplicationController"): ReplicationController,
}  # fmt: skip


@attrs.frozen
class Counts:
    """What a budget comes down to."""

    expected: int
    desired: int
    healthy: int

    @property
    def allowed(self) -> int:
        """How many more may go."""
        return max(0, self.healthy - self.desired) if self.expected > 0 else 0


def disruption_controller() -> Operator:
    """The operator that keeps the status of every PodDisruptionBudget."""
    app = Operator("disruption-controller")

    @app.on.reconcile(PodDisruptionBudget, workers=5)
    async def count(budget: PodDisruptionBudget, cluster: Cluster, clock: Clock, events: EventRecorder) -> Requeue | None:
        tree = tree_of(budget)
        selector = tree["spec"].get("selector")
        pods = [] if selector is None else [tree_of(p) for p in await cluster.list(Pod, budget.namespace, labels=selector)]
        now_s = clock.now()
        status = await _status(tree, pods, now_s, cluster, events)
        if status != (tree.get("status") or {}):
            # On condition that nobody was granted an eviction meanwhile; where somebody was, that change wakes us again.
            with contextlib.suppress(ConflictError):
                await cluster.update_status(typed(PodDisruptionBudget, {**tree, "status": status}))
        ends = [parse_timestamp(at) + DISRUPTED_S_MAX - now_s for at in status["disruptedPods"].values()]
        return Requeue(max(0.1, min(ends))) if ends else None

    return app


async def _status(tree: Tree, pods: list[Tree], now_s: float, cluster: Cluster, events: EventRecorder) -> Tree:
    """The status as it should be."""
    before, generation = tree.get("status") or {}, int(tree["metadata"].get("generation") or 0)
    disrupted = still_disrupted(before.get("disruptedPods") or {}, pods, now_s)
    try:
        counts = await _counts(tree, pods, disrupted, cluster)
    except LookupError as error:
        events.warning("CalculateExpectedPodCountFailed", f"Failed to calculate the number of expected pods: {error}")
        counts = Counts(0, 0, 0)
        said: Tree = {"status": "False", "reason": FAILED, "message": str(error)}
    else:
        enough = counts.allowed > 0
        said = {"status": str(enough), "reason": SUFFICIENT if enough else INSUFFICIENT, "message": ""}
    said |= {"type": ALLOWED, "observedGeneration": generation}
    return {
        **before, "observedGeneration": generation, "disruptedPods": disrupted, "disruptionsAllowed": counts.allowed,
        "currentHealthy": counts.healthy, "desiredHealthy": counts.desired, "expectedPods": counts.expected,
        "conditions": with_condition(before.get("conditions"), said, now_s),
    }  # fmt: skip  # one field a word reads better packed


def still_disrupted(granted: dict[str, str], pods: Iterable[Tree], now_s: float) -> dict[str, str]:
    """The evictions that were granted and not seen to happen yet."""
    there = {pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}
    return {name: at for name, at in granted.items() if name in there and parse_timestamp(at) + DISRUPTED_S_MAX > now_s}


async def _counts(tree: Tree, pods: list[Tree], disrupted: dict[str, str], cluster: Cluster) -> Counts:
    """Raises LookupError: a share of a number is wanted that nobody knows."""
    spec = tree["spec"]
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if most is not None:
        expected = await _scale(pods, cluster)
        desired = max(0, expected - scaled(most, expected, round_up=True))
    elif isinstance(least, str):
        expected = await _scale(pods, cluster)
        desired = scaled(least, expected, round_up=True)
    else:
        expected, desired = len(pods), least or 0
    healthy = sum(1 for pod in pods if is_healthy(pod) and pod["metadata"]["name"] not in disrupted)
    return Counts(expected, desired, healthy)


def is_healthy(pod: Tree) -> bool:
    """Whether a Pod is there to be counted on."""
    return not pod["metadata"].get("deletionTimestamp") and is_true((pod.get("status") or {}).get("conditions"), "Ready")


async def _scale(pods: list[Tree], cluster: Cluster) -> int:
    """How many Pods those who control these want together; a Pod of nobody counts for nothing."""
    wanted: dict[str, int] = {}
    for pod in pods:
        owner = controller_of(pod)
        if owner is None or owner["uid"] in wanted:
            continue
        cls = _SCALED.get((owner["apiVersion"], owner["kind"]))
        if cls is None:
            replicas = await _scale_of(pod, owner, cluster.client)
            if replicas is not None:
                wanted[owner["uid"]] = replicas
            continue
        found = await cluster.find(cls, owner["name"], pod["metadata"]["namespace"])
        if found is None:
            continue
        top = tree_of(found)
        above = controller_of(top)
        if above is not None and above["kind"] == "Deployment":
            deployment = await cluster.find(Deployment, above["name"], pod["metadata"]["namespace"])
            wanted[owner["uid"]] = 0  # counted once, below the Deployment
            if deployment is not None:
                wanted[above["uid"]] = int(tree_of(deployment)["spec"].get("replicas", 1))
            continue
        wanted[owner["uid"]] = int(top["spec"].get("replicas", 1))
    return sum(wanted.values())


async def _scale_of(pod: Tree, owner: Mapping[str, Any], client: Client) -> int | None:
    """How many replicas an owner of any kind with a scale subresource wants; None: it is gone.

    Raises:
        LookupError: nobody can tell.
    """
    kinds = await client.kinds()
    group = owner["apiVersion"].rpartition("/")[0]
    kind = next((kind for kind in kinds if (kind.group, kind.kind) == (group, owner["kind"])), None)
    if kind is None or kind.scale is None:
        raise LookupError(f"pod {pod['metadata']['name']} belongs to a {owner['kind']}, which has no number of replicas")
    try:
        tree = await client.get(kind, owner["name"], pod["metadata"]["namespace"])
    except NotFoundError:
        return None
    if tree["metadata"]["uid"] != owner["uid"]:
        return None
    return int(getter(kind.scale.replicas)(tree) or 0)
