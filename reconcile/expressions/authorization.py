"""The variable `authorizer` of admission policies: asks whether somebody may do something.

    authorizer.group("apps").resource("deployments").namespace("x").check("create").allowed()
    authorizer.serviceAccount("x", "default").path("/healthz").check("get").reason()

Values of the types that the language does not have are maps with a tag, as elsewhere (see `functions`). Who is asked is no part
of an expression's values: it is said around an evaluation, with `asking`.

Source: k8s.io/apiserver/pkg/cel/library/{authz,authz_selectors}.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from reconcile.errors import Tree
from reconcile.identity import Access, Authorizer, Caller

_PREFIX = "kubernetes.authorization."
AUTHORIZER, PATH, GROUP, RESOURCE, DECISION = (
    _PREFIX + name for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_asked: ContextVar[tuple[Caller, Authorizer]] = ContextVar("asked")


@contextmanager
def asking(caller: Caller, authorizer: Authorizer) -> Iterator[None]:
    """Let expressions that are evaluated meanwhile ask `authorizer`, on behalf of `caller`."""
    token = _asked.set((caller, authorizer))
    try:
        yield
    finally:
        _asked.reset(token)


def authorizer_of(group: str, resource: str, subresource: str, namespace: str, name: str) -> Tree:
    """The value of the variable for a request about this resource."""
    about = {"group": group, "subresource": subresource, "namespace": namespace, "name": name}
    return {AUTHORIZER: "", "requestResource": {RESOURCE: resource, "account": "", **about}}


def path_check(authorizer: Any, path: str) -> Tree:
    """`authorizer.path(path)`."""
    if not path.strip():
        raise ValueError("path must not be empty")
    return {PATH: path, "account": _tagged(authorizer, AUTHORIZER)}


def group_check(authorizer: Any, group: str) -> Tree:
    """`authorizer.group(group)`."""
    return {GROUP: group, "account": _tagged(authorizer, AUTHORIZER)}


def service_account(authorizer: Any, namespace: str, name: str) -> Tree:
    """`authorizer.serviceAccount(namespace, name)`."""
    _tagged(authorizer, AUTHORIZER)
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise ValueError("Invalid service account name")
    if not _LABEL.fullmatch(namespace):
        raise ValueError("Invalid service account namespace")
    return {AUTHORIZER: f"{namespace}:{name}"}


def resource_check(group: Any, resource: str) -> Tree:
    """`authorizer.group(group).resource(resource)`."""
    if not resource.strip():
        raise ValueError("resource must not be empty")
    return {RESOURCE: resource, "group": _tagged(group, GROUP), "account": group["account"]}


def narrowed(part: str) -> Callable[[Any, str], Tree]:
    """What says more about a resource check: its `subresource`, `namespace`, `name`, `fields` or `labels`."""

    def narrow(check: Any, value: str) -> Tree:
        _tagged(check, RESOURCE)
        return {**check, part: value}

    return narrow


def decided(check: Any, verb: str) -> Tree:
    """`check.check(verb)`."""
    caller, authorizer = _asked.get()
    if isinstance(check, dict) and PATH in check:
        access = Access(verb, path=check[PATH])
    else:
        given = {part: check.get(part, "") for part in ("group", "subresource", "namespace", "name", "fields")}
        access = Access(verb, resource=_tagged(check, RESOURCE), version="*", **given)
    if account := check["account"]:
        namespace = account.partition(":")[0]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        caller = Caller(f"system:serviceaccount:{account}", groups)
    decision = authorizer(caller, access)
    return {DECISION: decision.allowed, "reason": decision.reason}


def allowed(decision: Any) -> bool:
    """`decision.allowed()`."""
    return bool(_tagged(decision, DECISION))


def reason(decision: Any) -> str:
    """`decision.reason()`."""
    _tagged(decision, DECISION)
    return str(decision["reason"])


def _tagged(value: Any, tag: str) -> Any:
    """The value behind a tag.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, dict) and tag in value:
        return value[tag]
    raise ValueError("no such overload")
