"""What `up` and `status` show, computed from plain objects: rollouts, pods, services, problems.

Pure: objects in, rows out. `Scene` keeps the objects and says what changed in words; `live` and `plain` draw it.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from reconcile.errors import Tree

Key = tuple[str, str]


ROLLED_OUT = ("Deployment", "StatefulSet", "DaemonSet", "Job")
"""Kinds that have Pods, and say how far they are."""


@attrs.frozen
class Rollout:
    """How far a workload is: pods of the newest template that are available, of those wanted; `old` ones still there.

    Of a Job, those that succeeded are counted, and it is done as long as it has not failed.
    """

    namespace: str
    name: str
    wanted: int
    updated: int
    available: int
    old: int
    done: bool
    stuck: str = ""
    kind: str = "Deployment"

    @property
    def title(self) -> str:
        """`deployment/web`, with the namespace where it is not the default one."""
        name = self.name if self.namespace == "default" else f"{self.namespace}/{self.name}"
        return f"{self.kind.lower()}/{name}"

    @property
    def word(self) -> str:
        """What is counted."""
        return "succeeded" if self.kind == "Job" else "available"

    @property
    def progress(self) -> str:
        """`2/3 available`; in the middle of a rollout also how many are new, because old ones are available too."""
        said = f"{self.available}/{self.wanted} {self.word}"
        return said if self.done or not self.old else f"{said}, {min(self.updated, self.wanted)} new, {self.old} old"


@attrs.frozen
class PodRow:
    """A pod as the tables show it."""

    namespace: str
    name: str
    ready: str
    status: str
    restarts: str
    created: str
    address: str
    message: str = ""

    @property
    def well(self) -> bool:
        """Whether nobody needs to look at it."""
        return self.status in ("Completed", "Succeeded") or (self.status == "Running" and _all_ready(self.ready))


@attrs.frozen
class ServiceRow:
    """A Service: where it listens, and how many pods stand behind it."""

    namespace: str
    name: str
    addresses: str
    ready: int


def _all_ready(ready: str) -> bool:
    have, _, want = ready.partition("/")
    return have == want


def rollout_of(tree: Tree, kind: str = "Deployment") -> Rollout:
    """A workload's progress, by the rules of `kubectl rollout status`."""
    metadata, spec, status = tree["metadata"], tree.get("spec", {}), tree.get("status", {})
    wanted, updated, available, old = _counts(kind, spec, status)
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0) or kind == "Job"
    stuck = next((c.get("message", c.get("reason", "")) for c in status.get("conditions", ()) if _is_stuck(c)), "")
    done = seen and updated >= wanted and old == 0 and available >= wanted
    if kind == "Job":
        done = not stuck
    return Rollout(
        metadata.get("namespace", ""), metadata["name"], wanted, updated, min(available, wanted), old, done,
        "" if done else stuck, kind,
    )  # fmt: skip


