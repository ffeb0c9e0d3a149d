"""The scale subresource: a kind's replicas as an autoscaling/v1 Scale, found by the paths that the kind declares.

Source: k8s.io/api/autoscaling/v1, k8s.io/apiextensions-apiserver/pkg/registry/customresource/etcd.go
"""

from __future__ import annotations

from typing import Any

from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import Kind
from reconcile.paths import getter, split
from reconcile.selectors import label_selector

from . import refusals
from .refusals import show, value_invalid
from .stored import Stored


def scale_of(kind: Kind, stored: Stored) -> Stored:
    """The Scale of an object."""
    declared = kind.scale
    if declared is None:
        raise refusals.no_such_resource()
    tree = stored.tree
    selector = getter(declared.selector)(tree) if declared.selector else None
    status: Tree = {"replicas": getter(declared.status_replicas)(tree) or 0}
    if isinstance(selector, dict):
        selector = str(label_selector(selector))
    if selector:
        status["selector"] = selector
    metadata = {
        name: tree["metadata"][name]
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if name in tree["metadata"]
    }
    replicas = getter(declared.replicas)(tree)
    spec = {"replicas": replicas} if replicas else {}  # zero is left out, as on the reference server
    made: Tree = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}
    return Stored(kind, made, b"", stored.revision)


def scaled_tree(kind: Kind, old: Tree, scale: Any) -> Tree:
    """The object with the replicas that a Scale asks for.

    Raises:
        BadRequestError: it is no Scale of this object.
        InvalidError: the number is negative.
    """
    declared = kind.scale
    if declared is None:
        raise refusals.no_such_resource()
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise BadRequestError(f"the body is no Scale: {show(scale)[:100]}")
    metadata = scale.get("metadata") or {}
    name = old["metadata"]["name"]
    if metadata.get("name", name) != name:
        raise BadRequestError(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if type(replicas) is not int:
        raise BadRequestError(f"Scale: spec.replicas is {show(replicas)}; give a whole number")
    if replicas < 0:
        cause = value_invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise refusals.invalid(kind, name, [cause])
    made = _set(old, split(declared.replicas), replicas)
    given = metadata.get("resourceVersion")
    if given:
        made = {**made, "metadata": {**made["metadata"], "resourceVersion": given}}
    return made


def _set(tree: Any, keys: tuple[str, ...], value: Any) -> Tree:
    there = tree if isinstance(tree, dict) else {}
    head, *rest = keys
    return {**there, head: _set(there.get(head), tuple(rest), value) if rest else value}
