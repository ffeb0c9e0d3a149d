"""The endpoint slice controller: keeps each Service's slices in step with the Pods that its selector picks.

A change is written at once; those that follow within a moment (the longer, the more Pods there are) are written together.

Source: K/pkg/controller/endpointslice/endpointslice_controller.go
"""

from __future__ import annotations

from typing import Any

from reconcile.clock import Clock
from reconcile.handling import Cluster
from reconcile.kinds import typed
from reconcile.registry import Operator
from reconcile.resources.core import Pod, Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.views import tree_of

from .slices import MANAGED_BY, MANAGER, planned

_PAUSE_S_MIN, _PAUSE_S_PER_POD, _PAUSE_S_MAX = 0.01, 0.0005, 0.5


def endpoint_slices() -> Operator:
    """The operator that writes EndpointSlices."""
    app = Operator("endpoint-slices")

    @app.on.reconcile(Service, owns=(EndpointSlice,), workers=32, backoff_s_first=0.1)
    async def slices(service: Service, cluster: Cluster, clock: Clock, memo: dict[str, Any]) -> None:
        if not service.spec.selector or service.spec.type == "ExternalName":
            return
        await _gather(clock, memo)
        newest = await cluster.find(Service, service.name, service.namespace)
        if newest is None or newest.uid != service.uid or newest.deleting or not newest.spec.selector:
            return
        tree = tree_of(newest)
        pods = await cluster.list(Pod, service.namespace, labels=tree["spec"]["selector"])
        known = await cluster.list(EndpointSlice, service.namespace, owner=newest)
        own = [s for s in map(tree_of, known) if (s["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER]
        plan = planned(tree, map(tree_of, pods), own)
        if not plan.writes:
            return
        memo["next_s"] = clock.monotonic() + min(_PAUSE_S_MIN + len(pods) * _PAUSE_S_PER_POD, _PAUSE_S_MAX)
        # What is new is written before what is old is taken away: an endpoint that moves is never missing.
        for made in plan.create:
            await cluster.create(typed(EndpointSlice, made))
        for changed in plan.update:
            await cluster.update(typed(EndpointSlice, changed))
        for gone in plan.delete:
            await cluster.delete(typed(EndpointSlice, gone))

    return app


async def _gather(clock: Clock, memo: dict[str, Any]) -> None:
    """Let the changes after a write gather for a moment."""
    wait_s = memo.get("next_s", 0.0) - clock.monotonic()
    if wait_s > 0:
        await clock.sleep(min(wait_s, _PAUSE_S_MAX))
