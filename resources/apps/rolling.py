"""The arithmetic of a rollout: how far may each ReplicaSet of a Deployment grow or shrink now.

Pure functions over sizes. They promise that, if the available counts they are given are true, following the answer never
takes the Deployment below `replicas - max_unavailable` available Pods nor above `replicas + max_surge` Pods.

Source: k8s.io/kubernetes/pkg/controller/deployment/rolling.go, sync.go (scale), util/deployment_util.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from reconcile.errors import Tree
from reconcile.quantities import IntOrString, scaled


@attrs.frozen
class Limits:
    """What a Deployment asks for, percentages resolved."""

    replicas: int
    max_surge: int = 0
    max_unavailable: int = 0

    @property
    def available_min(self) -> int:
        """The Pods that must stay available."""
        return self.replicas - self.max_unavailable

    @property
    def total_max(self) -> int:
        """The Pods that may exist at once."""
        return self.replicas + self.max_surge


@attrs.frozen
class Size:
    """One ReplicaSet as a rollout sees it. `max_replicas` is its deployment.kubernetes.io/max-replicas annotation (0: none)."""

    name: str
    replicas: int
    available: int = 0
    created_s: float = 0.0
    max_replicas: int = 0


def limits_of(spec: Tree) -> Limits:
    """Resolve a Deployment's spec; a Recreate strategy has neither surge nor unavailability."""
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return Limits(replicas)
    rolling = strategy.get("rollingUpdate") or {}
    surge, unavailable = fenceposts(rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%"), replicas)
    return Limits(replicas, surge, min(unavailable, replicas) if replicas else 0)


def fenceposts(surge: IntOrString, unavailable: IntOrString, replicas: int) -> tuple[int, int]:
    """Resolve both limits: surge rounds up, unavailability down, and where both are 0 one Pod may be unavailable."""
    surge_max = scaled(surge, replicas, round_up=True)
    unavailable_max = scaled(unavailable, replicas, round_up=False)
    if surge_max == 0 and unavailable_max == 0:
        unavailable_max = 1
    return surge_max, unavailable_max


def rolling_step(limits: Limits, new: Size, old: Sequence[Size]) -> dict[str, int]:
    """The next step of a rolling update: new sizes by name, only of those that change; one direction at a time."""
    grown = new_size(limits, new, old)
    if grown != new.replicas:
        return {new.name: grown}
    return _shrink_old(limits, new, old)


def new_size(limits: Limits, new: Size, old: Sequence[Size]) -> int:
    """How large the new ReplicaSet may be now: up to the surge limit, never past what is asked for."""
    if new.replicas >= limits.replicas:
        return limits.replicas
    room = limits.total_max - new.replicas - sum(size.replicas for size in old)
    return new.replicas + min(max(room, 0), limits.replicas - new.replicas)


def _shrink_old(limits: Limits, new: Size, old: Sequence[Size]) -> dict[str, int]:
    sizes = {size.name: size.replicas for size in old if size.replicas > 0}
    if not sizes:
        return {}
    total = new.replicas + sum(sizes.values())
    # Unavailable new Pods are not counted on: an old Pod leaves only for what is really there.
    removable = total - limits.available_min - (new.replicas - new.available)
    if removable <= 0:
        return {}
    oldest_first = sorted((size for size in old if size.replicas > 0), key=lambda size: (size.created_s, size.name))
    # Unhealthy replicas go first: they would hold up the rollout for ever, and removing them costs no availability.
    for size in oldest_first:
        unhealthy = min(max(size.replicas - size.available, 0), removable)
        sizes[size.name] -= unhealthy
        removable -= unhealthy
    spare = new.available + sum(size.available for size in oldest_first) - limits.available_min
    for size in oldest_first:
        if spare <= 0:
            break
        removed = min(sizes[size.name], spare)
        sizes[size.name] -= removed
        spare -= removed
    return {size.name: sizes[size.name] for size in oldest_first if sizes[size.name] != size.replicas}


def active_or_latest(new: Size | None, old: Sequence[Size]) -> Size | None:
    """The only ReplicaSet with replicas, or the newest where none has; None where several have (scale in proportion)."""
    everything = [*old, *([new] if new else [])]
    active = [size for size in everything if size.replicas > 0]
    if len(active) == 1:
        return active[0]
    if active or not everything:
        return None
    return new or max(old, key=lambda size: (size.created_s, size.name))


def proportional(limits: Limits, sizes: Iterable[Size], observed_replicas: int) -> dict[str, int]:
    """Spread a change of scale over all active ReplicaSets in proportion to their sizes; sizes by name.

    `observed_replicas` (the Deployment's status.replicas) stands in where a ReplicaSet has no max-replicas annotation.
    What rounding leaves over goes to the largest.
    """
    active = [size for size in sizes if size.replicas > 0]
    allowed = limits.total_max if limits.replicas > 0 else 0
    to_add = allowed - sum(size.replicas for size in active)
    # Growing prefers the newer of two equals, shrinking takes from the older.
    active.sort(key=lambda size: (-size.replicas, -size.created_s if to_add > 0 else size.created_s, size.name))
    answer = {size.name: size.replicas for size in active}
    if not active or to_add == 0:
        return answer
    added = 0
    for size in active:
        share = _share(limits, size, observed_replicas)
        left = to_add - added
        share = min(share, left) if to_add > 0 else max(share, left)
        answer[size.name] += share
        added += share
    largest = active[0].name
    answer[largest] = max(answer[largest] + to_add - added, 0)
    return answer


def _share(limits: Limits, size: Size, observed_replicas: int) -> int:
    if limits.replicas == 0:
        return -size.replicas
    before = size.max_replicas or observed_replicas
    if before == 0:
        return 0
    return _rounded(size.replicas * limits.total_max / before) - size.replicas


def _rounded(number: float) -> int:
    return int(number - 0.5) if number < 0 else int(number + 0.5)