def _counts(kind: str, spec: Tree, status: Tree) -> tuple[int, int, int, int]:
    """Pods wanted, of the newest template, available, and old."""
    if kind == "Job":
        succeeded = status.get("succeeded", 0)
        return spec.get("completions") or 1, succeeded, succeeded, 0
    if kind == "DaemonSet":
        updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
        return (
            status.get("desiredNumberScheduled", 0),
            updated,
            available,
            max(0, status.get("currentNumberScheduled", 0) - updated),
        )
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    wanted, there = spec.get("replicas", 1), status.get("replicas", 0)
    kept = min(((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0, wanted)
    if kept or (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        updated = there  # what stays as it is on purpose is not old
    return wanted, updated, available, max(0, there - updated)


def _is_stuck(condition: Tree) -> bool:
    """Whether a condition says that nothing goes on by itself."""
    name, status = condition["type"], condition["status"]
    return (name == "Progressing" and status == "False") or (name in ("ReplicaFailure", "Failed") and status == "True")


def pod_row(tree: Tree, cells: list[object]) -> PodRow:
    """A Pod's row, from its printer cells: name, ready, status, restarts."""
    metadata, status = tree["metadata"], tree.get("status", {})
    return PodRow(
        metadata.get("namespace", ""), metadata["name"], str(cells[1]), str(cells[2]), str(cells[3]),
        metadata.get("creationTimestamp", ""), status.get("podIP", ""), why_not_well(tree),
    )  # fmt: skip


def why_not_well(tree: Tree) -> str:
    """One line on what keeps a pod from being ready, or an empty string."""
    status = tree.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if said := _container_trouble(container):
            return f"{container['name']}: {said}"
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))
    return str(status.get("message", ""))


def _container_trouble(container: Tree) -> str:
    """What keeps one container from running, or an empty string."""
    waiting = container.get("state", {}).get("waiting") or {}
    ended = (container.get("lastState" if waiting else "state", {}) or {}).get("terminated") or {}
    message = str(waiting.get("message", ""))
    if ended.get("exitCode"):
        told = str(ended.get("message") or "").strip().splitlines()
        said = f"exited with code {ended['exitCode']}" + (f": {told[-1]}" if told else "")
        # "back-off 20s restarting failed container=..." names the pod at length, which is known here.
        again = " ".join(message.split(" ")[:2]) if message.startswith("back-off") else ""
        return f"{said} ({again})" if again else said
    return message


def service_row(tree: Tree, slices: Iterable[Tree]) -> ServiceRow:
    """A Service's row; `slices` are its EndpointSlices."""
    metadata, spec = tree["metadata"], tree.get("spec", {})
    ip = spec.get("clusterIP", "")
    ports = spec.get("ports", ())
    addresses = (
        "headless" if ip == "None" else ", ".join(f"{ip}:{port['port']}" for port in ports) if ip else "waiting for an address"
    )
    ready = sum(
        1 for piece in slices for endpoint in piece.get("endpoints") or () if endpoint.get("conditions", {}).get("ready", True)
    )
    return ServiceRow(metadata.get("namespace", ""), metadata["name"], addresses, ready)


class Scene:
    """All objects that are shown, by kind; `put` and `drop` say in words what happened."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Key, Tree]] = {}

    def of(self, kind: str) -> list[Tree]:
        """The objects of a kind, by namespace and name."""
        return [tree for _, tree in sorted(self.objects.get(kind, {}).items())]

    def put(self, kind: str, tree: Tree) -> str:
        """Take in a new state of an object. Returns a line worth telling, or an empty string."""
        metadata = tree["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        shelf = self.objects.setdefault(kind, {})
        before, shelf[key] = shelf.get(key), tree
        if kind in ROLLED_OUT:
            return _rollout_line(before, tree, kind) if _is_shown(tree, kind) else ""
        if kind == "Event":
            return _event_line(before, tree)
        return ""

    def drop(self, kind: str, tree: Tree) -> str:
        """Forget a deleted object."""
        metadata = tree["metadata"]
        self.objects.get(kind, {}).pop((metadata.get("namespace", ""), metadata["name"]), None)
        return f"{kind.lower()}/{metadata['name']} is gone" if kind in ROLLED_OUT and _is_shown(tree, kind) else ""

    def rollouts(self) -> list[Rollout]:
        """Every workload's progress."""
        return [rollout_of(tree, kind) for kind in ROLLED_OUT for tree in self.of(kind) if _is_shown(tree, kind)]

    def services(self) -> list[ServiceRow]:
        """Every Service that somebody made (not the cluster's own)."""
        slices: dict[Key, list[Tree]] = {}
        for piece in self.of("EndpointSlice"):
            metadata = piece["metadata"]
            name = metadata.get("labels", {}).get("kubernetes.io/service-name", "")
            slices.setdefault((metadata.get("namespace", ""), name), []).append(piece)
        rows = []
        for tree in self.of("Service"):
            key = (tree["metadata"].get("namespace", ""), tree["metadata"]["name"])
            if key != ("default", "kubernetes"):
                rows.append(service_row(tree, slices.get(key, ())))
        return rows

    def problems(self) -> list[Tree]:
        """What is wrong with the watched folder's files."""
        return [problem for folder in self.of("Folder") for problem in folder.get("status", {}).get("problems", ())]

    def ready(self, pods_well: bool) -> bool:
        """Whether everything that was asked for is there: rollouts done, pods well, no problem in the folder."""
        return pods_well and all(rollout.done for rollout in self.rollouts()) and not self.problems()


def _is_shown(tree: Tree, kind: str) -> bool:
    """Not the Jobs that a CronJob makes: there is one every minute."""
    return kind != "Job" or not tree["metadata"].get("ownerReferences")


def _rollout_line(before: Tree | None, tree: Tree, kind: str) -> str:
    now = rollout_of(tree, kind)
    was = rollout_of(before, kind) if before is not None else None
    if kind == "Job" and now.available == now.wanted and (was is None or was.available < was.wanted):
        return f"{now.title} is complete: {now.available}/{now.wanted} succeeded"
    if kind != "Job" and now.done and (was is None or not was.done):
        return f"{now.title} is rolled out: {now.available}/{now.wanted} available"
    if now.stuck and (was is None or was.stuck != now.stuck):
        return f"{now.title} is stuck: {now.stuck}"
    if was is None or (was.available, was.updated, was.wanted) != (now.available, now.updated, now.wanted):
        return f"{now.title}: {now.progress}"
    return ""


def _event_line(before: Tree | None, tree: Tree) -> str:
    """Warnings are worth a line when they are new; that they happen again is counted, and `events` shows it."""
    if tree.get("type") != "Warning" or (before is not None and before.get("message") == tree.get("message")):
        return ""
    about = tree.get("involvedObject", {})
    if about.get("kind") == "Folder" or tree.get("reason") == "HandlerFailed":
        return ""  # told by the folder sync and the engine themselves, with more detail
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}: {tree.get('reason', '')}: {tree.get('message', '')}"
