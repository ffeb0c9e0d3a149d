"""What ReplicaSets and Deployments say of themselves."""

from __future__ import annotations

from typing import Any

from reconcile.clock import timestamp
from reconcile.resources.apps.deployment_status import check_after_s, counted, find, has_timed_out, judged, put_paused
from reconcile.resources.apps.orphans import Orphans
from reconcile.resources.apps.ownership import claim
from reconcile.resources.apps.replicaset_status import Failure
from reconcile.resources.apps.replicaset_status import counted as counted_pods
from reconcile.resources.apps.status_writing import status_change
from reconcile.selectors import label_selector

NOW_S = 1_700_000_000.0


def pod(name: str = "p", *, ready_for_s: float | None = None, owner: str = "rs", **meta: Any) -> dict[str, Any]:
    """A running Pod."""
    conditions = []
    if ready_for_s is not None:
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": timestamp(NOW_S - ready_for_s)})
    references = [{"uid": owner, "controller": True, "kind": "ReplicaSet", "name": owner}] if owner else []
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}, "ownerReferences": references, **meta},
        "status": {"phase": "Running", "conditions": conditions},
    }


def replica_set(**spec: Any) -> dict[str, Any]:
    """A ReplicaSet of Pods labelled app=web."""
    return {
        "metadata": {"name": "rs", "namespace": "default", "uid": "rs", "generation": 3},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}}, **spec},
    }


def deployment(replicas: int = 2, **status: Any) -> dict[str, Any]:
    """A Deployment with that status."""
    spec = {"replicas": replicas, "progressDeadlineSeconds": 60, "strategy": {"type": "Recreate"}}
    return {"metadata": {"name": "web", "generation": 1}, "spec": spec, "status": status}


def set_with(available: int, replicas: int = 2) -> dict[str, Any]:
    """A Deployment's ReplicaSet with so many available Pods."""
    status = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    return {"metadata": {"name": "web-1"}, "spec": {"replicas": replicas}, "status": status}


def test_a_replica_set_counts_available_pods_and_knows_when_the_next_one_is() -> None:
    """minReadySeconds is waited for exactly, not polled."""
    pods = [pod(ready_for_s=100), pod(ready_for_s=4), pod(ready_for_s=7), pod(), pod(deletionTimestamp="x")]
    done = counted_pods(replica_set(minReadySeconds=10), pods, None, NOW_S)
    assert {k: v for k, v in done.status.items() if k != "conditions"} == {
        "replicas": 4, "fullyLabeledReplicas": 4, "readyReplicas": 3, "availableReplicas": 1, "terminatingReplicas": 1,
        "observedGeneration": 3,
    }  # fmt: skip
    assert done.next_s == NOW_S + 3


def test_a_failure_to_create_is_a_condition_until_it_works_again() -> None:
    """`describe` is where users look for the quota that stops them."""
    owner = replica_set()
    failed = counted_pods(owner, [], Failure("FailedCreate", "no"), NOW_S).status
    assert [(c["type"], c["status"], c["reason"]) for c in failed["conditions"]] == [("ReplicaFailure", "True", "FailedCreate")]
    owner["status"] = failed
    assert status_change(failed, counted_pods(owner, [], Failure("FailedCreate", "no"), NOW_S + 9).status) == {}
    assert counted_pods(owner, [], None, NOW_S).status["conditions"] == []


def test_a_status_is_written_as_far_as_it_changed() -> None:
    """What others wrote into it meanwhile stays, and a count of none is left out as on the reference server."""
    before = {"replicas": 2, "readyReplicas": 1, "conditions": [{"type": "Mine"}]}
    same = {"replicas": 2, "readyReplicas": 1, "availableReplicas": 0, "conditions": [{"type": "Mine"}]}
    assert status_change(before, same, {"availableReplicas"}) == {}
    assert status_change(before, {**same, "readyReplicas": 0}, {"readyReplicas", "availableReplicas"}) == {"readyReplicas": None}
    assert status_change(before, same) == {"availableReplicas": 0}
    assert status_change({}, {"collisionCount": None}) == {}


