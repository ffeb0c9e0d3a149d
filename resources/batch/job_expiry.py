"""Deletes finished Jobs, with their Pods, when the time is over that `ttlSecondsAfterFinished` keeps them for.

A controller of its own beside that of Jobs, as on the reference server: a Job that somebody else manages goes, too.

Source: K/pkg/controller/ttlafterfinished/ttlafterfinished_controller.go
"""

from __future__ import annotations

from reconcile.clock import Clock
from reconcile.errors import NotFoundError
from reconcile.handling import Cluster, Requeue
from reconcile.registry import Operator
from reconcile.views import tree_of

from .job import Job
from .job_counting import ended_at_s


def job_expiry() -> Operator:
    """The operator that deletes them."""
    app = Operator("ttl-after-finished-controller")

    @app.on.reconcile(Job)
    async def expired(job: Job, cluster: Cluster, clock: Clock) -> Requeue | None:
        ends_s = _ends_s(job)
        if ends_s is None or job.deleting:
            return None
        if ends_s > clock.now():
            return Requeue(ends_s - clock.now())
        try:
            fresh = await cluster.fresh(Job, job.name, job.namespace)
        except NotFoundError:
            return None
        newest_s = _ends_s(fresh)  # somebody may have asked for more time meanwhile
        if fresh.uid == job.uid and newest_s is not None and newest_s <= clock.now():
            await cluster.delete(fresh, propagation="Foreground")
        return None

    return app


def _ends_s(job: Job) -> float | None:
    """When a Job is to go; None: not for now."""
    tree = tree_of(job)
    ttl_s, ended_s = tree["spec"].get("ttlSecondsAfterFinished"), ended_at_s(tree.get("status") or {})
    return None if ttl_s is None or ended_s is None else ended_s + float(ttl_s)
