"""New objects are created with the finalizers of operators elsewhere, while these watch.

An operator that has something to do before an object goes puts its finalizer on it before any of its handlers runs: one more
write, and one more fsync to wait for, from creation to handler. It can have that done by the creation itself, as an operator in
this process does: its watch says so, and it holds as long as the watch is open. What is created while it is not gets the
finalizer from the operator, as on any server. It takes the right that adding it takes: to patch the objects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from reconcile.client import FINALIZERS_HEADER
from reconcile.errors import BadRequestError, ForbiddenError
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind
from reconcile.runtime.api.names import check_finalizers
from reconcile.runtime.api.server import ApiServer

from .exchange import Carried, Request
from .location import Location


def wanted(request: Request, location: Location) -> list[str]:
    """The finalizers that a watch asks for; none where it watches a part of the objects, or its client may not patch them.

    Raises:
        BadRequestError: one of them is no name of a finalizer, so that nothing could be created with it.
    """
    asked = request.headers.get(FINALIZERS_HEADER, "")
    if not asked or location.name or "labelSelector" in request.query or "fieldSelector" in request.query:
        return []
    finalizers = [name.strip() for name in asked.split(",")]
    for cause in check_finalizers(finalizers):
        raise BadRequestError(f"{FINALIZERS_HEADER}: {cause.message}")
    try:
        request.must("patch", "")
    except ForbiddenError:
        return []  # it will be told when it tries
    return finalizers


async def while_watched(
    api: ApiServer, kind: Kind, namespace: str, finalizers: list[str], pieces: AsyncIterator[bytes | Carried]
) -> AsyncIterator[bytes | Carried]:
    """The pieces of a watch; until they end, new objects of what it watches are created with the finalizers."""

    def begin(review: AdmissionReview) -> None:
        meta = review.tree["metadata"]
        if namespace and meta.get("namespace") != namespace:
            return
        there = meta.get("finalizers") or []
        if missing := [name for name in finalizers if name not in there]:
            meta["finalizers"] = [*there, *missing]

    remove = api.add_initializer(kind, begin)
    try:
        async for piece in pieces:
            yield piece
    finally:
        remove()
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
