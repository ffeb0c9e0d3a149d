"""Planted bug: it cleans up only if it happens to see the deletion mark; it has no finalizer, and owns nothing."""

from __future__ import annotations

from reconcile import Cluster, Resource, field, kind, on, struct
from reconcile.resources.core import ConfigMap


@struct
class WebAppSpec:
    replicas: int = field(default=1, minimum=0)


@kind("example.com", "v1")
class WebApp(Resource):
    """Something whose backup is taken before it goes: another controller's finalizer holds it that long."""

    spec: WebAppSpec


@on.reconcile(WebApp, while_deleting=True)
async def needs_to_see(app: WebApp, cluster: Cluster) -> None:
    data = ConfigMap(name=f"{app.name}-data", namespace=app.namespace, data={"text": "hello"})
    if app.deleting:
        await cluster.delete(data, precondition=False)
    elif await cluster.find(ConfigMap, data.name) is None:
        await cluster.create(data)
