"""The objects that simulated nodes write: Node, Lease, and the status of Pods at each turn of their lives.

Addresses are told by number: nodes live in 10.64.0.0/11, Pods in 10.128.0.0/9.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from reconcile.clock import timestamp, timestamp_micro
from reconcile.errors import Tree

LEASE_NAMESPACE = "kube-node-lease"
MISSING_TAG = ":non-existent"
"""Such an image cannot be pulled; tests of rollouts that must not finish use one."""
PREFIX = "reconcile.dev/sim-"
_NODES = int(ipaddress.IPv4Address("10.64.0.1"))
_KILLED = 137
_PODS = int(ipaddress.IPv4Address("10.128.0.1"))


def host_ip(number: int) -> str:
    """The address of a node."""
    return str(ipaddress.IPv4Address(_NODES + number))


def pod_ip(number: int) -> str:
    """The address of a Pod."""
    return str(ipaddress.IPv4Address(_PODS + number))


def pod_ip_number(address: str) -> int:
    """The number behind a Pod's address."""
    return int(ipaddress.IPv4Address(address)) - _PODS


def node_tree(name: str, labels: Mapping[str, str]) -> Tree:
    """A Node before it reports."""
    own = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "simulated"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**own, **labels}},
        "spec": {"providerID": f"simulated://{name}"},
    }


def node_status(name: str, number: int, cpu: str, memory: str, pods: str, now_s: float) -> Tree:
    """What a healthy node reports."""
    now = timestamp(now_s)
    offers = {"cpu": cpu, "memory": memory, "pods": pods}

    def condition(type_: str, status: str, reason: str, message: str) -> Tree:
        return {
            "type": type_, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }  # fmt: skip

    return {
        "capacity": offers,
        "allocatable": dict(offers),
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "the node is simulated"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "the node is simulated"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "the node is simulated"),
            condition("Ready", "True", "KubeletReady", "the node is simulated"),
        ],
        "addresses": [{"type": "InternalIP", "address": host_ip(number)}, {"type": "Hostname", "address": name}],
        "nodeInfo": {
            "machineID": name, "systemUUID": name, "bootID": name, "kernelVersion": "", "osImage": "simulated",
            "containerRuntimeVersion": "simulated://0", "kubeletVersion": "v1.36.0-reconcile", "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": "amd64",
        },
    }  # fmt: skip


def lease_tree(name: str, lease_s: int, now_s: float, node: Tree | None = None) -> Tree:
    """A node's Lease, renewed now; it goes with the `node`, if there is one."""
    now = timestamp_micro(now_s)
    spec = {"holderIdentity": name, "leaseDurationSeconds": lease_s, "acquireTime": now, "renewTime": now}
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]} if node is not None else None
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, **({"ownerReferences": [owner]} if owner else {})},
        "spec": spec,
    }


def running_status(pod: Tree, host: str, ip: str, restarts: int, ready: bool, now_s: float) -> Tree:
    """The status of a Pod whose containers run: all that is to be written, in one patch."""
    now = timestamp(now_s)
    running = next(
        (c["state"] for c in (pod.get("status") or {}).get("containerStatuses") or () if "running" in c["state"]), None
    )
    state = running or {"running": {"startedAt": now}}
    return {
        "phase": "Running",
        "observedGeneration": pod["metadata"].get("generation", 1),
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": (pod.get("status") or {}).get("startTime") or now,
        "conditions": _conditions(pod, ready, now, "" if ready else "ContainersNotReady"),
        "containerStatuses": _containers(pod, state, restarts, ready),
        **_beside(pod, now, runs=True),
    }


def should_be_ready(pod: Tree) -> bool:
    """Whether a running Pod is ready: its annotation does not forbid it, and all its readiness gates are True."""
    if (pod["metadata"].get("annotations") or {}).get(f"{PREFIX}ready") == "false":
        return False
    gates = (pod.get("spec") or {}).get("readinessGates")
    if not gates:
        return True
    true = {c["type"] for c in (pod.get("status") or {}).get("conditions") or () if c["status"] == "True"}
    return all(gate["conditionType"] in true for gate in gates)


def has_seen(pod: Tree) -> bool:
    """Whether the Pod's status is about its newest spec."""
    return bool((pod.get("status") or {}).get("observedGeneration") == pod["metadata"].get("generation", 1))


def has_new_image(pod: Tree) -> bool:
    """Whether a container is to run another image than the one that its status names."""
    images = {c["name"]: c.get("image", "") for c in (pod.get("status") or {}).get("containerStatuses") or ()}
    return any(images.get(c["name"]) != c.get("image", "") for c in (pod.get("spec") or {}).get("containers") or ())


