"""The Deployment controller: one ReplicaSet for each template, and the way from one to the next.

The order of a pass: claim ReplicaSets; if the Deployment goes away, count only; if it is paused or was scaled, scale its
ReplicaSets in proportion; otherwise take one step of its strategy. Rolling back is the client's doing: it writes an old
template back, and the ReplicaSet that holds it serves again.

Source: k8s.io/kubernetes/pkg/controller/deployment/deployment_controller.go, rolling.go, recreate.go
"""

from __future__ import annotations

from reconcile.clock import Clock
from reconcile.errors import ConflictError, Tree
from reconcile.handling import Cluster, EventRecorder, Requeue
from reconcile.registry import Operator, Watch
from reconcile.selectors import label_selector
from reconcile.views import tree_of

from .deployment import Deployment
from .deployment_status import check_after_s, counted, is_complete, judged, put_paused
from .orphans import Orphans
from .ownership import claim, is_still_there, settle
from .replicaset import ReplicaSet
from .revisions import desired_replicas, forgotten, size_of
from .rolling import active_or_latest, new_size, proportional, rolling_step
from .rollout import Rollout
from .status_writing import write_status

_CONFLICT_DELAY_S = 0.01
_COUNTS = frozenset(["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"])


def deployment_controller() -> Operator:
    """The operator that rolls every Deployment out."""
    app = Operator("deployment-controller")
    orphans = Orphans.followed(app, ReplicaSet, Deployment)

    @app.on.reconcile(
        Deployment, owns=(ReplicaSet,), watches=(Watch(ReplicaSet, to=orphans.adopters),), workers=5, while_deleting=True
    )
    async def rollout(deployment: Deployment, cluster: Cluster, events: EventRecorder, clock: Clock) -> Requeue | None:
        try:
            return await _pass(deployment, cluster, events, clock, orphans)
        except ConflictError:
            # A ReplicaSet was written meanwhile (its status, mostly). The decision was made on older counts, so it is
            # made again, on the newer ones.
            return Requeue(_CONFLICT_DELAY_S)

    return app


async def _pass(
    deployment: Deployment, cluster: Cluster, events: EventRecorder, clock: Clock, orphans: Orphans
) -> Requeue | None:
    tree = tree_of(deployment)
    selector = label_selector(tree["spec"].get("selector"))
    if selector.empty:
        events.warning("SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
        return None
    owned = map(tree_of, await cluster.list(ReplicaSet, deployment.namespace, owner=deployment))
    found = claim(tree, selector, owned, orphans.matching(deployment.namespace, selector))
    sets = await settle(cluster, ReplicaSet, deployment, found)
    state = Rollout.of(deployment, sets, cluster, events, clock)
    if deployment.deleting:
        return await _count_only(state)
    put_paused(tree["spec"], state.status, clock.now())
    if tree["spec"].get("paused") or _was_scaled(state):
        await state.find_new(create=False)
        await _scale(state)
        if tree["spec"].get("paused"):
            await _forget(state)
        return await _count_only(state)
    if state.new is None and state.status.get("observedGeneration") and not await is_still_there(cluster, deployment):
        return None
    if (tree["spec"].get("strategy") or {}).get("type") == "Recreate":
        await _recreate(state)
    else:
        await _roll(state)
    return await _judge(state)


def _was_scaled(state: Rollout) -> bool:
    """Whether spec.replicas changed since the active ReplicaSets were last scaled."""
    wanted = [desired_replicas(rs) for rs in state.sets if rs["spec"].get("replicas", 1) > 0]
    return any(replicas is not None and replicas != state.limits.replicas for replicas in wanted)


async def _scale(state: Rollout) -> None:
    """Make the ReplicaSets add up to what is asked for, without going on with the rollout."""
    new = size_of(state.new) if state.new else None
    old = [size_of(rs) for rs in state.old]
    only = active_or_latest(new, old)
    if only is not None:
        if only.replicas != state.limits.replicas:
            await state.resize(only.name, state.limits.replicas)
        return
    if state.new is not None and _is_saturated(state, state.new):
        for size in old:
            if size.replicas:
                await state.resize(size.name, 0)
        return
    if (state.tree["spec"].get("strategy") or {}).get("type") == "Recreate":
        return
    sizes = proportional(state.limits, [*old, *([new] if new else ())], state.status.get("replicas", 0))
    for name, replicas in sizes.items():
        await state.resize(name, replicas)


def _is_saturated(state: Rollout, new: Tree) -> bool:
    replicas = state.limits.replicas
    available = (new.get("status") or {}).get("availableReplicas", 0)
    return new["spec"].get("replicas", 1) == replicas and desired_replicas(new) == replicas and bool(available == replicas)


async def _roll(state: Rollout) -> None:
    new = await state.find_new(create=True)
    steps = rolling_step(state.limits, size_of(new), [size_of(rs) for rs in state.old])
    for name, replicas in steps.items():
        await state.resize(name, replicas)
    if not steps and is_complete(state.tree, state.tree.get("status") or {}):
        await _forget(state)


async def _recreate(state: Rollout) -> None:
    """All old Pods go before the first new one comes."""
    await state.find_new(create=False)
    shrunk = False
    for rs in state.old:
        if rs["spec"].get("replicas", 1) > 0:
            await state.resize(rs["metadata"]["name"], 0)
            shrunk = True
    if shrunk or await state.old_pods_run():
        return
    new = await state.find_new(create=True)
    replicas = new_size(state.limits, size_of(new), ())
    if replicas != new["spec"].get("replicas", 1):
        await state.resize(new["metadata"]["name"], replicas)
    elif is_complete(state.tree, state.tree.get("status") or {}):
        await _forget(state)


async def _forget(state: Rollout) -> None:
    limit = state.tree["spec"].get("revisionHistoryLimit", 10)
    for rs in forgotten(state.old, limit) if limit is not None else ():
        await state.drop(rs)


async def _count_only(state: Rollout) -> Requeue | None:
    if state.new is None:
        await state.find_new(create=False)
    status = counted(state.tree, state.status, state.sets, state.new, state.clock.now())
    await write_status(state.cluster, state.deployment, status, unless_zero=_COUNTS)
    return None


async def _judge(state: Rollout) -> Requeue | None:
    now_s = state.clock.now()
    status = counted(state.tree, state.status, state.sets, state.new, now_s)
    status = judged(state.tree, state.tree.get("status") or {}, status, state.sets, state.new, now_s)
    await write_status(state.cluster, state.deployment, status, unless_zero=_COUNTS)
    again_s = check_after_s(state.tree, status, now_s)
    return None if again_s is None else Requeue(again_s)
