"""Fills Secrets of the type `kubernetes.io/service-account-token`: a token that lasts as long as its Secret.

For programs that cannot fetch a new token when theirs expires. Who deletes the Secret takes the token's power; a Secret whose
account is gone, or another one by now, goes too.

Source: K/pkg/controller/serviceaccount/tokens_controller.go
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from reconcile.errors import NotFoundError
from reconcile.handling import Cluster, Wait
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.resources.core import Secret, ServiceAccount

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_LASTS_S = 1 << 32  # the most that can be asked for: 136 years


def account_secrets(authority: Callable[[], str]) -> Operator:
    """The operator; `authority` gives the PEM certificate of the API's authority."""
    app = Operator("service-account-secrets")

    @app.on.reconcile(Secret, fields=f"type={TYPE}")
    async def filled(obj: Secret, cluster: Cluster) -> Wait | None:
        name = obj.annotations.get(NAME, "")
        account = await cluster.find(ServiceAccount, name)
        known = obj.annotations.get(UID, "")
        if account is None or (known and known != account.uid):
            if known:
                await cluster.delete(obj)
                return None
            return Wait(f"serviceaccount {name}")
        if obj.data.get("token") and known:
            return None
        bound = {"apiVersion": "v1", "kind": "Secret", "name": obj.name, "uid": obj.uid}
        asked = {"spec": {"expirationSeconds": _LASTS_S, "boundObjectRef": bound}}
        try:
            answer = await cluster.client.act(kind_of(ServiceAccount), name, "token", asked, obj.namespace)
        except NotFoundError:
            return Wait(f"serviceaccount {name}")  # it went meanwhile
        files = {"token": answer["status"]["token"], "ca.crt": authority(), "namespace": obj.namespace}
        data = {key: base64.b64encode(text.encode()).decode() for key, text in files.items()}
        await cluster.patch(obj, {"metadata": {"annotations": {UID: account.uid}}, "data": data})
        return None

    return app
