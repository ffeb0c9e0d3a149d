"""The kubelet's rules as pure functions: phase, conditions, plan, back-off, grace."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import Tree
from reconcile.resources.kubelet.addresses import PodAddresses
from reconcile.resources.kubelet.backoff import CrashLoopBackOff
from reconcile.resources.kubelet.conditions import conditions_of
from reconcile.resources.kubelet.container import Container, spec_hash
from reconcile.resources.kubelet.errors import AddressesExhaustedError
from reconcile.resources.kubelet.phase import phase_of
from reconcile.resources.kubelet.plan import Plan, Seen, plan
from reconcile.resources.kubelet.pod_state import Ending
from reconcile.resources.kubelet.runtime import ContainerState, ContainerStatus
from reconcile.resources.kubelet.stopping import grace_of

RUNNING: Tree = {"state": {"running": {}}, "started": True, "ready": True}
NEVER_STARTED: Tree = {"state": {"waiting": {"reason": "ContainerCreating"}}}
NOW = "2026-01-01T00:00:00Z"


def ended(code: int) -> Tree:
    return {"state": {"terminated": {"exitCode": code}}}


def crashing(code: int) -> Tree:
    return {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": code}}}


def pod_spec(policy: str = "Always", mains: int = 1, inits: tuple[Tree, ...] = ()) -> Tree:
    return {"restartPolicy": policy, "containers": [{"name": f"c{i}"} for i in range(mains)], "initContainers": list(inits)}


def named(*statuses: Tree, prefix: str = "c") -> list[Tree]:
    return [{"name": f"{prefix}{i}", **status} for i, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("policy", "statuses", "phase"),
    [
        ("Always", [], "Pending"),
        ("Always", [NEVER_STARTED], "Pending"),
        ("Always", [RUNNING], "Running"),
        ("Always", [RUNNING, NEVER_STARTED], "Pending"),
        ("Always", [RUNNING, ended(1)], "Running"),
        ("Always", [crashing(1)], "Running"),
        ("Always", [ended(0)], "Running"),
        ("OnFailure", [ended(0)], "Succeeded"),
        ("OnFailure", [ended(1)], "Running"),
        ("OnFailure", [ended(0), crashing(2)], "Running"),
        ("Never", [ended(0)], "Succeeded"),
        ("Never", [ended(0), ended(1)], "Failed"),
        ("Never", [RUNNING, ended(1)], "Running"),
    ],
)
def test_the_phase_follows_from_the_containers(policy: str, statuses: list[Tree], phase: str) -> None:
    """Controllers count pods by phase: each case is a line of getPhase."""
    assert phase_of(pod_spec(policy, max(1, len(statuses))), named(*statuses)) == phase


def test_a_terminated_pod_has_a_terminal_phase_whatever_its_policy() -> None:
    """A deleted pod is reported as ended, or its controller would wait for it for ever."""
    assert phase_of(pod_spec(), named(ended(143)), terminal=True) == "Failed"
    assert phase_of(pod_spec(), named(ended(0)), terminal=True) == "Succeeded"
    assert phase_of(pod_spec(), named(NEVER_STARTED), terminal=True) == "Failed"


INIT: Tree = {"name": "i0"}
SIDECAR: Tree = {"name": "i0", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("policy", "init", "status", "phase"),
    [
        ("Always", INIT, RUNNING, "Pending"),
        ("Always", INIT, crashing(1), "Pending"),
        ("Never", INIT, ended(1), "Failed"),
        ("Always", INIT, ended(0), "Running"),
        ("Never", SIDECAR, RUNNING, "Running"),
        ("Always", SIDECAR, {**RUNNING, "started": False}, "Pending"),
    ],
)
def test_init_containers_hold_the_phase_back(policy: str, init: Tree, status: Tree, phase: str) -> None:
    """A pod that initialises is Pending; one that cannot is Failed."""
    statuses = [{"name": "i0", **status}, *named(RUNNING)]
    assert phase_of(pod_spec(policy, inits=(init,)), statuses) == phase


def test_a_sidecar_does_not_keep_a_finished_pod_running() -> None:
    """Sidecars never count for completion."""
    statuses = [{"name": "i0", **ended(143)}, *named(ended(0))]
    assert phase_of(pod_spec("Never", inits=(SIDECAR,)), statuses, initialised=True) == "Succeeded"


def conditions(spec: Tree, statuses: list[Tree], *, old: Any = (), phase: str = "Running") -> dict[str, Tree]:
    made = conditions_of(spec, phase, statuses, old=list(old), sandboxed=True, now=NOW, generation=3)
    return {condition["type"]: condition for condition in made}


def test_ready_needs_every_container_and_every_gate() -> None:
    """Traffic goes where Ready is True; the message must name who is missing."""
    spec = {**pod_spec(mains=2), "readinessGates": [{"conditionType": "example.com/lb"}]}
    made = conditions(spec, named(RUNNING, {**RUNNING, "ready": False}))
    assert made["Ready"]["message"] == "containers with unready status: [c1]"
    made = conditions(spec, named(RUNNING, RUNNING))
    assert made["ContainersReady"]["status"] == "True"
    assert made["Ready"]["reason"] == "ReadinessGatesNotReady"
    gate = {"type": "example.com/lb", "status": "True"}
    made = conditions(spec, named(RUNNING, RUNNING), old=[gate])
    assert made["Ready"]["status"] == "True"
    assert made["example.com/lb"] == gate


def test_a_condition_that_stays_keeps_its_transition_time() -> None:
    """minReadySeconds is counted from it."""
    old = [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}]
    assert conditions(pod_spec(), named(RUNNING), old=old)["Ready"]["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    unready = named({**RUNNING, "ready": False})
    assert conditions(pod_spec(), unready, old=old)["Ready"]["lastTransitionTime"] == NOW


def test_a_finished_pod_is_not_ready_because_it_is_completed() -> None:
    """kubectl shows it; Job controllers read it."""
    made = conditions(pod_spec("Never"), named(ended(0)), phase="Succeeded")
    assert made["Ready"]["reason"] == "PodCompleted"
    assert made["Ready"]["observedGeneration"] == 3


def test_init_containers_start_one_after_the_other() -> None:
    """The second may rely on what the first left behind."""
    first, second, main = Seen("a", "init"), Seen("b", "init"), Seen("c", "main")
    assert plan([first, second, main], initialised=False, now=0) == Plan(("a",))
    running = Seen("a", "init", "running", started=True)
    assert plan([running, second, main], initialised=False, now=0) == Plan()
    over = Seen("a", "init", "exited")
    assert plan([over, second, main], initialised=False, now=0) == Plan(("b",))
    assert plan([over, Seen("b", "init", "exited"), main], initialised=False, now=0) == Plan(("c",), initialised=True)


def test_a_failed_init_container_waits_for_its_pause_or_ends_the_pod() -> None:
    """By its restart policy."""
    crashed = Seen("a", "init", "exited", exit_code=1, restarts=True, due_at=10)
    assert plan([crashed, Seen("c", "main")], initialised=False, now=5) == Plan(due_at=10)
    assert plan([crashed, Seen("c", "main")], initialised=False, now=10) == Plan(("a",))
    assert plan([Seen("a", "init", "exited", exit_code=1), Seen("c", "main")], initialised=False, now=0).done


def test_a_sidecar_lets_others_start_once_it_has_started() -> None:
    """Started, not ended: it stays."""
    waiting = Seen("a", "sidecar", "running")
    assert plan([waiting, Seen("c", "main")], initialised=False, now=0) == Plan()
    started = Seen("a", "sidecar", "running", started=True)
    assert plan([started, Seen("c", "main")], initialised=False, now=0).start == ("c",)


def test_main_containers_are_planned_each_by_itself() -> None:
    """One that crashes does not touch its neighbours."""
    seen = [
        Seen("a", "main", "running"), Seen("b", "main", "exited", exit_code=1, restarts=True, due_at=7), Seen("c", "main"),
    ]  # fmt: skip  # one a column
    assert plan(seen, initialised=True, now=0) == Plan(("c",), 7, initialised=True)
    assert plan([Seen("a", "main", "exited"), Seen("b", "main", "exited")], initialised=True, now=0).done


def test_the_back_off_doubles_to_its_bound_and_is_forgotten_after_a_long_run() -> None:
    """1, 2, 4 ... 60 s; one that ran for ten minutes begins anew."""
    backoff = CrashLoopBackOff(1.0, 60.0, 600.0)
    pauses = []
    for _ in range(9):
        pauses.append(backoff.due_at(100.0, 101.0) - 101.0)
        backoff.restarted()
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.due_at(100.0, 701.0) == 701.0
    backoff.resume(4)
    assert backoff.delay_s == 8.0


def running_container() -> Container:
    container = Container({"name": "c", "command": ["x"]}, "main", CrashLoopBackOff(1.0, 60.0, 600.0))
    container.began(ContainerStatus("id0", "u", "c", 0, ContainerState.RUNNING, started_at=10.0))
    return container


def test_an_exit_that_is_told_twice_counts_once() -> None:
    """Runtimes promise at least once."""
    container = running_container()
    status = ContainerStatus("id0", "u", "c", 0, ContainerState.EXITED, started_at=10.0, finished_at=11.0, exit_code=1)
    assert container.ended(status, "gone")
    assert not container.ended(status, "gone")
    container.began(ContainerStatus("id1", "u", "c", 1, ContainerState.RUNNING, started_at=11.0))
    assert not container.ended(status, "gone")
    assert container.running
    shown = container.tree(pod_spec(), "p", idle=("ContainerCreating", ""), over=False)
    assert shown["lastState"]["terminated"]["message"] == "gone"
    assert shown["restartCount"] == 1


def test_only_what_a_process_cannot_take_over_changes_the_hash() -> None:
    """A changed probe must not restart anybody."""
    spec: Tree = {"name": "c", "command": ["x"], "livenessProbe": {"periodSeconds": 1}}
    assert spec_hash(spec) == spec_hash({**spec, "livenessProbe": {"periodSeconds": 2}})
    assert spec_hash(spec) != spec_hash({**spec, "command": ["y"]})


def test_the_grace_is_what_was_asked_for_and_less_after_a_pause() -> None:
    """A kubelet that was away must not give the whole grace again."""
    pod: Tree = {"metadata": {}, "spec": {"terminationGracePeriodSeconds": 30}}
    grace = {"vanished_s": 2.0, "now": 1000.0}
    assert grace_of(pod, Ending.FINISHED, first_seen=False, **grace) == 30
    assert grace_of(pod, Ending.VANISHED, first_seen=False, **grace) == 2
    pod["metadata"] = {"deletionTimestamp": "1970-01-01T00:16:45Z", "deletionGracePeriodSeconds": 10}
    assert grace_of(pod, Ending.DELETED, first_seen=False, **grace) == 10
    assert grace_of(pod, Ending.DELETED, first_seen=True, **grace) == 6


def test_addresses_are_unique_kept_and_not_reused_at_once() -> None:
    """Somebody may still route to the one who left a moment ago."""
    addresses = PodAddresses("127.9.0.0/29")
    assert addresses.allocate("a") == "127.9.0.1"
    assert addresses.allocate("a") == "127.9.0.1"
    assert addresses.allocate("b", "127.9.0.5") == "127.9.0.5"
    assert not addresses.reserve("c", "127.9.0.5")
    assert not addresses.reserve("c", "10.0.0.1")
    addresses.release("a")
    assert [addresses.allocate(uid) for uid in "cdefg"] == [f"127.9.0.{n}" for n in (2, 3, 4, 6, 1)]
    with pytest.raises(AddressesExhaustedError):
        addresses.allocate("h")
