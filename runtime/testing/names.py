"""How a simulation names objects: `pods/web-1`, `kube-system/pods/dns` outside the namespace `default`, `nodes/n1`."""

from __future__ import annotations

from collections.abc import Iterable

from reconcile.errors import NotFoundError
from reconcile.kinds import Kind

NAMESPACE = "default"
UNCOUNTED = frozenset({"events", "leases"})
"""Kinds that tell of what happens and are no state: their writes are not counted, not faulted and not compared."""


def object_name(kind: Kind, namespace: str, name: str) -> str:
    """The name of an object in plans, traces and reports."""
    plain = f"{kind.plural}/{name}"
    return f"{namespace}/{plain}" if kind.namespaced and namespace not in ("", NAMESPACE) else plain


def kind_called(text: str, kinds: Iterable[Kind]) -> Kind:
    """The kind behind `webapps`, `webapp`, `WebApp`, a short name, or `webapps.example.com`.

    Raises:
        NotFoundError: none is served under that name.
    """
    served = list(kinds)
    resource, _, group = text.lower().partition(".")
    for kind in served:
        named = {kind.plural, kind.singular, kind.kind.lower(), *kind.short_names}
        if resource in named and (not group or group == kind.group):
            return kind
    known = ", ".join(sorted({kind.plural for kind in served}))
    raise NotFoundError(f"no kind is called {text!r}; these are served: {known}")


def parse_name(text: str, kinds: Iterable[Kind]) -> tuple[Kind, str, str]:
    """Kind, namespace and name behind `webapps/shop` or `space/webapps/shop`.

    Raises:
        NotFoundError: it is no name of an object, or its kind is not served.
    """
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise NotFoundError(f"{text!r} names no object; write webapps/shop, or space/webapps/shop outside the default namespace")
    kind = kind_called(parts[-2], kinds)
    namespace = parts[0] if len(parts) == 3 else NAMESPACE
    return kind, namespace if kind.namespaced else "", parts[-1]
