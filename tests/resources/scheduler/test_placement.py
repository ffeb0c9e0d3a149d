"""Where Pods go, and what is said when they go nowhere."""

from __future__ import annotations

import random
from typing import Any

import pytest

from reconcile.resources.scheduler.demand import Demands, PodInfo, pod_requests
from reconcile.resources.scheduler.placement import Chooser, Unschedulable, default_plugins
from reconcile.resources.scheduler.ranking import Rankings
from reconcile.resources.scheduler.snapshot import ClusterState

DEMANDS = Demands()


def node(name: str, *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **more: Any) -> dict[str, Any]:
    """A Node; `labels`, `taints`, `unschedulable` and `ready` as told."""
    labels = {"kubernetes.io/hostname": name, **more.get("labels", {})}
    status: dict[str, Any] = {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}}
    if "ready" in more:
        status["conditions"] = [{"type": "Ready", "status": more["ready"]}]
    spec = {"taints": more.get("taints", []), "unschedulable": more.get("unschedulable", False)}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def pod(
    name: str = "p", *, cpu: str = "", memory: str = "", owner: str = "", labels: dict[str, str] | None = None, **spec: Any
) -> PodInfo:
    """A Pod that asks for so much."""
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    container: dict[str, Any] = {"name": "c", "resources": {"requests": requests}, "ports": spec.pop("ports", [])}
    meta = {
        "name": name, "namespace": "default", "uid": name, "labels": labels or {},
        "ownerReferences": [{"uid": owner, "controller": True}] if owner else [],
    }  # fmt: skip
    return DEMANDS.read({"metadata": meta, "spec": {"containers": [container], **spec}})


def cluster(*nodes: dict[str, Any]) -> ClusterState:
    """A cluster of these nodes, with no Pods."""
    state = ClusterState(random.Random(1).random)
    for tree in nodes:
        state.set_node(tree)
    return state


def place(state: ClusterState, info: PodInfo) -> str:
    """Where the Pod would go, or the message why nowhere."""
    answer = Chooser(default_plugins()).choose(info, state)
    fast = Rankings(state, default_plugins()).choose(info)
    assert fast == answer
    return answer.message if isinstance(answer, Unschedulable) else answer


def taint(key: str, value: str = "", effect: str = "NoSchedule") -> dict[str, str]:
    """A taint."""
    return {"key": key, "value": value, "effect": effect}


def node_affinity(**affinity: Any) -> dict[str, Any]:
    """A Pod spec's node affinity."""
    return {"nodeAffinity": affinity}


def test_a_message_counts_reasons_and_says_what_would_help() -> None:
    """The first lines are the reference's, word for word; the rest saves the user the search."""
    state = cluster(node("n1", cpu="500m"), node("n2", taints=[taint("a", "b")]), node("n3", unschedulable=True))
    state.add_pod(pod("x", cpu="250m"), "n1")
    assert place(state, pod(cpu="2")) == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {a: b}, 1 node(s) were unschedulable. "
        "Needs 2 cpu, largest free is 0.25 on n1; tolerate a:NoSchedule; uncordon n3."
    )
    assert place(cluster(), pod()) == "no nodes available to schedule pods"


def test_several_shortages_of_one_node_are_all_told() -> None:
    """Fixing one of them only to find the next is a nuisance."""
    state = cluster(node("n1", cpu="1", memory="1Gi", pods="0"))
    message = place(state, pod(cpu="2", memory="2Gi", nodeSelector={}))
    assert message.startswith("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods.")
    assert "needs 2Gi memory, largest free is 1Gi on n1" in message


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "plain"),
        ({"nodeSelector": {"disk": "ssd"}}, "ssd"),
        ({"nodeSelector": {"disk": "tape"}}, "0/3 nodes are available"),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}], "nodeSelector": {"gpu": "yes"}}, "gpu"),
        ({"nodeSelector": {"gpu": "yes"}}, "1 node(s) had untolerated taint {gpu: }, 2 node(s) didn't match"),
        (
            {
                "affinity": node_affinity(
                    requiredDuringSchedulingIgnoredDuringExecution={
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["tape"]}]},
                            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["ssd"]}]},
                        ]
                    }
                )
            },
            "ssd",
        ),
        (
            {
                "affinity": node_affinity(
                    preferredDuringSchedulingIgnoredDuringExecution=[
                        {"weight": 50, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
                    ]
                )
            },
            "ssd",
        ),
    ],
)  # fmt: skip
def test_selectors_affinity_and_taints_decide(spec: dict[str, Any], expected: str) -> None:
    """What a Pod says about nodes is honoured, and a wish only prefers."""
    state = cluster(
        node("plain", cpu="64", memory="128Gi"), node("ssd", labels={"disk": "ssd"}),
        node("gpu", labels={"gpu": "yes"}, taints=[taint("gpu")]),
    )  # fmt: skip
    assert expected in place(state, pod(**spec))


