"""Which rendering a client wants, from its Accept header.

The first one in the list that is served wins, as in the reference server (which does not weigh `q` either).

Source: k8s.io/apiserver/pkg/endpoints/handlers/negotiation
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import attrs

from reconcile.errors import NotAcceptableError

from .exchange import JSON, YAML

View = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]
PROTOBUF = "application/vnd.kubernetes.protobuf"
_MEDIA = {
    JSON: JSON, "*/*": JSON, "application/*": JSON, YAML: YAML, "application/x-yaml": YAML, "text/yaml": YAML, "text/*": YAML,
}  # fmt: skip
_VIEWS = {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}


@attrs.frozen
class Rendering:
    """A media type, a view of the object (empty: the object itself) and the view's version."""

    media: str = JSON
    view: View = ""
    version: str = "v1"


@lru_cache(maxsize=256)
def rendering_of_objects(accept: str, *, views: bool = True) -> Rendering:
    """How to render objects and lists; without `views`, only as they are.

    Raises:
        NotAcceptableError: nothing that the client takes is served.
    """
    asked_for_view = False
    for media, parameters in _clauses(accept):
        served = _MEDIA.get(media)
        if served is None:
            continue
        view = parameters.get("as", "")
        if not view:
            return Rendering(served)
        asked_for_view = True
        if (
            views
            and view in _VIEWS
            and parameters.get("g", "meta.k8s.io") == "meta.k8s.io"
            and parameters.get("v") in ("v1", "v1beta1")
        ):
            return Rendering(served, view, parameters["v"])  # type: ignore[arg-type]  # membership of _VIEWS makes it a View
    raise not_acceptable(view=asked_for_view)


@lru_cache(maxsize=64)
def rendering_of_discovery(accept: str) -> Rendering:
    """How to render /api and /apis: aggregated (v2 or v2beta1) or the plain old lists."""
    for media, parameters in _clauses(accept):
        if _MEDIA.get(media) is None:
            continue
        view, version = parameters.get("as", ""), parameters.get("v", "")
        if not view:
            return Rendering(_MEDIA[media])
        if view == "APIGroupDiscoveryList" and version in ("v2", "v2beta1"):
            return Rendering(JSON, "APIGroupDiscoveryList", version)
    raise not_acceptable(view=False)


def not_acceptable(*, view: bool) -> NotAcceptableError:
    """The reference server's two texts: the router's, and the one for a view that a resource does not have."""
    served = f"{JSON}, {YAML}"
    if view:
        return NotAcceptableError(f"only the following media types are accepted: {served}")
    return NotAcceptableError(f"406: Not Acceptable\n\nAvailable representations: {served}", details={})


def _clauses(accept: str) -> list[tuple[str, dict[str, str]]]:
    clauses = []
    for clause in (accept or "*/*").split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        pairs = (p.partition("=") for p in parameters)
        clauses.append((media.lower(), {key.strip(): value.strip().strip('"') for key, _, value in pairs}))
    return clauses
