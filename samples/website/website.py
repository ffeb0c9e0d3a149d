"""A controller in one file: a WebSite becomes a ConfigMap, a Deployment and a Service."""

from collections.abc import Iterator

from reconcile import Column, Resource, field, kind, on, struct
from reconcile.resources.apps import Deployment
from reconcile.resources.core import ConfigMap, Service


@struct
class WebSiteSpec:
    html: str
    replicas: int = field(default=2, minimum=0, maximum=20)


@struct
class WebSiteStatus:
    pages: int = 0


@kind("example.com", "v1", short_names=("site",), columns=(Column("Replicas", ".spec.replicas", "integer"),))
class WebSite(Resource):
    """A web site of one page."""

    spec: WebSiteSpec
    status: WebSiteStatus = field(factory=WebSiteStatus)


@on.reconcile(WebSite)
def website(site: WebSite) -> Iterator[Resource]:
    """Yield what the site needs: applied, owned, pruned and watched by the engine."""
    labels = {"site": site.name}
    page = ConfigMap(name=f"{site.name}-page", data={"index.html": site.spec.html})
    yield page
    server = {
        "name": "server",
        "image": "python:3-alpine",  # on this machine it is a process, and needs none
        "command": ["sh", "-c", "exec python3 -m http.server 8080 --bind $POD_IP --directory /page"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "http"}},
        "volumeMounts": [{"name": "page", "mountPath": "/page"}],
    }
    pod = {"containers": [server], "volumes": [{"name": "page", "configMap": {"name": page.name}}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": site.spec.replicas, "selector": {"matchLabels": labels}, "template": template}
    yield Deployment.of(name=site.name, spec=spec)
    yield Service.of(name=site.name, spec={"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]})
    site.status.pages = 1
