"""What an applied configuration says beyond the schema of its kind: server-side apply cannot say whose that would be.

Source: sigs.k8s.io/structured-merge-diff/typed (validate)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from reconcile.errors import BadRequestError, Cause, Tree

from .catalog import Served
from .objectmeta import SHAPES
from .structure import keys_of, list_kind

_OF_EVERY_OBJECT = ("apiVersion", "kind", "metadata")
_NOTHING: Tree = {}
_WHY = "field not declared in schema"


def check_declared(served: Served, body: Tree) -> None:
    """Refuse a configuration with fields that its kind does not have, whatever fieldValidation says.

    The reference server does so with code 500; here it is the client's mistake.

    Raises:
        BadRequestError: there are some; all of them are named, in the causes with indexes instead of keys.
    """
    found = undeclared(body, served.schema)
    if not found:
        return
    texts = [f"{path}: {_WHY}" for path in found]
    meta = body.get("metadata") or _NOTHING
    about = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}; {served.api_version}, Kind={served.kind.kind}"
    told = texts[0] if len(texts) == 1 else "\n".join(["errors:", *(f"  {text}" for text in texts)])
    causes = [Cause("FieldNotDeclared", _WHY, place) for place in found.values()]
    raise BadRequestError(f"failed to create typed patch object ({about}): {told}", causes=causes)


def undeclared(tree: Tree, schema: Tree) -> dict[str, str]:
    """The paths of fields that the schema of a whole object does not have, each in both forms.

    Those are `.spec.containers[name="web"].imag`, as managedFields name items, and `spec.containers[0].imag`.
    """
    metadata = tree.get("metadata")
    unknown = [name for name in metadata if name not in SHAPES] if isinstance(metadata, dict) else []
    found = {f".metadata.{name}": f"metadata.{name}" for name in unknown}
    rest = {name: value for name, value in tree.items() if name not in _OF_EVERY_OBJECT}
    return found | {path: place.removeprefix(".") for path, place in _undeclared(rest, schema, "", "")}


def _undeclared(value: Any, schema: Tree, path: str, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        keys = keys_of(schema) if list_kind(schema) == "map" else ()
        items = schema.get("items") or _NOTHING
        for at, item in enumerate(value):
            yield from _undeclared(item, items, f"{path}[{_named(item, keys, at)}]", f"{place}[{at}]")
    elif isinstance(value, dict):
        properties, extra = schema.get("properties") or _NOTHING, schema.get("additionalProperties")
        closed = properties and not (extra or schema.get("x-kubernetes-preserve-unknown-fields"))
        known_by_all = _OF_EVERY_OBJECT if schema.get("x-kubernetes-embedded-resource") else ()
        for name, item in value.items():
            below = properties.get(name) or (extra if isinstance(extra, dict) else None)
            if name in properties or below is not None:
                yield from _undeclared(item, below or _NOTHING, f"{path}.{name}", f"{place}.{name}")
            elif known_by_all and name == "metadata" and isinstance(item, dict):
                yield from ((f"{path}.metadata.{each}", f"{place}.metadata.{each}") for each in item if each not in SHAPES)
            elif closed and name not in known_by_all:
                yield f"{path}.{name}", f"{place}.{name}"


def _named(item: Any, keys: Sequence[str], at: int) -> str:
    """How an item is named in a path: by its keys where it has them, by its place otherwise."""
    if not keys or not isinstance(item, dict) or any(key not in item for key in keys):
        return str(at)
    return ",".join(f"{key}={orjson.dumps(item[key]).decode()}" for key in keys)
