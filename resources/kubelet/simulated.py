"""Many nodes that run nothing: Pods bound to them become Running, end and disappear as real ones would.

One component plays all nodes. It hears of Pods through one stream of events, keeps what is due in one heap, and writes with
a bounded number of writers; a thousand idle nodes cost their lease renewals and nothing else. What a Pod does is said in
its annotations: `reconcile.dev/sim-start-s` (how long it takes to start), `sim-stop-s` (how long it takes to end once it is
deleted, within its grace), `sim-run-s` (how long it runs; for ever otherwise), `sim-exit-code` (what it then ends with),
`sim-ready` ("false": it runs and is not ready until that is taken away), `sim-cpu` and `sim-memory` (what each of its
containers uses; see `simulated_usage`). An image with the tag `non-existent` cannot be pulled.

Source: the idea is kwok's (https://kwok.sigs.k8s.io)
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Mapping

import attrs

from reconcile.causality import because
from reconcile.clock import Clock, parse_timestamp
from reconcile.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import typed
from reconcile.registry import Operator
from reconcile.resources.coordination import Lease
from reconcile.resources.core import Namespace, Node, Pod
from reconcile.views import tree_of

from .admission import NodeAdmission
from .simulated_objects import (
    LEASE_NAMESPACE,
    PREFIX,
    crashed_status,
    deadline_status,
    ended_status,
    has_new_image,
    has_seen,
    host_ip,
    is_ready,
    lease_tree,
    missing_images,
    node_status,
    node_tree,
    pod_ip,
    pod_ip_number,
    running_status,
    should_be_ready,
    unpulled_status,
)

log = logging.getLogger(__name__)

STOP_S = 0.5
"""How long containers take to end: about what a server that heeds SIGTERM needs, and enough for others to see it."""
_WRITERS = 64
_DEADLINE = "deadline"
_FINISHED = ("Succeeded", "Failed")
_RETRY_S = 1.0
_CONFLICT_S = 0.05
_CRASH_DELAY_S_FIRST, _CRASH_DELAY_S_MAX = 10.0, 300.0


@attrs.frozen
class Faults:
    """What goes wrong on purpose; shares are from 0 to 1."""

    slow_start_share: float = 0.0
    slow_start_s: float = 30.0
    failed_start_share: float = 0.0
    silent_nodes: frozenset[str] = frozenset()
    """Nodes that renew no lease and start no Pod."""


@attrs.frozen
class SimulatedSettings:
    """How the nodes are and how they behave.

    A start takes from `start_s` to `start_s + start_jitter_s`, drawn by the clock. A running Pod that is deleted ends after
    `stop_s`, or after its grace where that is shorter: at once, and no watcher could tell that it was Terminating.
    """

    count: int
    prefix: str = "sim-"
    cpu: str = "32"
    memory: str = "256Gi"
    pods: str = "110"
    labels: Mapping[str, str] = attrs.field(factory=dict)
    zones: int = 0
    start_s: float = 0.0
    start_jitter_s: float = 0.0
    stop_s: float = STOP_S
    lease_s: int = 40
    faults: Faults = Faults()

    def name(self, number: int) -> str:
        """The name of the node of that number, from 0."""
        return f"{self.prefix}{number}"


@attrs.define(eq=False)
class _Run:
    """A Pod on one of the nodes. `step` is what is due next; an entry of the agenda for another step is void."""

    tree: Tree
    node: int
    step: str = ""
    restarts: int = 0
    ip: str = ""
    stops_at_s: float = float("inf")
    ends_at_s: float = float("inf")
    """When its activeDeadlineSeconds are over, in the clock's time."""

    @property
    def stopping(self) -> bool:
        """Whether it was deleted: from then on, its end is all that is planned."""
        return self.stops_at_s < float("inf")


def simulated_nodes(
    count: int,
    prefix: str = "sim-",
    *,
    cpu: str = "32",
    memory: str = "256Gi",
    pods: str = "110",
    labels: Mapping[str, str] | None = None,
    zones: int = 0,
    start_s: float = 0.0,
    start_jitter_s: float = 0.0,
    stop_s: float = STOP_S,
    lease_s: int = 40,
    faults: Faults | None = None,
) -> Operator:
    """The operator that plays `count` nodes named `<prefix>0`, `<prefix>1` ... See `SimulatedSettings` for the options."""
    settings = SimulatedSettings(
        count, prefix, cpu, memory, pods, dict(labels or {}), zones, start_s, start_jitter_s, stop_s, lease_s,
        faults or Faults(),
    )  # fmt: skip
    app = Operator("simulated-nodes")
    fleet = _Fleet(settings)

    @app.on.startup()
    async def start(cluster: Cluster, clock: Clock, events: EventRecorder) -> None:
        fleet.start(cluster, clock, events)

    @app.on.event(Pod, inline=True)
    def saw_pod(pod: Pod, event: str) -> None:
        fleet.saw_pod(tree_of(pod), event == "DELETED")

    @app.on.event(Node, inline=True)
    def saw_node(node: Node, event: str) -> None:
        if event != "DELETED":
            fleet.saw_node(tree_of(node))

    app.serve(Lease, Namespace)
    return app


