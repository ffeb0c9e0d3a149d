"""The app that the tests of the fixture `world` run: a shop owns pods, and marks what it has seen."""

from __future__ import annotations

from collections.abc import Generator

from reconcile import Resource, TemporaryError, field, kind, on, struct
from reconcile.resources.apps import Deployment


@struct
class ShopSpec:
    replicas: int = field(default=1, minimum=0, maximum=5)
    image: str = "web:1"
    broken: bool = False


@struct
class ShopStatus:
    ready: int = 0


@kind("shops.example.com", "v1", short_names=("sh",))
class Shop(Resource):
    """A Deployment with a name over the door."""

    spec: ShopSpec
    status: ShopStatus = field(factory=ShopStatus)


@on.reconcile(Shop)
def shops(shop: Shop) -> Generator[Resource, Deployment, None]:
    if shop.spec.broken:
        raise TemporaryError("the door is stuck")
    labels = {"shop": shop.name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": shop.spec.image}]}}
    spec = {"replicas": shop.spec.replicas, "selector": {"matchLabels": labels}, "template": template}
    deployment = yield Deployment.of(name=shop.name, spec=spec)
    shop.status.ready = deployment.status.available_replicas or 0
