"""Revisions: names, equality of templates, numbers, history."""

from __future__ import annotations

from typing import Any

from reconcile.resources.apps.revisions import (
    DESIRED_REPLICAS,
    HASH_LABEL,
    MAX_REPLICAS,
    REVISION,
    REVISION_HISTORY,
    annotations_for,
    find_new,
    forgotten,
    replica_set_tree,
    same_template,
    template_hash,
)
from reconcile.resources.apps.rolling import Limits


def template(image: str = "web:1", **labels: str) -> dict[str, Any]:
    """A small Pod template."""
    return {"metadata": {"labels": {"app": "web", **labels}}, "spec": {"containers": [{"name": "web", "image": image}]}}


def replica_set(
    name: str, revision: int = 0, *, replicas: int = 0, pods: int = 0, born: str = "", **changes: Any
) -> dict[str, Any]:
    """A ReplicaSet with a revision annotation."""
    annotations = {REVISION: str(revision)} if revision else {}
    return {
        "metadata": {"name": name, "annotations": annotations, "generation": 1, "creationTimestamp": born},
        "spec": {"replicas": replicas, "template": template()},
        "status": {"replicas": pods, "observedGeneration": 1},
        **changes,
    }


DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "default", "annotations": {"note": "x", REVISION: "7"}},
    "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template(), "minReadySeconds": 5},
}


def test_the_hash_is_steady_and_changes_with_template_and_collisions() -> None:
    """Two processes must give one template the same name; a collision must give it another."""
    assert template_hash(template(), None) == template_hash(template(**{HASH_LABEL: "abc"}), None)
    assert template_hash(template(), None) != template_hash(template("web:2"), None)
    assert template_hash(template(), None) != template_hash(template(), 1) != template_hash(template(), 2)
    assert set(template_hash(template(), None)) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_templates_that_mean_the_same_are_the_same() -> None:
    """A spelling must not start a rollout, and a meaning must."""
    a = template()
    a["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "500m"}}
    b = template(**{HASH_LABEL: "xyz"})
    b["spec"]["containers"][0]["resources"] = {"requests": {"cpu": 0.5}}
    b["spec"]["nodeSelector"] = {}
    b["spec"]["tolerations"] = []
    b["spec"]["hostname"] = None
    assert same_template(a, b)
    b["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    assert not same_template(a, b)


def test_the_oldest_of_equal_replica_sets_is_the_current_one() -> None:
    """Every pass, and every restart, must pick the same one."""
    sets = [replica_set("young", born="2026-01-02T00:00:00Z"), replica_set("aged", born="2026-01-01T00:00:00Z")]
    found = find_new(template(), sets)
    assert found is not None
    assert found["metadata"]["name"] == "aged"
    assert find_new(template("web:2"), sets) is None


def test_the_new_replica_set_carries_the_hash_everywhere() -> None:
    """Without the label in the selector two revisions would fight over Pods."""
    made = replica_set_tree(DEPLOYMENT, "abc")
    assert made["metadata"]["name"] == "web-abc"
    assert made["spec"]["selector"]["matchLabels"] == {"app": "web", HASH_LABEL: "abc"}
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "web", HASH_LABEL: "abc"} == made["metadata"]["labels"]
    assert made["spec"]["minReadySeconds"] == 5
    assert HASH_LABEL not in DEPLOYMENT["spec"]["template"]["metadata"]["labels"]


def test_a_new_revision_is_one_more_than_the_highest() -> None:
    """Numbers are what users roll back by."""
    annotations = annotations_for(DEPLOYMENT, None, [replica_set("a", 2), replica_set("b", 5)], Limits(3, 1, 0))
    assert annotations == {"note": "x", REVISION: "6", DESIRED_REPLICAS: "3", MAX_REPLICAS: "4"}


def test_a_replica_set_that_serves_again_remembers_its_old_revisions() -> None:
    """`rollout history` shows them; the oldest are dropped when the annotation gets too long."""
    again = replica_set("a", 2)
    annotations = annotations_for(DEPLOYMENT, again, [replica_set("b", 5)], Limits(3, 1, 0))
    assert (annotations[REVISION], annotations[REVISION_HISTORY]) == ("6", "2")
    again["metadata"]["annotations"] = {REVISION: "9999", REVISION_HISTORY: ",".join(str(n) for n in range(1000, 1398))}
    annotations = annotations_for(DEPLOYMENT, again, [replica_set("b", 10_000)], Limits(3, 1, 0))
    history = annotations[REVISION_HISTORY]
    assert len(history) <= 2000
    assert history.endswith(",9999")
    # A revision that is higher already stays: history is never rewritten backwards.
    assert annotations_for(DEPLOYMENT, replica_set("a", 9), [], Limits(3, 1, 0))[REVISION] == "9"


def test_history_keeps_the_newest_and_whatever_still_has_pods() -> None:
    """A set whose Pods are not gone yet is needed to see them go."""
    old = [
        replica_set("r1", 1), replica_set("r2", 2, pods=1), replica_set("r3", 3), replica_set("r4", 4), replica_set("r5", 5),
    ]  # fmt: skip
    old[2]["metadata"]["generation"] = 2
    assert [rs["metadata"]["name"] for rs in forgotten(old, 1)] == ["r1", "r4"]
    assert forgotten(old, 5) == []
    old[4]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert [rs["metadata"]["name"] for rs in forgotten(old, 3)] == ["r1"]
