"""Tokens in Secrets as kube-controller-manager signs them: of an issuer of their own, without an end, for the API server alone.

Ours, in Secrets too, are TokenRequests' (`resources/serviceaccounts/secrets.py`). These come when the reference fills
the Secrets, with this cluster's key. Such a token is good as long as its Secret holds it and its account is there.

Source: K/pkg/serviceaccount/legacy.go
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

from reconcile.errors import Tree, UnauthorizedError
from reconcile.identity import Caller
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Secret, ServiceAccount

_CLAIM = "kubernetes.io/serviceaccount/"
_INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"


def account_of(token: str, claims: Tree, find: Callable[[Kind, str, str], Tree | None]) -> tuple[str, str, str]:
    """Namespace, name and uid of the account that a token stands for, whose signature holds.

    Raises:
        UnauthorizedError: it is not complete, or is not good any more.
    """
    names = ("namespace", "secret.name", "service-account.name", "service-account.uid")
    namespace, secret_name, name, uid = (str(claims.get(_CLAIM + part) or "") for part in names)
    if not (namespace and secret_name and name and uid) or claims.get("sub") != f"system:serviceaccount:{namespace}:{name}":
        raise UnauthorizedError("invalid token: its claims name no service account and Secret")
    secret = find(kind_of(Secret), secret_name, namespace)
    if secret is None or "deletionTimestamp" in secret["metadata"] or not _holds(secret, token):
        raise UnauthorizedError(f'the token lives in secret "{namespace}/{secret_name}", which does not hold it any more')
    if since := (secret["metadata"].get("labels") or {}).get(_INVALID_SINCE):
        raise UnauthorizedError(
            f'the token in secret "{namespace}/{secret_name}" has been marked invalid since {since}; use a token of the '
            f"TokenRequest API, or take the label {_INVALID_SINCE} away"
        )
    account = find(kind_of(ServiceAccount), name, namespace)
    if account is None or "deletionTimestamp" in account["metadata"] or account["metadata"].get("uid") != uid:
        raise UnauthorizedError(f'the token lives with serviceaccount "{namespace}/{name}", which is not there any more')
    return namespace, name, uid


def caller_of(namespace: str, name: str, uid: str) -> Caller:
    """An account as the caller that it is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return Caller(f"system:serviceaccount:{namespace}:{name}", groups, uid)


def _holds(secret: Tree, token: str) -> bool:
    held = (secret.get("data") or {}).get("token") or ""
    return hmac.compare_digest(held, base64.b64encode(token.encode()).decode())
