"""Planted bug: what belongs to an object is told by its name, not by its uid; a namesake's data is deleted with it."""

from __future__ import annotations

from reconcile import Cluster, Resource, field, kind, on, struct
from reconcile.resources.core import ConfigMap


@struct
class WebAppSpec:
    replicas: int = field(default=1, minimum=0)


@kind("example.com", "v1")
class WebApp(Resource):
    """Something with data that is made once."""

    spec: WebAppSpec


@on.create(WebApp)
async def by_name(app: WebApp, cluster: Cluster) -> None:
    await cluster.apply(ConfigMap(name=f"{app.name}-data", namespace=app.namespace, data={"made-for": app.name}))


@on.delete(WebApp)
async def clean_up(app: WebApp, cluster: Cluster) -> None:
    await cluster.delete(ConfigMap(name=f"{app.name}-data", namespace=app.namespace), precondition=False)