class _Fleet:
    """All simulated nodes of one operator."""

    def __init__(self, settings: SimulatedSettings) -> None:
        self._settings = settings
        self._numbers = {settings.name(number): number for number in range(settings.count)}

    def start(self, cluster: Cluster, clock: Clock, events: EventRecorder) -> None:
        """Register the nodes and begin to run Pods."""
        self._cluster, self._clock, self._events = cluster, clock, events
        self._admission = NodeAdmission()
        self._chance = clock.random
        self._runs: dict[str, _Run] = {}
        self._agenda: list[tuple[float, int, str, str]] = []
        self._sequence = 0
        self._alarm_s = float("inf")
        self._ips: set[int] = set()
        self._next_ip = 0
        self._due: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        for number in range(_WRITERS):
            cluster.spawn(self._work(), f"work-{number}")
        cluster.spawn(self._register(), "register")

    def saw_pod(self, tree: Tree, gone: bool) -> None:
        """One change of any Pod. O(1) for the Pods of other nodes."""
        number = self._numbers.get((tree.get("spec") or {}).get("nodeName") or "")
        if number is None or self._settings.name(number) in self._settings.faults.silent_nodes:
            return
        meta, status = tree["metadata"], tree.get("status") or {}
        uid, phase = meta["uid"], status.get("phase", "Pending")
        if gone:
            self._admission.release(uid)
            run = self._runs.pop(uid, None)
            if run is not None and run.ip:
                self._ips.discard(pod_ip_number(run.ip))
            return
        run = self._runs.get(uid)
        if run is None:
            run = self._runs[uid] = self._resumed(tree, number, status)
            if self._admission.admit(tree) is not None:
                self._plan(uid, run, "reject", 0.0)
        elif phase in _FINISHED or tree["spec"] is not run.tree["spec"]:
            self._admission.count(tree)
        run.tree = tree
        if "activeDeadlineSeconds" in tree["spec"] and phase not in _FINISHED:
            self._plan_deadline(uid, run)
        if meta.get("deletionTimestamp"):
            self._plan_stop(uid, run, phase)
        elif phase == "Pending" and (not run.step or (run.step == "unpulled" and not has_seen(tree))):
            self._plan(uid, run, "run", self._start_delay_s(tree))
        elif phase == "Running" and not run.step:
            self._plan_end(uid, run)
        elif phase == "Running" and run.step == "running" and (should_be_ready(tree) != is_ready(tree) or not has_seen(tree)):
            run.restarts += has_new_image(tree)
            self._plan(uid, run, "run", 0.0)

    def saw_node(self, tree: Tree) -> None:
        """One change of any Node: what it offers may be otherwise now."""
        if tree["metadata"]["name"] in self._numbers:
            self._admission.describe(tree)

    async def _reject(self, uid: str, run: _Run) -> None:
        """Fail a Pod for which its node has no room, if the server says so, too."""
        rejection = await self._admission.judge_again(run.tree, self._cluster.client)
        if run.stopping:
            return
        if rejection is None:
            self._plan(uid, run, "run", self._start_delay_s(run.tree))
            return
        run.step = "ended"
        await self._report(run, rejection.status(run.tree, self._clock.now()))
        self._events.warning(rejection.reason, rejection.why, about=typed(Pod, run.tree))

    def _plan_deadline(self, uid: str, run: _Run) -> None:
        """Have the Pod fail when it was active for too long; that holds beside whatever else is due."""
        started = (run.tree.get("status") or {}).get("startTime")
        began_s = parse_timestamp(started) if started else self._clock.now()
        ends_at_s = began_s + float(run.tree["spec"]["activeDeadlineSeconds"])
        if abs(ends_at_s - run.ends_at_s) > 1:  # a startTime has whole seconds
            run.ends_at_s = ends_at_s
            self._remind(uid, _DEADLINE, ends_at_s - self._clock.now())

    def _plan_stop(self, uid: str, run: _Run, phase: str) -> None:
        """Have the Pod go when its containers have ended; a grace that got shorter makes that earlier, and nothing later."""
        after_s = 0.0
        if phase == "Running":
            told_s = _annotated(run.tree, "stop-s")
            stop_s = self._settings.stop_s if told_s is None else told_s
            after_s = min(stop_s, float(run.tree["metadata"].get("deletionGracePeriodSeconds") or 0))
        now_s = self._clock.monotonic()
        if now_s + after_s < run.stops_at_s:
            run.stops_at_s = now_s + after_s
        elif run.step == "delete":
            return
        self._plan(uid, run, "delete", run.stops_at_s - now_s)

    def _resumed(self, tree: Tree, number: int, status: Tree) -> _Run:
        run = _Run(tree, number)
        if status.get("podIP"):
            run.ip = status["podIP"]
            self._ips.add(pod_ip_number(run.ip))
        run.restarts = max((c.get("restartCount", 0) for c in status.get("containerStatuses") or ()), default=0)
        return run

    def _start_delay_s(self, tree: Tree) -> float:
        settings, faults = self._settings, self._settings.faults
        delay_s = _annotated(tree, "start-s")
        if delay_s is None:
            delay_s = settings.start_s + settings.start_jitter_s * self._chance.random()
        if faults.slow_start_share and self._chance.random() < faults.slow_start_share:
            delay_s += faults.slow_start_s
        return delay_s

    def _plan(self, uid: str, run: _Run, step: str, after_s: float) -> None:
        run.step = step
        self._remind(uid, step, after_s)

    def _remind(self, uid: str, step: str, after_s: float) -> None:
        if after_s <= 0:
            self._due.put_nowait((uid, step))
            return
        at_s = self._clock.monotonic() + after_s
        self._sequence += 1
        heapq.heappush(self._agenda, (at_s, self._sequence, uid, step))
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Have somebody wait for the first entry, unless somebody waits for that or an earlier one already."""
        if self._agenda and self._agenda[0][0] < self._alarm_s:
            self._alarm_s = self._agenda[0][0]
            self._cluster.spawn(self._ring(self._alarm_s), "alarm")

    async def _ring(self, at_s: float) -> None:
        await self._clock.sleep(at_s - self._clock.monotonic())
        if at_s != self._alarm_s:
            return  # an earlier alarm was set meanwhile; it set the next one, too
        self._alarm_s = float("inf")
        now_s = self._clock.monotonic()
        while self._agenda and self._agenda[0][0] <= now_s:
            _, _, uid, step = heapq.heappop(self._agenda)
            self._due.put_nowait((uid, step))
        self._set_alarm()

    async def _work(self) -> None:
        while True:
            uid, step = await self._due.get()
            run = self._runs.get(uid)
            if run is None or (run.step != step and step != _DEADLINE):
                continue
            try:
                with because(run.tree, by="run"):
                    await self._take_step(uid, run, step)
            except NotFoundError:
                self._runs.pop(uid, None)
            except ConflictError:
                self._try_again(uid, run, step, _CONFLICT_S)  # the newer state is on its way
            except ApiError:
                self._try_again(uid, run, step, _RETRY_S)

    def _try_again(self, uid: str, run: _Run, step: str, after_s: float) -> None:
        """Have a step done again that failed, unless the Pod is to go by now: that is planned already."""
        if step == "delete" or not run.stopping:
            self._plan(uid, run, step, after_s)

    async def _report(self, run: _Run, status: Tree) -> None:
        """Write a Pod's status, on condition that it is this Pod and as it was last seen: a name may be another's by now."""
        meta = run.tree["metadata"]
        guard = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        await self._cluster.patch(typed(Pod, run.tree), {"metadata": guard, "status": status}, subresource="status")

    async def _take_step(self, uid: str, run: _Run, step: str) -> None:
        if step == "delete":
            await self._cluster.delete(typed(Pod, run.tree), grace_s=0)
            return
        if run.stopping:
            return  # nothing but its end is to come
        if (run.tree.get("status") or {}).get("phase") in _FINISHED:
            run.step = "ended"  # an earlier life of this fleet has seen to it
            return
        if step == "reject":
            await self._reject(uid, run)
            return
        now_s, node = self._clock.now(), host_ip(run.node)
        if step == _DEADLINE:
            if now_s >= run.ends_at_s:
                run.step = "ended"
                await self._report(run, deadline_status(run.tree, run.restarts, now_s))
            return
        if step == "end":
            await self._end(uid, run)
            return
        if missing_images(run.tree):
            run.step = "unpulled"
            await self._report(run, unpulled_status(run.tree, node, run.restarts, now_s))
            return
        if not run.ip:
            run.ip = self._new_ip()
        faults = self._settings.faults
        if faults.failed_start_share and self._chance.random() < faults.failed_start_share:
            run.step = "ended"
            await self._report(run, ended_status(run.tree, 128, run.restarts, now_s))
            return
        ready = should_be_ready(run.tree)
        run.step = "running"
        status = running_status(run.tree, node, run.ip, run.restarts, ready, now_s)
        await self._report(run, status)
        if run.step == "running":
            self._plan_end(uid, run)

    def _plan_end(self, uid: str, run: _Run) -> None:
        run_s, code = _annotated(run.tree, "run-s"), _annotated(run.tree, "exit-code")
        if run_s is not None or code is not None:
            self._plan(uid, run, "end", run_s or 0.0)
        else:
            run.step = "running"

    async def _end(self, uid: str, run: _Run) -> None:
        """The containers exit: the Pod is finished, or starts again after a while, as its restartPolicy says."""
        code, now_s = int(_annotated(run.tree, "exit-code") or 0), self._clock.now()
        policy = (run.tree.get("spec") or {}).get("restartPolicy", "Always")
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            run.step = "ended"
            await self._report(run, ended_status(run.tree, code, run.restarts, now_s))
            return
        delay_s = min(_CRASH_DELAY_S_FIRST * 2**run.restarts, _CRASH_DELAY_S_MAX)
        run.restarts += 1
        run.step = "crashed"
        await self._report(run, crashed_status(run.tree, code, run.restarts, now_s))
        if run.step == "crashed":
            self._plan(uid, run, "run", delay_s)

    def _new_ip(self) -> str:
        while self._next_ip in self._ips:
            self._next_ip += 1
        self._ips.add(self._next_ip)
        self._next_ip += 1
        return pod_ip(self._next_ip - 1)

    # The nodes themselves.

    async def _register(self) -> None:
        namespace = typed(Namespace, {"metadata": {"name": LEASE_NAMESPACE}})
        await self._insist(lambda: self._make(namespace))
        turns = asyncio.Semaphore(_WRITERS)

        async def register(number: int) -> None:
            async with turns:
                await self._insist(lambda: self._register_one(number))

        await asyncio.gather(*(register(number) for number in range(self._settings.count)))
        await self._renew_leases()

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it again until the server takes it: a node that failed to register once would be missing for ever."""
        while True:
            try:
                await act()
                return
            except ApiError as error:
                log.warning("a simulated node could not register, again in %g s: %s", _RETRY_S, error)
                await self._clock.sleep(_RETRY_S)

    async def _register_one(self, number: int) -> None:
        settings, now_s = self._settings, self._clock.now()
        name = settings.name(number)
        labels = dict(settings.labels)
        if settings.zones:
            labels["topology.kubernetes.io/zone"] = f"zone-{number % settings.zones}"
        status = node_status(name, number, settings.cpu, settings.memory, settings.pods, now_s)
        # At once with its status: until a node says that it is ready, it is tainted.
        tree = {**node_tree(name, labels), "status": status}
        self._admission.describe(tree)
        node = typed(Node, tree)
        try:
            await self._cluster.create(node)
        except AlreadyExistsError:
            await self._cluster.patch(node, {"status": status}, subresource="status")
        await self._make(typed(Lease, await self._lease(name, now_s)))

    async def _lease(self, name: str, now_s: float) -> Tree:
        """A new Lease, which the collector takes when its Node is deleted."""
        try:
            node = tree_of(await self._cluster.fresh(Node, name))
        except NotFoundError:
            node = None
        return lease_tree(name, self._settings.lease_s, now_s, node)

    async def _make(self, obj: Namespace | Lease) -> None:
        try:
            await self._cluster.create(obj)
        except AlreadyExistsError:
            return  # from an earlier run: what is there is taken over

    async def _renew_leases(self) -> None:
        """Renew every lease at three quarters of its time, give or take a tenth, so that they do not come in waves."""
        period_s = self._settings.lease_s * 0.75
        heap = [(self._clock.monotonic() + period_s * self._chance.uniform(0.1, 1.0), n) for n in range(self._settings.count)]
        heapq.heapify(heap)
        while heap:
            due_s, number = heap[0]
            await self._clock.sleep(due_s - self._clock.monotonic())
            heapq.heapreplace(heap, (self._clock.monotonic() + period_s * self._chance.uniform(0.9, 1.1), number))
            name = self._settings.name(number)
            if name in self._settings.faults.silent_nodes:
                continue
            tree = lease_tree(name, self._settings.lease_s, self._clock.now())
            try:
                await self._cluster.patch(typed(Lease, tree), {"spec": {"renewTime": tree["spec"]["renewTime"]}})
            except NotFoundError:
                await self._make(typed(Lease, await self._lease(name, self._clock.now())))
            except ApiError:
                continue  # the next renewal comes before the lease runs out


def _annotated(tree: Tree, name: str) -> float | None:
    """A number from one of the simulation's annotations; what is no number counts as absent."""
    text = (tree["metadata"].get("annotations") or {}).get(PREFIX + name)
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
