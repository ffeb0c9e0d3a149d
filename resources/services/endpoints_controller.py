"""The endpoints controller: keeps each Service's Endpoints in step with the Pods that its selector picks.

Source: K/pkg/controller/endpoint/endpoints_controller.go
"""

from __future__ import annotations

from typing import Any

from reconcile.clock import Clock
from reconcile.handling import Cluster
from reconcile.kinds import typed
from reconcile.registry import Operator
from reconcile.resources.core import Pod, Service
from reconcile.resources.stored.declaration import class_of
from reconcile.resources.stored.networking import endpoints
from reconcile.views import tree_of

from .endpoints import endpoints_of

Endpoints = class_of(endpoints())
_PAUSE_S_MIN, _PAUSE_S_PER_POD, _PAUSE_S_MAX = 0.01, 0.001, 1.0
"""The object holds all addresses, so that a write costs more the more there are: changes gather between two writes."""


def endpoints_controller() -> Operator:
    """The operator that writes Endpoints."""
    app = Operator("endpoint-controller")

    @app.on.reconcile(Service, owns=(Endpoints,), workers=5, backoff_s_first=0.1)
    async def addresses(service: Service, cluster: Cluster, clock: Clock, memo: dict[str, Any]) -> None:
        if not service.spec.selector or service.spec.type == "ExternalName":
            return
        wait_s = memo.get("next_s", 0.0) - clock.monotonic()
        if wait_s > 0:
            await clock.sleep(min(wait_s, _PAUSE_S_MAX))
        newest = await cluster.find(Service, service.name, service.namespace)
        if newest is None or newest.uid != service.uid or newest.deleting or not newest.spec.selector:
            return
        tree = tree_of(newest)
        pods = await cluster.list(Pod, service.namespace, labels=tree["spec"]["selector"])
        found = await cluster.find(Endpoints, service.name, service.namespace)
        old = tree_of(found) if found is not None else None
        made = endpoints_of(tree, map(tree_of, pods), old)
        if made is old:
            return
        memo["next_s"] = clock.monotonic() + min(_PAUSE_S_MIN + len(pods) * _PAUSE_S_PER_POD, _PAUSE_S_MAX)
        if old is None:
            await cluster.create(typed(Endpoints, made))
        else:
            await cluster.update(typed(Endpoints, made))

    return app
