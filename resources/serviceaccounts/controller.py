"""Keeps in each namespace what every Pod there needs: the ServiceAccount `default`, and the certificate of the API's authority.

Source: K/pkg/controller/serviceaccount/serviceaccounts_controller.go, K/pkg/controller/certificates/rootcacertpublisher
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.errors import AlreadyExistsError, ForbiddenError, NotFoundError
from reconcile.handling import Cluster
from reconcile.kinds import Resource, kind_of
from reconcile.registry import Operator
from reconcile.resources.core import ConfigMap, Namespace, ServiceAccount

ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
CA_KEY = "ca.crt"
_NOTE = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions "
    "of Kubernetes clusters."
}  # fmt: skip


def service_accounts(authority: Callable[[], str], *, accounts: bool = True) -> Operator:
    """The operator; `authority` gives the PEM certificate of the API's authority (empty: nothing is published).

    Without `accounts` it makes no ServiceAccounts.
    """
    app = Operator("service-accounts")

    @app.on.reconcile(Namespace, workers=8)
    async def equipped(obj: Namespace, cluster: Cluster) -> None:
        name, ca = obj.name, authority()
        if obj.deleting:
            return
        # Reading makes them dependencies: who deletes one gets it back.
        missing = accounts and await cluster.find(ServiceAccount, ACCOUNT, name) is None
        bundle = await cluster.find(ConfigMap, ROOT_CA, name) if ca else None
        wanted: list[Coroutine[Any, Any, Any]] = []  # Any: what they return is not looked at
        if missing:
            wanted.append(_created(cluster.client, ServiceAccount(name=ACCOUNT, namespace=name)))
        if ca and bundle is None:
            made = ConfigMap(name=ROOT_CA, namespace=name, annotations=dict(_NOTE), data={CA_KEY: ca})
            wanted.append(_created(cluster.client, made))
        elif bundle is not None and bundle.data.get(CA_KEY) != ca:
            body = Patch(MERGE_PATCH, {"data": {CA_KEY: ca}})
            wanted.append(cluster.client.patch(kind_of(ConfigMap), ROOT_CA, body, name))
        await asyncio.gather(*wanted)

    return app


async def _created(client: Client, obj: Resource) -> None:
    try:
        await client.create(kind_of(type(obj)), obj.tree, obj.namespace)
    except (AlreadyExistsError, NotFoundError):
        return  # the cache was a moment behind, or the namespace is gone already
    except ForbiddenError as error:
        if not any(cause.reason == "NamespaceTerminating" for cause in error.causes):
            raise
