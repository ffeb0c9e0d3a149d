"""Planted bug: the status is written before the pods, and is what the next run goes by."""

from __future__ import annotations

from reconcile import Cluster, Resource, field, kind, on, struct
from reconcile.resources.core import Container, Pod, PodSpec


@struct
class WebAppSpec:
    replicas: int = field(default=1, minimum=0)


@struct
class WebAppStatus:
    replicas: int = 0


@kind("example.com", "v1")
class WebApp(Resource):
    """Some pods."""

    spec: WebAppSpec
    status: WebAppStatus = field(factory=WebAppStatus)


@on.reconcile(WebApp)
async def status_first(app: WebApp, cluster: Cluster) -> None:
    if app.status.replicas == app.spec.replicas:
        return
    await cluster.patch(app, {"status": {"replicas": app.spec.replicas}}, subresource="status")
    pods = {pod.name: pod for pod in await cluster.list(Pod, app.namespace, owner=app)}
    wanted = [f"{app.name}-{number}" for number in range(app.spec.replicas)]
    for name in wanted:
        if name not in pods:
            pod = Pod(name=name, namespace=app.namespace, spec=PodSpec(containers=[Container(name="web", image="web")]))
            pod.metadata.owner_references = [app.owner_reference()]
            await cluster.create(pod)
    for name, pod in pods.items():
        if name not in wanted:
            await cluster.delete(pod, grace_s=0)
