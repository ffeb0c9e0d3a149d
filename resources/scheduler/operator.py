"""The scheduler as an operator: events keep the model, one loop decides, a few writers bind.

Deciding is one Pod at a time, in memory and without waiting; each decision is assumed at once. The writes (bindings, and
the condition of a Pod that found no node) run beside it, so many at a time that the store commits them together. So does
making room for a Pod that found none: see `preemption`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from reconcile.causality import because
from reconcile.clock import Clock, timestamp
from reconcile.conditions import with_condition
from reconcile.errors import ApiError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import Kind, Resource, kind_of, typed
from reconcile.registry import Operator
from reconcile.resources.core import Namespace, Node, Pod
from reconcile.resources.policy.budget import PodDisruptionBudget
from reconcile.resources.stored.declaration import class_of
from reconcile.resources.stored.storage import storage_class
from reconcile.resources.volumes.claims import PersistentVolume, PersistentVolumeClaim
from reconcile.views import tree_of

from .demand import Demands, PodInfo
from .nomination import Nominations
from .placement import Unschedulable, default_plugins
from .plugin import Plugin
from .preemption import Preemption
from .queue import SchedulingQueue, Waiting
from .ranking import Rankings
from .snapshot import ClusterState
from .volumes import VOLUME_EVENT, VolumeBinding, Volumes, bind_claims

log = logging.getLogger(__name__)
StorageClass = class_of(storage_class())

_WRITERS = 64
_DECISIONS_PER_TURN = 32  # then others get a turn of the event loop
_TICK_S = 1.0
_FINISHED = ("Succeeded", "Failed")
_Write = Callable[[], Awaitable[None]]


def scheduler(name: str = "default-scheduler", *, plugins: Sequence[Plugin] = (), volumes: bool = False) -> Operator:
    """The operator that binds the Pods whose spec.schedulerName is `name`; `plugins` are used besides the built-in ones.

    With `volumes`, claims count, too; somebody must bind them then.
    """
    app = Operator(name)
    known = Volumes() if volumes else None
    state = _Scheduler(name, (*default_plugins(), *([VolumeBinding(known)] if known is not None else ()), *plugins), known)
    if known is not None:
        _follow_volumes(app, known, state)

    @app.on.startup()
    async def start(cluster: Cluster, clock: Clock, events: EventRecorder) -> None:
        state.start(cluster, clock, events)

    @app.on.event(Node, inline=True)
    def saw_node(node: Node, event: str) -> None:
        state.saw_node(tree_of(node), event == "DELETED")

    @app.on.event(Pod, inline=True)
    def saw_pod(pod: Pod, event: str) -> None:
        state.saw_pod(tree_of(pod), event == "DELETED")

    @app.on.event(Namespace, inline=True)
    def saw_namespace(seen: Namespace, event: str) -> None:
        state.saw_namespace(tree_of(seen), event == "DELETED")

    return app


def _follow_volumes(app: Operator, known: Volumes, state: _Scheduler) -> None:
    for cls in (PersistentVolumeClaim, PersistentVolume, StorageClass):
        kind = kind_of(cls)

        def saw(obj: Resource, event: str, kind: Kind = kind) -> None:
            known.saw(kind, tree_of(obj), gone=event == "DELETED")
            state.saw_volumes()

        app.on.event(cls, inline=True, name=f"volumes-{kind.plural}")(saw)


class _Scheduler:
    """What one running scheduler knows and does."""

    def __init__(self, name: str, plugins: Sequence[Plugin], volumes: Volumes | None) -> None:
        self._name = name
        self._volumes = volumes
        self._plugins = plugins
        self._helped_by = {plugin.name: plugin.helped_by for plugin in plugins}

    def start(self, cluster: Cluster, clock: Clock, events: EventRecorder) -> None:
        """Begin with an empty model; the events that follow fill it."""
        self._cluster, self._clock, self._events = cluster, clock, events
        self._demands = Demands()
        self._queue = SchedulingQueue(self._helped_by)
        self._state = ClusterState(clock.random.random)
        self._rankings = Rankings(self._state, self._plugins)
        self._nominations = Nominations()
        self._ending: set[str] = set()
        self._preemption = Preemption(self._state, self._plugins, lambda pod: pod.uid in self._ending)
        self._wake = asyncio.Event()
        self._ticking = asyncio.Event()
        self._writes: asyncio.Queue[_Write] = asyncio.Queue()
        cluster.spawn(self._decide(), "decide")
        cluster.spawn(self._tick(), "tick")
        for number in range(_WRITERS):
            cluster.spawn(self._write(), f"write-{number}")

    # What happens in the cluster.

    def saw_node(self, tree: Tree, gone: bool) -> None:
        """A node came, changed or went."""
        name = tree["metadata"]["name"]
        if gone:
            self._state.remove_node(name)
        elif self._state.set_node(tree):
            self._helped("node", name)

    def saw_namespace(self, tree: Tree, gone: bool) -> None:
        """A namespace came, changed or went; terms with a namespaceSelector look at its labels."""
        meta = tree["metadata"]
        self._state.set_namespace(meta["name"], None if gone else meta.get("labels") or {})

    def saw_volumes(self) -> None:
        """A claim, a volume or a class came, changed or went."""
        self._helped(VOLUME_EVENT, None)

    def saw_pod(self, tree: Tree, gone: bool) -> None:
        """A Pod came, changed or went."""
        meta, spec = tree["metadata"], tree.get("spec") or {}
        uid, node = meta["uid"], spec.get("nodeName")
        if gone or (tree.get("status") or {}).get("phase") in _FINISHED:
            self._queue.remove(uid)
            self._nominations.drop(uid)
            self._ending.discard(uid)
            freed = self._state.remove_pod(uid)
            if freed is not None:
                self._helped("pod-gone", freed)
        elif node:
            self._saw_placed(uid, node, tree)
        elif spec.get("schedulerName", "default-scheduler") == self._name and not self._state.is_assumed(uid):
            if spec.get("schedulingGates") or meta.get("deletionTimestamp"):
                self._queue.remove(uid)
                self._nominations.drop(uid)
            else:
                pod = self._demands.read(tree)
                nominated = (tree.get("status") or {}).get("nominatedNodeName")
                if nominated:  # by us in an earlier life, or just now
                    self._nominations.set(pod, nominated)
                self._queue.add(pod, self._clock.now())
                self._wake.set()

    def _saw_placed(self, uid: str, node: str, tree: Tree) -> None:
        place = self._state.place_of(uid)
        meta = tree["metadata"]
        self._nominations.drop(uid)
        if meta.get("deletionTimestamp"):
            self._ending.add(uid)
        if place is not None and place[0] == node:
            known, labels = place[1], meta.get("labels") or {}
            self._state.confirm(uid)
            if known.generation == meta.get("generation", 0) and known.labels == labels:
                return  # the frequent case: only its status changed
            pod = self._demands.read(tree)
            if pod.demand is known.demand and known.labels == labels:
                self._state.renew(pod)  # bound as decided, or a change that takes no more and no less
                return
        self._queue.remove(uid)
        self._state.add_pod(self._demands.read(tree), node)
        self._helped("pod-new", None)

    def _helped(self, event: str, node: str | None) -> None:
        if not self._queue.parked:
            return
        fits = None if node is None else (lambda pod: self._rankings.fits(pod, node))
        if self._queue.helped(event, self._clock.now(), fits):
            self._wake.set()

    # What the scheduler does.

    async def _decide(self) -> None:
        # Decisions on half a model would overcommit nodes whose Pods are not known yet.
        await self._cluster.list(Node)
        await self._cluster.list(Pod)
        if self._volumes is not None:
            for cls in (PersistentVolumeClaim, PersistentVolume, StorageClass):
                await self._cluster.list(cls)
        while True:
            self._wake.clear()
            for _ in range(_DECISIONS_PER_TURN):
                waiting = self._queue.pop(self._clock.now())
                if waiting is None:
                    break
                try:
                    self._place(waiting)
                except Exception as error:  # noqa: BLE001 - a plugin's mistake about one Pod must not stop all others
                    self._failed(waiting, error)
            else:
                await self._clock.sleep(0)
                continue
            if self._queue.waits_for_time:
                self._ticking.set()
            await self._wake.wait()

    async def _tick(self) -> None:
        """Wake the loop once a second while a Pod waits for nothing but time."""
        while True:
            await self._ticking.wait()
            await self._clock.sleep(_TICK_S)
            self._ticking.clear()
            self._wake.set()

    def _place(self, waiting: Waiting) -> None:
        pod = waiting.pod
        with self._nominations.reserved(self._state, pod):
            answer = self._rankings.choose(pod)
        if isinstance(answer, Unschedulable):
            self._queue.park(waiting, answer.plugins, self._clock.now())
            self._writes.put_nowait(lambda: self._report(pod, answer))
            if self._preemption.can_help(pod):
                self._writes.put_nowait(lambda: self._make_room(pod))
        else:
            self._nominations.drop(pod.uid)
            self._state.assume(pod, answer)
            if self._volumes is not None and (late := self._volumes.late_of(pod)):
                # Beside the writers, of which it would take one for as long as a volume takes to be made.
                self._cluster.spawn(self._bind_with_claims(waiting, answer, late), f"claims of {pod}")
            else:
                self._writes.put_nowait(lambda: self._bind(waiting, answer))

    def _failed(self, waiting: Waiting, error: Exception) -> None:
        pod = waiting.pod
        log.exception("a decision failed", extra={"object": str(pod)})
        text = f"deciding failed: {type(error).__name__}: {error}"
        self._events.warning("FailedScheduling", text, about=typed(Pod, pod.tree, frozen=True))
        self._queue.back_off(waiting, self._clock.now())
        self._ticking.set()

    async def _write(self) -> None:
        while True:
            write = await self._writes.get()
            await write()

    async def _bind_with_claims(self, waiting: Waiting, name: str, late: Sequence[tuple[str, str]]) -> None:
        node = self._state.nodes.get(name)
        try:
            if self._volumes is not None and node is not None:
                with because(waiting.pod.tree, by="bind"):
                    await bind_claims(self._volumes, late, node, self._cluster.client, self._clock)
        except ApiError as error:
            await self._gave_up(waiting, name, error)
            return
        await self._bind(waiting, name)

    async def _gave_up(self, waiting: Waiting, node: str, error: ApiError) -> None:
        self._state.forget(waiting.pod.uid)
        self._helped("pod-gone", node)
        await self._recover(waiting, node, error)

    async def _bind(self, waiting: Waiting, node: str) -> None:
        pod = waiting.pod
        about = typed(Pod, pod.tree, frozen=True)
        now_s = self._clock.now()
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "creationTimestamp": timestamp(now_s),
            },
            "target": {"kind": "Node", "name": node},
        }  # fmt: skip
        try:
            with because(pod.tree, by="bind"):
                await self._cluster.act(about, "binding", binding)
        except ApiError as error:
            await self._gave_up(waiting, node, error)
            return
        self._events.normal("Scheduled", f"Successfully assigned {pod} to {node}", about=about)

    async def _recover(self, waiting: Waiting, node: str, error: ApiError) -> None:
        """Try again later, unless the Pod is gone, going, or bound by somebody else."""
        pod = waiting.pod
        try:
            newest = await self._cluster.fresh(Pod, pod.name, pod.namespace)
        except NotFoundError:
            return
        except ApiError:
            newest = None  # the server cannot say; the next attempt will
        if newest is not None and (newest.uid != pod.uid or newest.deleting or newest.spec.node_name):
            return
        about = typed(Pod, pod.tree, frozen=True)
        self._events.warning("FailedScheduling", f"binding to {node} failed: {error.message}", about=about)
        self._queue.back_off(waiting, self._clock.now())
        self._ticking.set()

    async def _report(self, pod: PodInfo, why: Unschedulable) -> None:
        """Say in the Pod, once, why it has no node."""
        conditions = (pod.tree.get("status") or {}).get("conditions") or []
        before: Tree = next((c for c in conditions if c.get("type") == "PodScheduled"), {})
        if (before.get("reason"), before.get("message")) == ("Unschedulable", why.message):
            return
        about = typed(Pod, pod.tree, frozen=True)
        moved = before.get("lastTransitionTime") if before.get("status") == "False" else None
        condition = {
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why.message,
            "lastTransitionTime": moved or timestamp(self._clock.now()),
            "observedGeneration": pod.tree["metadata"].get("generation", 1),
        }  # fmt: skip
        others = [c for c in conditions if c.get("type") != "PodScheduled"]
        try:
            with because(pod.tree, by="report"):
                await self._cluster.patch(about, {"status": {"conditions": [*others, condition]}}, subresource="status")
        except NotFoundError:
            return  # it was deleted while we looked for a node
        except ApiError as error:
            self._events.warning("FailedScheduling", f"the Pod's condition could not be written: {error.message}", about=about)
            return
        self._events.warning("FailedScheduling", why.message, about=about)

    async def _make_room(self, pod: PodInfo) -> None:
        """Have less important Pods end where that lets this one in; it is tried again when they are gone."""
        budgets = [tree_of(budget) for budget in await self._cluster.list(PodDisruptionBudget)]
        waits = self._nominations.node_of(pod.uid)
        if self._state.place_of(pod.uid) is not None or (waits and self._somebody_ends_on(waits, pod.priority)):
            return
        with self._nominations.reserved(self._state, pod):
            choice = self._preemption.choose(pod, budgets)
        if choice is None:
            self._nominations.drop(pod.uid)
            return
        self._nominations.set(pod, choice.node)
        for other in self._nominations.displaced(choice.node, pod.priority):
            self._nominations.drop(other.uid)
        about = typed(Pod, pod.tree, frozen=True)
        try:
            with because(pod.tree, by="preempt"):
                await self._cluster.patch(about, {"status": {"nominatedNodeName": choice.node}}, subresource="status")
                await asyncio.gather(*(self._end(victim, pod, choice.node) for victim in choice.victims))
        except ApiError as error:
            self._nominations.drop(pod.uid)
            if not isinstance(error, NotFoundError):
                text = f"room could not be made on {choice.node}: {error.message}"
                self._events.warning("FailedScheduling", text, about=about)
                self._helped("pod-gone", None)

    def _somebody_ends_on(self, node: str, priority: int) -> bool:
        info = self._state.nodes.get(node)
        return info is not None and any(p.uid in self._ending and p.priority < priority for p in info.pods.values())

    async def _end(self, victim: PodInfo, preemptor: PodInfo, node: str) -> None:
        """Delete a Pod, and say in it why."""
        self._ending.add(victim.uid)
        about = typed(Pod, victim.tree, frozen=True)
        why = {
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": f"{self._name}: preempting to accommodate a higher priority pod",
        }  # fmt: skip
        try:
            newest = await self._cluster.fresh(Pod, victim.name, victim.namespace)
            if newest.uid != victim.uid or newest.deleting:
                return
            conditions = with_condition(tree_of(newest).get("status", {}).get("conditions"), why, self._clock.now())
            await self._cluster.patch(newest, {"status": {"conditions": conditions}}, subresource="status")
            await self._cluster.delete(newest)
        except NotFoundError:
            return  # it is gone already
        except ApiError:
            self._ending.discard(victim.uid)
            raise
        self._events.normal("Preempted", f"Preempted by pod {preemptor.uid} on node {node}", about=about)
