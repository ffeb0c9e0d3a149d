"""Publishes by which authority clients are known, for servers that take the same clients: kube-scheduler and others do.

The ConfigMap `extension-apiserver-authentication` in kube-system holds it. What others wrote beside it stays; who deletes or
changes it gets it back.

Source: K/pkg/controlplane/controller/clusterauthenticationtrust/cluster_authentication_trust_controller.go
"""

from __future__ import annotations

from collections.abc import Callable

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import AlreadyExistsError, NotFoundError
from reconcile.handling import Cluster
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.resources.core import ConfigMap, Namespace

NAME, NAMESPACE = "extension-apiserver-authentication", "kube-system"
CLIENT_CA = "client-ca-file"


def published_authority(authority: Callable[[], str]) -> Operator:
    """The operator; `authority` gives the PEM certificate of clients (empty: nothing is published)."""
    app = Operator("authentication-info")

    @app.on.reconcile(Namespace, when=lambda obj, **_: obj.name == NAMESPACE)
    async def published(obj: Namespace, cluster: Cluster) -> None:  # noqa: ARG001 - the namespace itself says nothing
        ca = authority()
        if not ca:
            return
        # Reading makes it a dependency.
        known = await cluster.find(ConfigMap, NAME, NAMESPACE)
        try:
            if known is None:
                made = ConfigMap(name=NAME, namespace=NAMESPACE, data={CLIENT_CA: ca})
                await cluster.client.create(kind_of(ConfigMap), made.tree, NAMESPACE)
            elif known.data.get(CLIENT_CA) != ca:
                body = Patch(MERGE_PATCH, {"data": {CLIENT_CA: ca}})
                await cluster.client.patch(kind_of(ConfigMap), NAME, body, NAMESPACE)
        except (AlreadyExistsError, NotFoundError):
            return  # it came or went at this moment, which calls this again

    return app