def is_ready(pod: Tree) -> bool:
    """Whether the Pod's status says that it is ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def ended_status(pod: Tree, code: int, restarts: int, now_s: float) -> Tree:
    """The status of a Pod whose containers ended for good."""
    now = timestamp(now_s)
    state = _terminated(pod, code, now)
    return {
        "phase": "Succeeded" if code == 0 else "Failed",
        "startTime": (pod.get("status") or {}).get("startTime") or now,
        "conditions": _conditions(pod, False, now, "PodCompleted" if code == 0 else "PodFailed"),
        "containerStatuses": _containers(pod, state, restarts, False),
        **_beside(pod, now, runs=False),
    }


def unpulled_status(pod: Tree, host: str, restarts: int, now_s: float) -> Tree:
    """The status of a Pod that waits for an image which no registry has; what ran of it before is gone."""
    now = timestamp(now_s)
    image = next(iter(missing_images(pod)), "")
    waiting = {"waiting": {"reason": "ErrImagePull", "message": f'failed to pull image "{image}": not found'}}
    return {
        "phase": "Pending",
        "observedGeneration": pod["metadata"].get("generation", 1),
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "startTime": (pod.get("status") or {}).get("startTime") or now,
        "conditions": _conditions(pod, False, now, "ContainersNotReady"),
        "containerStatuses": _containers(pod, waiting, restarts, False),
    }


def missing_images(pod: Tree) -> list[str]:
    """The images of the Pod's containers that no registry has: those with the tag `non-existent`."""
    images = [c.get("image") or "" for c in (pod.get("spec") or {}).get("containers") or ()]
    return [image for image in images if image.endswith(MISSING_TAG)]


def deadline_status(pod: Tree, restarts: int, now_s: float) -> Tree:
    """The status of a Pod that was active for longer than its activeDeadlineSeconds: its containers are killed."""
    return {
        **ended_status(pod, _KILLED, restarts, now_s), "phase": "Failed", "reason": "DeadlineExceeded",
        "message": "Pod was active on the node longer than the specified deadline",
    }  # fmt: skip  # one field a word reads better packed


def crashed_status(pod: Tree, code: int, restarts: int, now_s: float) -> Tree:
    """The status of a Pod whose containers ended and wait to be started again."""
    now = timestamp(now_s)
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}
    last = _terminated(pod, code, now)
    return {
        "conditions": _conditions(pod, False, now, "ContainersNotReady"),
        "containerStatuses": [{**c, "lastState": last} for c in _containers(pod, waiting, restarts, False)],
    }


def _terminated(pod: Tree, code: int, now: str) -> Tree:
    reason = "Completed" if code == 0 else "Error"
    started = (pod.get("status") or {}).get("startTime") or now
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now}}


def _conditions(pod: Tree, ready: bool, now: str, reason: str) -> list[Tree]:
    """Ready and ContainersReady as told, the rest True; a transition time moves with its status only."""
    before = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    wanted = {"PodReadyToStartContainers": True, "Initialized": True, "Ready": ready, "ContainersReady": ready}
    generation = pod["metadata"].get("generation", 1)
    made = [{**c, "observedGeneration": generation} if name == "PodScheduled" else c
            for name, c in before.items() if name not in wanted]  # fmt: skip
    for name, value in wanted.items():
        status = "True" if value else "False"
        old = before.get(name)
        moved = old["lastTransitionTime"] if old and old["status"] == status and old.get("lastTransitionTime") else now
        condition = {"type": name, "status": status, "lastTransitionTime": moved, "observedGeneration": generation}
        made.append(condition if value or not reason else {**condition, "reason": reason})
    return made


def _beside(pod: Tree, now: str, *, runs: bool) -> Tree:
    """The statuses of containers that are no main ones, where the Pod has some: sidecars and ephemeral ones run as long as it."""
    spec, uid = pod.get("spec") or {}, pod["metadata"].get("uid", "")
    made: Tree = {}
    for part, statuses in (("initContainers", "initContainerStatuses"), ("ephemeralContainers", "ephemeralContainerStatuses")):
        if not spec.get(part):
            continue
        before = {c["name"]: c for c in (pod.get("status") or {}).get(statuses) or ()}
        made[statuses] = []
        for container in spec[part]:
            lasts = part == "ephemeralContainers" or container.get("restartPolicy") == "Always"
            turn = "running" if lasts and runs else "terminated"
            state = {"running": {"startedAt": now}} if turn == "running" else _terminated(pod, 0, now)
            known = (before.get(container["name"]) or {}).get("state") or {}
            made[statuses].append(
                {
                    "name": container["name"], "image": container.get("image", ""), "imageID": container.get("image", ""),
                    "containerID": f"simulated://{uid}/{container['name']}/0", "restartCount": 0,
                    # An ephemeral container is never ready; an initial one is when it came to its end.
                    "ready": part == "initContainers" and (turn == "terminated" or runs), "started": turn == "running",
                    "state": known if turn in known else state, "lastState": {},
                }
            )  # fmt: skip
    return made


def _containers(pod: Tree, state: Tree, restarts: int, ready: bool) -> list[Tree]:
    uid = pod["metadata"].get("uid", "")
    return [
        {
            "name": container["name"], "image": container.get("image", ""), "imageID": container.get("image", ""),
            "containerID": f"simulated://{uid}/{container['name']}/{restarts}", "restartCount": restarts,
            "ready": ready, "started": "running" in state, "state": state, "lastState": {}, **_allocated(container),
        }
        for container in (pod.get("spec") or {}).get("containers") or ()
    ]  # fmt: skip


def _allocated(container: Tree) -> Tree:
    """What the node gives a container: all that it asks for, at once, when it asks for something else, too."""
    resources = container.get("resources")
    if not resources:
        return {}
    requests = resources.get("requests")
    return {"resources": resources, **({"allocatedResources": requests} if requests else {})}
