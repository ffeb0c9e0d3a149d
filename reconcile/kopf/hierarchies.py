"""Children of an object: owner references, names, namespaces and labels, put on plain trees (and on what wraps them: `.obj`).

The owner is the handled object unless one is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from reconcile.errors import DeclarationError, Tree

from .adapting import current_body
from .bodies import View


def adopt(objs: Any, owner: Any = None, *, forced: bool = False, strict: bool = False, nested: Any = None) -> None:
    """Make objects children of the owner: referenced, named after it, in its namespace, with its labels."""
    parent = _owner(owner)
    meta = parent.get("metadata") or {}
    append_owner_reference(objs, owner=parent)
    harmonize_naming(objs, name=meta.get("name"), forced=forced, strict=strict)
    adjust_namespace(objs, namespace=meta.get("namespace"), forced=forced)
    label(objs, labels=meta.get("labels") or {}, nested=nested, forced=forced)


def append_owner_reference(
    objs: Any, owner: Any = None, *, controller: bool | None = True, block_owner_deletion: bool | None = True
) -> None:
    """Add a reference to the owner, once."""
    reference = build_owner_reference(_owner(owner), controller=controller, block_owner_deletion=block_owner_deletion)
    for tree in _trees(objs):
        references = tree.setdefault("metadata", {}).setdefault("ownerReferences", [])
        if all(known.get("uid") != reference.get("uid") for known in references):
            references.append(reference)


def remove_owner_reference(objs: Any, owner: Any = None) -> None:
    """Remove the reference to the owner."""
    uid = (_owner(owner).get("metadata") or {}).get("uid")
    for tree in _trees(objs):
        meta = tree.setdefault("metadata", {})
        if "ownerReferences" in meta:
            meta["ownerReferences"] = [known for known in meta["ownerReferences"] if known.get("uid") != uid]


def harmonize_naming(objs: Any, name: str | None = None, *, forced: bool = False, strict: bool = False) -> None:
    """Name objects after the owner: a generated name, or (strict) the very same."""
    wanted = name if name is not None else (_owner(None).get("metadata") or {}).get("name")
    for tree in _trees(objs):
        meta = tree.setdefault("metadata", {})
        if not forced and (meta.get("name") or meta.get("generateName")):
            continue
        for part in ("name", "generateName"):
            meta.pop(part, None)
        if strict:
            meta["name"] = wanted
        else:
            meta["generateName"] = f"{wanted}-"


def adjust_namespace(objs: Any, namespace: str | None = None, *, forced: bool = False) -> None:
    """Put objects into the owner's namespace, unless they have one."""
    wanted = namespace if namespace is not None else (_owner(None).get("metadata") or {}).get("namespace")
    for tree in _trees(objs):
        meta = tree.setdefault("metadata", {})
        if wanted and (forced or not meta.get("namespace")):
            meta["namespace"] = wanted


def label(objs: Any, labels: Mapping[str, str] | None = None, *, forced: bool = False, nested: Any = None) -> None:
    """Put labels on objects, and on what is nested in them at these paths (`spec.template`)."""
    wanted = dict(labels if labels is not None else (_owner(None).get("metadata") or {}).get("labels") or {})
    paths = [nested] if isinstance(nested, str) else list(nested or ())
    for tree in _trees(objs):
        for place in (tree, *(found for path in paths if (found := _at(tree, path)) is not None)):
            if not wanted:
                continue
            known = place.setdefault("metadata", {}).setdefault("labels", {})
            known.update({key: value for key, value in wanted.items() if forced or key not in known})


def build_object_reference(body: Any) -> Tree:
    """A reference to an object, as Events have it."""
    tree = _plain(body)
    meta = tree.get("metadata") or {}
    found = {"apiVersion": tree.get("apiVersion"), "kind": tree.get("kind"), "name": meta.get("name"), "uid": meta.get("uid")}
    return {name: value for name, value in {**found, "namespace": meta.get("namespace")}.items() if value}


def build_owner_reference(body: Any, *, controller: bool | None = True, block_owner_deletion: bool | None = True) -> Tree:
    """A reference to an owner."""
    reference = build_object_reference(body)
    reference.pop("namespace", None)
    for name, value in (("controller", controller), ("blockOwnerDeletion", block_owner_deletion)):
        if value is not None:
            reference[name] = value
    return reference


def _owner(owner: Any) -> Tree:
    body = owner if owner is not None else current_body()
    if body is None:
        raise DeclarationError("no owner is given, and no handler of an object runs; name it: owner=body")
    return _plain(body)


def _plain(body: Any) -> Tree:
    raw = getattr(body, "obj", body)
    return raw.tree if isinstance(raw, View) else dict(raw)


def _trees(objs: Any) -> Iterable[MutableMapping[str, Any]]:
    many = isinstance(objs, Iterable) and not isinstance(objs, Mapping) and not hasattr(objs, "obj")
    for obj in objs if many else [objs]:
        raw = getattr(obj, "obj", obj)
        if not isinstance(raw, MutableMapping):
            raise DeclarationError(f"{type(obj).__name__} is no plain object (a dict, or something with a dict as `.obj`)")
        yield raw


def _at(tree: MutableMapping[str, Any], path: str) -> MutableMapping[str, Any] | None:
    node: Any = tree
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, MutableMapping) else None