def test_claims_keep_release_and_adopt() -> None:
    """The table of the reference's ControllerRef manager."""
    selector, owner = label_selector({"app": "web"}), replica_set()
    mine, strayed, theirs = pod("mine"), pod("strayed", labels={"app": "db"}), pod("theirs", owner="other")
    orphan, dying = pod("orphan", owner=""), pod("dying", owner="", deletionTimestamp="x")
    found = claim(owner, selector, [mine, strayed, theirs], [orphan, dying, theirs])
    assert (found.kept, found.released, found.adopted) == ([mine], [strayed], [orphan])
    owner["metadata"]["deletionTimestamp"] = "x"
    found = claim(owner, selector, [mine, strayed], [orphan])
    assert (found.kept, found.released, found.adopted) == ([mine], [], [])


def test_orphans_find_those_that_want_them() -> None:
    """A Pod that loses its owner, or a label, must wake the ReplicaSet that matches it."""
    orphans, selector = Orphans(), label_selector({"app": "web"})
    orphans.saw_owner(
        {"metadata": {"name": "rs", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}, False
    )
    orphan = pod("orphan", owner="")
    orphans.saw_object(orphan, False)
    assert [str(key) for key in orphans.wanted_by(orphan)] == ["default/rs"]
    assert list(orphans.wanted_by(pod("owned"))) == []
    assert orphans.matching("default", selector) == [orphan]
    assert orphans.matching("elsewhere", selector) == []
    orphans.saw_object(pod("orphan", owner="rs"), False)
    assert orphans.matching("default", selector) == []


def test_a_rollout_tells_its_story_in_the_progressing_condition() -> None:
    """Created, progressing, complete: `rollout status` reads exactly this."""
    before = deployment()
    halfway = judged(before, {}, counted(before, {}, [set_with(1)], set_with(1), NOW_S), [set_with(1)], set_with(1), NOW_S)
    assert (find(halfway, "Progressing") or {})["reason"] == "ReplicaSetUpdated"
    assert (find(halfway, "Available") or {})["status"] == "False"
    after = deployment(**halfway)
    done = judged(
        after, halfway, counted(after, halfway, [set_with(2)], set_with(2), NOW_S + 5), [set_with(2)], set_with(2), NOW_S + 5
    )
    progressing = find(done, "Progressing") or {}
    assert progressing["reason"] == "NewReplicaSetAvailable"
    assert progressing["lastTransitionTime"] == timestamp(NOW_S), "the status stayed True, so it did not move"
    assert (find(done, "Available") or {})["status"] == "True"
    assert check_after_s(after, done, NOW_S) is None


def test_a_rollout_without_progress_times_out_at_its_deadline() -> None:
    """Scripts wait on it: neither early nor never."""
    status = counted(deployment(), {}, [set_with(1)], set_with(1), NOW_S)
    status = judged(deployment(), {}, status, [set_with(1)], set_with(1), NOW_S)
    standing = deployment(**status)
    after_s = check_after_s(standing, status, NOW_S + 20)
    assert after_s == 41
    assert not has_timed_out(standing["spec"], status, NOW_S + 60)
    late = judged(
        standing,
        status,
        counted(standing, status, [set_with(1)], set_with(1), NOW_S + 61),
        [set_with(1)],
        set_with(1),
        NOW_S + 61,
    )
    condition = find(late, "Progressing") or {}
    assert (condition["status"], condition["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert check_after_s(standing, late, NOW_S + 61) is None


def test_a_pause_stops_the_clock_of_the_deadline() -> None:
    """Time spent paused must not count as lack of progress."""
    one = deployment()
    status: dict[str, Any] = {"conditions": []}
    put_paused({**one["spec"], "paused": True}, status, NOW_S)
    assert (find(status, "Progressing") or {})["reason"] == "DeploymentPaused"
    assert check_after_s(one, status, NOW_S) is None
    put_paused(one["spec"], status, NOW_S + 1000)
    resumed = find(status, "Progressing") or {}
    assert (resumed["reason"], resumed["lastUpdateTime"]) == ("DeploymentResumed", timestamp(NOW_S + 1000))


def test_a_replica_sets_failure_is_the_deployments_too() -> None:
    """Users look at the Deployment, not at what it made."""
    broken = set_with(0)
    broken["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]
    status = judged(deployment(), {}, counted(deployment(), {}, [broken], broken, NOW_S), [broken], broken, NOW_S)
    assert (find(status, "ReplicaFailure") or {})["message"] == "quota"
