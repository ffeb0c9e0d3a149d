"""A controller with no bug planted: its children are declared, so the engine makes, owns and prunes them."""

from __future__ import annotations

from collections.abc import Iterator

from reconcile import Resource, field, kind, on, struct
from reconcile.resources.core import ConfigMap


@struct
class WebAppSpec:
    replicas: int = field(default=1, minimum=0, maximum=8)
    text: str = "hello"


@struct
class WebAppStatus:
    replicas: int = 0


@kind("example.com", "v1", short_names=("wa",))
class WebApp(Resource):
    """Some copies of a text."""

    spec: WebAppSpec
    status: WebAppStatus = field(factory=WebAppStatus)


@on.reconcile(WebApp)
def careful(app: WebApp) -> Iterator[Resource]:
    for number in range(app.spec.replicas):
        yield ConfigMap(name=f"{app.name}-{number}", data={"text": app.spec.text})
    app.status.replicas = app.spec.replicas
