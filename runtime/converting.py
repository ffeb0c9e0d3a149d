"""Conversion between versions for an API server elsewhere: what classes declare (`@convert`), asked as a webhook.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reconcile.conversion import converted, versions_of
from reconcile.errors import ConversionError, Tree
from reconcile.kinds import Resource, kind_of


class Conversions:
    """The kinds that functions convert, by resource (`carts.shop.example.com`)."""

    def __init__(self) -> None:
        self._classes: dict[str, dict[str, type[Resource]]] = {}

    @property
    def resources(self) -> list[str]:
        """What can be converted."""
        return list(self._classes)

    def add(self, classes: Iterable[type[Resource]]) -> None:
        """Convert objects of these classes from now on, where functions do; a program that was loaded again replaces its own."""
        for cls in classes:
            joined = versions_of(cls) if cls is not Resource else []
            if len(joined) > 1:
                self._classes[kind_of(cls).resource] = {kind_of(each).version: each for each in joined}

    def answer(self, resource: str, review: Tree) -> Tree:
        """The answer to a ConversionReview. One object that cannot be converted fails all: the protocol knows no more."""
        request = review["request"]
        answer: Tree = {"uid": request["uid"]}
        try:
            wanted = self._class(resource, request["desiredAPIVersion"])
            made = [converted(tree, self._class(resource, tree.get("apiVersion")), wanted) for tree in request["objects"]]
            answer |= {"result": {"status": "Success"}, "convertedObjects": made}
        except ConversionError as error:
            answer |= {"result": {"status": "Failure", "message": error.message}, "convertedObjects": []}
        return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": answer}

    def _class(self, resource: str, api_version: Any) -> type[Resource]:
        known = self._classes.get(resource, {})
        for cls in known.values():
            if kind_of(cls).api_version == api_version:
                return cls
        versions = ", ".join(sorted(known)) or "none of it"
        raise ConversionError(f"{api_version} of {resource} is not known to this operator, which has {versions}")
