"""Planted bug: pods with made-up names, counted from a cache that may not show yet what was created a moment ago."""

from __future__ import annotations

from reconcile import Cluster, Requeue, Resource, field, kind, on, struct
from reconcile.resources.core import Pod
from reconcile.views import tree_of


@struct
class WebAppSpec:
    replicas: int = field(default=1, minimum=0)


@kind("example.com", "v1")
class WebApp(Resource):
    """Some pods."""

    spec: WebAppSpec


@on.reconcile(WebApp)
async def random_names(app: WebApp, cluster: Cluster) -> Requeue | None:
    pods = await cluster.list(Pod, app.namespace, owner=app)
    missing = app.spec.replicas - len(pods)
    for _ in range(missing):
        meta = {"generateName": f"{app.name}-", "ownerReferences": [tree_of(app.owner_reference())]}
        tree = {"metadata": meta, "spec": {"containers": [{"name": "web", "image": "web"}]}}
        await cluster.client.create(Pod.__kind__, tree, app.namespace)  # past the engine, which would wait for its cache
    for pod in pods[app.spec.replicas :]:
        await cluster.delete(pod, grace_s=0)
    return Requeue(after_s=2) if missing > 0 else None
