"""What becomes of the Pods of a Job or a ReplicationController that is deleted without a word about them."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.client import DeleteOptions
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources.apps import ReplicaSet
from reconcile.resources.batch import Job
from reconcile.resources.core import Pod
from reconcile.resources.core.replication import ReplicationController
from reconcile.resources.gc import garbage_collector
from reconcile.runtime.api import Notes
from reconcile.runtime.testing.virtual import VirtualClock, virtual

CONTAINERS = [{"name": "c", "image": "x:1"}]
WARNING = (
    "child pods are preserved by default when jobs are deleted; "
    "set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"
)


def template(policy: str) -> Tree:
    return {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": policy, "containers": CONTAINERS}}


OWNERS: dict[Any, Tree] = {
    Job: {"suspend": True, "template": template("Never")},
    ReplicationController: {"replicas": 0, "selector": {"a": "b"}, "template": template("Always")},
    ReplicaSet: {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template("Always")},
}


@pytest.mark.parametrize(
    ("cls", "options", "stays", "told"),
    [
        (Job, DeleteOptions(), True, [WARNING]), (Job, DeleteOptions(propagation="Background"), False, []),
        (Job, DeleteOptions(propagation="Orphan"), True, []), (ReplicationController, DeleteOptions(), True, []),
        (ReplicationController, DeleteOptions(propagation="Foreground"), False, []), (ReplicaSet, DeleteOptions(), False, []),
    ],
)  # fmt: skip
@virtual
async def test_pods_of_the_oldest_kinds_stay_unless_somebody_says_otherwise(
    clock: VirtualClock, control_plane: Any, cls: Any, options: DeleteOptions, stays: bool, told: list[str]
) -> None:
    """Clients that are older than the garbage collector delete the Pods themselves, or want to keep them."""
    async with control_plane(clock, garbage_collector()) as plane:
        owner = await plane.create(cls, {"metadata": {"name": "o"}, "spec": OWNERS[cls]})
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": "o", "uid": owner["metadata"]["uid"]}
        await plane.create(Pod, {"metadata": {"name": "p", "ownerReferences": [reference]}, "spec": {"containers": CONTAINERS}})
        notes = Notes()
        await plane.client.api.delete(kind_of(cls), "o", "default", options, notes=notes)
        assert notes.warnings == told

        async def owner_is_gone() -> bool:
            return not await plane.all(cls)

        await plane.until(owner_is_gone, "the owner is gone")
        await clock.sleep(5)
        pods = await plane.all(Pod)
        left = [pod["metadata"].get("ownerReferences", []) for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        assert left == ([[]] if stays else [])
