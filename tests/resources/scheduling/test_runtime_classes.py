"""Runtime classes: what a Pod gets from the one that it names."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import ForbiddenError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Caller
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Pod
from reconcile.resources.scheduling.runtime_classes import PodRuntimes
from reconcile.resources.stored.other import other_kinds

KIND = next(kind for kind in other_kinds() if kind.kind == "RuntimeClass")
CLASSES: dict[str, Tree] = {
    "plain": {"handler": "h"},
    "costly": {
        "handler": "h",
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox", "operator": "Exists"}]},
    },
}


def find(kind: Kind, name: str, namespace: str) -> Tree | None:
    assert (kind, namespace) == (KIND, "")
    return CLASSES.get(name)


def admitted(**spec: Any) -> Tree:
    tree = {"metadata": {"name": "p"}, "spec": spec}
    PodRuntimes(KIND, find).admit(
        AdmissionReview("CREATE", tree, None, "", dry_run=False, caller=Caller("eve"), kind=kind_of(Pod))
    )
    return spec


def refused(**spec: Any) -> str:
    with pytest.raises(ForbiddenError) as caught:
        admitted(**spec)
    return caught.value.message


def test_a_pod_without_a_class_is_left_alone() -> None:
    assert admitted(nodeSelector={"a": "b"}) == {"nodeSelector": {"a": "b"}}
    assert admitted(runtimeClassName="plain") == {"runtimeClassName": "plain"}


def test_overhead_and_placement_come_from_the_class() -> None:
    """The scheduler counts the overhead, and goes only where the class can run."""
    spec = admitted(
        runtimeClassName="costly", nodeSelector={"disk": "ssd"}, tolerations=[{"key": "sandbox", "operator": "Exists"}]
    )
    assert spec["overhead"] == {"cpu": "250m"}
    assert spec["nodeSelector"] == {"disk": "ssd", "sandbox": "yes"}
    assert spec["tolerations"] == [{"key": "sandbox", "operator": "Exists"}]
    assert admitted(runtimeClassName="costly", overhead={"cpu": "0.25"})["overhead"] == {"cpu": "250m"}


def test_what_contradicts_the_class_is_refused() -> None:
    assert refused(runtimeClassName="none") == 'pods "p" is forbidden: pod rejected: RuntimeClass "none" not found'
    assert "without corresponding RuntimeClass" in refused(overhead={"cpu": "1"})
    assert "doesn't match" in refused(runtimeClassName="costly", overhead={"cpu": "1"})
    assert "doesn't match" in refused(runtimeClassName="plain", overhead={"cpu": "1"})
    assert "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes" in refused(
        runtimeClassName="costly", nodeSelector={"sandbox": "no"}
    )