def test_a_node_that_is_not_ready_gets_no_pods() -> None:
    """Nobody need taint it first."""
    state = cluster(node("n1", ready="False"), node("n2", ready="True"), node("n3", ready="Unknown"))
    assert place(state, pod()) == "n2"
    state.remove_node("n2")
    assert "untolerated taint {node.kubernetes.io/not-ready: }" in place(state, pod())


def test_soft_taints_are_avoided_not_forbidden() -> None:
    """PreferNoSchedule."""
    state = cluster(node("soft", taints=[taint("x", effect="PreferNoSchedule")]), node("hard"))
    assert place(state, pod(cpu="1")) == "hard"
    state.add_pod(pod("big", cpu="4"), "hard")
    assert place(state, pod(cpu="1")) == "soft"


def test_host_ports_clash_per_address_and_protocol() -> None:
    """Two servers on one host port would not start."""
    state = cluster(node("n1"))
    state.add_pod(pod("a", ports=[{"hostPort": 80, "hostIP": "10.0.0.1", "protocol": "TCP"}]), "n1")
    assert place(state, pod(ports=[{"hostPort": 80, "hostIP": "10.0.0.2", "protocol": "TCP"}])) == "n1"
    assert place(state, pod(ports=[{"hostPort": 80, "protocol": "UDP"}])) == "n1"
    assert "didn't have free ports" in place(state, pod(ports=[{"hostPort": 80}]))


def test_the_emptier_node_wins_and_replicas_spread() -> None:
    """LeastAllocated, and the default spread of one controller's Pods."""
    state = cluster(node("n1"), node("n2"), node("n3"))
    state.add_pod(pod("a", cpu="2", memory="4Gi"), "n1")
    state.add_pod(pod("b", cpu="1", memory="2Gi"), "n2")
    assert place(state, pod(cpu="100m")) == "n3"
    state.add_pod(pod("r1", owner="rs"), "n3")
    state.add_pod(pod("r2", owner="rs"), "n2")
    assert place(state, pod("r3", owner="rs")) == "n1"


def test_hard_topology_spread_holds_its_skew() -> None:
    """maxSkew 1 over zones: the third Pod must not join the first two."""
    zones = {"a": {"topology.kubernetes.io/zone": "a"}, "b": {"topology.kubernetes.io/zone": "b"}}
    state = cluster(node("a1", labels=zones["a"], cpu="64", memory="128Gi"), node("b1", labels=zones["b"]), node("none"))
    constraint = {
        "topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }  # fmt: skip
    web: dict[str, Any] = {"labels": {"app": "web"}, "topologySpreadConstraints": [constraint]}
    state.add_pod(pod("w1", **web), "a1")
    assert place(state, pod("w2", **web)) == "b1"
    state.set_node(node("b1", labels=zones["b"], unschedulable=True))
    message = place(state, pod("w2", **web))
    assert "1 node(s) didn't match pod topology spread constraints," in message
    assert "1 node(s) didn't match pod topology spread constraints (missing required label)" in message


def test_pods_keep_near_and_far_in_both_directions() -> None:
    """Affinity, its first Pod, anti-affinity, and the anti-affinity of those that run already."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    far = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    state = cluster(node("n1"), node("n2", cpu="64", memory="128Gi"))
    assert "didn't match pod affinity rules" in place(state, pod("web", affinity=near))
    assert place(state, pod("db0", labels={"app": "db"}, affinity=near)) == "n2"
    state.add_pod(pod("db1", labels={"app": "db"}, affinity=far), "n1")
    assert place(state, pod("web", affinity=near)) == "n1"
    assert place(state, pod("db2", labels={"app": "db"}, affinity=far)) == "n2"
    assert place(state, pod("db3", labels={"app": "db"})) == "n2", "db1 shuns it"
    state.add_pod(pod("db2", labels={"app": "db"}), "n2")
    message = place(state, pod("db4", labels={"app": "db"}, affinity=far))
    assert "2 node(s) didn't match pod anti-affinity rules" in message
    wish = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}}
    state.remove_pod("db1")
    assert place(state, pod("any", affinity=wish)) == "n1"


def test_requests_count_sidecars_init_containers_and_overhead() -> None:
    """The reference's sum: sidecars run beside everything, init containers one after the other."""

    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("1"), container("500m")],
        "initContainers": [container("300m", restartPolicy="Always"), container("2"), container("100m", restartPolicy="Always")],
        "overhead": {"cpu": "50m"},
    }
    assert pod_requests(spec) == {"cpu": 2350}


