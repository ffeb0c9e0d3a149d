"""Trees that share what did not change with others, and trees that share nothing."""

from __future__ import annotations

from typing import Any

import orjson

from reconcile.errors import BadRequestError, Tree


def own_copy(tree: Tree) -> Tree:
    """A deep copy, for those who are promised a tree of their own. Through JSON text it takes a third of the time.

    managedFields alone stay shared: they are nobody's to change in place, and would take half of it.

    Raises:
        BadRequestError: it holds what JSON cannot say.
    """
    meta = tree.get("metadata") or {}
    managed = meta.get("managedFields")
    rest = tree if managed is None else {**tree, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}
    try:
        made: Tree = orjson.loads(orjson.dumps(rest))
    except TypeError as error:
        raise BadRequestError(f"the object cannot be written as JSON: {error}") from error
    if managed is not None:
        made["metadata"]["managedFields"] = managed
    return made


def relinked(value: Any, known: Any) -> Any:
    """The same value with the stored object's own parts wherever they are equal: sharing, and rules not checked twice."""
    if value is known:
        return known
    if type(value) is dict and type(known) is dict:
        if value == known:
            return known
        return {key: relinked(item, known[key]) if key in known else item for key, item in value.items()}
    if type(value) is list and type(known) is list:
        if value == known:
            return known
        if len(value) == len(known):
            return [relinked(item, there) for item, there in zip(value, known, strict=True)]
    return value
