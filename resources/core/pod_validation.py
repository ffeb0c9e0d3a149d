"""What a Pod, or a Pod template, may say."""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree

from .names import check_labels


def validate_pod(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    """Yield what is wrong with a Pod."""
    yield from check_labels(tree["metadata"])


def validate_template(template: Tree, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the Pod template at `path`."""
    yield from check_labels(template.get("metadata") or {}, f"{path}.metadata")
