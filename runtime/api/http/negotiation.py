"""Which rendering a client wants, from its Accept header.

What is worth most to the client comes first, and of equals what stands first in the list; the first that is served wins.

Source: k8s.io/apiserver/pkg/endpoints/handlers/negotiation, and the order of github.com/munnerz/goautoneg
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import attrs

from reconcile.errors import NotAcceptableError

from .exchange import JSON, PROTOBUF, YAML

View = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]
_MEDIA = {
    JSON: JSON, "*/*": JSON, "application/*": JSON, YAML: YAML, "application/x-yaml": YAML, "text/yaml": YAML, "text/*": YAML,
    PROTOBUF: PROTOBUF,
}  # fmt: skip
_VIEWS = {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}
_CONVERSION = ("as", "g", "v")
_SERVED, _STREAMS = f"{JSON}, {YAML}, {PROTOBUF}", f"{JSON};stream=watch, {PROTOBUF};stream=watch"
Clause = tuple[str, dict[str, str]]
"""A media type and its parameters."""


@attrs.frozen
class Rendering:
    """A media type, a view of the object (empty: the object itself) and the view's version."""

    media: str = JSON
    view: View = ""
    version: str = "v1"


@attrs.frozen(eq=False)
class Offer:
    """What an endpoint can answer with, besides JSON and YAML. There is one of each (see `offer_of`)."""

    views: bool
    protobuf: bool
    """The objects themselves in protobuf; views of them are there in any case."""
    many: bool
    """It is a list, which may be watched: its refusal names the streams, too."""
    routed: bool
    """By the router of the built-in kinds, which is the first to refuse, in its own words."""


offer_of = lru_cache(maxsize=16)(Offer)


@lru_cache(maxsize=256)
def rendering_of_objects(accept: str, offer: Offer) -> Rendering:
    """How to render objects and lists.

    Raises:
        NotAcceptableError: nothing that the client takes is served.
    """
    understood = False
    for media, parameters in _clauses(accept):
        served = _MEDIA.get(media)
        if served is None:
            continue
        understood = True
        if parameters.get("stream", "") not in ("", "watch") or (served == YAML and parameters.get("stream")):
            continue
        if not any(name in parameters for name in _CONVERSION):
            if served != PROTOBUF or offer.protobuf:
                return Rendering(served)
        elif offer.views and _is_view(served, parameters):
            return Rendering(served, parameters["as"], parameters["v"])  # type: ignore[arg-type]  # a view, as was looked up
    if understood or not offer.routed:
        raise not_acceptable()
    raise _not_routed(f"{_SERVED}, {_STREAMS}" if offer.many else _SERVED)


def rendering_of_status(accept: str) -> Rendering:
    """How to render a refusal, which is told in any case: in JSON to those who take nothing that there is."""
    for media, parameters in _clauses(accept):
        if media in _MEDIA and not any(name in parameters for name in _CONVERSION):
            return Rendering(_MEDIA[media])
    return Rendering()


def _is_view(served: str, parameters: dict[str, str]) -> bool:
    view = parameters.get("as")
    if view not in _VIEWS or (view == "Table" and served == PROTOBUF):
        return False
    return parameters.get("g", "meta.k8s.io") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1")


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
    raise _not_routed(_SERVED)


def not_acceptable(*, streams: bool = False) -> NotAcceptableError:
    """The client takes none of the forms that there are: of objects, or (`streams`) of watches."""
    return NotAcceptableError(f"only the following media types are accepted: {_STREAMS if streams else _SERVED}")


def _not_routed(served: str) -> NotAcceptableError:
    """The same in the words of the reference server's router."""
    return NotAcceptableError(f"406: Not Acceptable\n\nAvailable representations: {served}", details={})


def _clauses(accept: str) -> list[Clause]:
    """The clauses of an Accept header, the most wanted first: by weight, and what is said precisely before wildcards."""
    ordered: list[tuple[float, Clause]] = []
    for clause in (accept or "*/*").split(","):
        media, *given = (part.strip() for part in clause.split(";"))
        pairs = (p.partition("=") for p in given)
        parameters = {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        made = (_weight(parameters.pop("q", "1")), (media.lower(), parameters))
        place = len(ordered)
        while place and _goes_before(made, ordered[place - 1]):
            place -= 1
        ordered.insert(place, made)
    return [clause for _, clause in ordered]


def _goes_before(one: tuple[float, Clause], other: tuple[float, Clause]) -> bool:
    """The reference's comparison, which is no order: what it makes of odd headers depends on inserting one by one."""
    (weight, (media, _)), (other_weight, (other_media, _)) = one, other
    if weight > other_weight or (other_media.startswith("*") and not media.startswith("*")):
        return True
    return other_media.endswith("*") and not media.endswith("*")


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