def test_what_is_forgotten_frees_its_place() -> None:
    """A failed binding must not leak capacity."""
    state = cluster(node("n1", cpu="1"))
    state.assume(pod("a", cpu="1"), "n1")
    assert "Insufficient cpu" in place(state, pod("b", cpu="1"))
    state.forget("a")
    assert place(state, pod("b", cpu="1")) == "n1"
    assert (state.nodes["n1"].used_cpu_milli, state.nodes["n1"].pods) == (0, {})


@pytest.mark.parametrize("seed", range(12))
def test_the_fast_way_and_the_plain_way_agree(seed: int) -> None:
    """The ranking is an optimisation: over random clusters and histories it must not change one decision."""
    chance = random.Random(seed)
    state = ClusterState(random.Random(seed).random)
    zones = chance.choice([0, 3])

    def some_node(number: int) -> dict[str, Any]:
        labels = {"topology.kubernetes.io/zone": f"z{number % zones}"} if zones and chance.random() < 0.9 else {}
        labels |= {"disk": "ssd"} if chance.random() < 0.4 else {}
        taints = [taint("t", effect=chance.choice(["NoSchedule", "PreferNoSchedule"]))] if chance.random() < 0.3 else []
        return node(f"n{number}", cpu=chance.choice(["2", "4", "8"]), memory=chance.choice(["4Gi", "16Gi"]), pods="12",
                    labels=labels, taints=taints, unschedulable=chance.random() < 0.1)  # fmt: skip

    for number in range(chance.randint(3, 40)):
        state.set_node(some_node(number))
    wish = node_affinity(
        preferredDuringSchedulingIgnoredDuringExecution=[
            {"weight": 7, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
        ]
    )
    shapes: list[dict[str, Any]] = [
        {"cpu": "100m", "memory": "64Mi", "owner": "a"}, {"owner": "b"}, {"cpu": "1", "owner": "c", "affinity": wish},
        {"cpu": "250m", "nodeSelector": {"disk": "ssd"}},
        {"memory": "1Gi", "owner": "d", "tolerations": [{"operator": "Exists"}]},
        {"ports": [{"hostPort": 80}]},
    ]  # fmt: skip
    rankings, plain, placed = Rankings(state, default_plugins()), Chooser(default_plugins()), []
    for step in range(250):
        info = pod(f"p{step}", **chance.choice(shapes))
        fast, slow = rankings.choose(info), plain.choose(info, state)
        if isinstance(slow, Unschedulable):
            assert isinstance(fast, Unschedulable)
            assert fast.plugins == slow.plugins
            assert fast.message.split(". ")[0] == slow.message.split(". ")[0]
        else:
            assert fast == slow, f"step {step}"
            state.assume(info, slow)
            placed.append(info.uid)
        if placed and chance.random() < 0.3:
            state.remove_pod(placed.pop(chance.randrange(len(placed))))
        if chance.random() < 0.05:
            state.set_node(some_node(chance.randint(0, 40)))
        if chance.random() < 0.02:
            state.remove_node(chance.choice(list(state.nodes)) if len(state.nodes) > 2 else "none")
