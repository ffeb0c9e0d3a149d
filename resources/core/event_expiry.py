"""Event expiry: what happened is told for an hour, as kube-apiserver does it; without an end Events would fill the store.

Source: K/cmd/kube-apiserver/app/options (--event-ttl)
"""

from __future__ import annotations

import logging

from reconcile.client import DeleteOptions
from reconcile.clock import parse_timestamp
from reconcile.errors import ApiError, ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster
from reconcile.kinds import kind_of
from reconcile.registry import Operator

from .event import Event

log = logging.getLogger(__name__)

TTL_S = 3600.0
LOOK_S = 300.0
_PAGE = 500


def event_expiry() -> Operator:
    """The operator that deletes Events an hour after they last happened."""
    app = Operator("event-expiry")

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        cluster.spawn(_look_for_ever(cluster), "look")

    app.serve(Event)
    return app


async def _look_for_ever(cluster: Cluster) -> None:
    # It lists now and then and keeps no cache: nobody needs all Events in memory once more.
    while True:
        await cluster.clock.sleep(LOOK_S)
        try:
            await _look(cluster)
        except ApiError as error:
            log.warning("looking for old Events failed, again in %g s: %s", LOOK_S, error)


async def _look(cluster: Cluster) -> None:
    kind, token = kind_of(Event), ""
    oldest_s = cluster.clock.now() - TTL_S
    while True:
        page = await cluster.client.list(kind, limit=_PAGE, continue_token=token)
        for tree in page.items:
            if _last_s(tree) >= oldest_s:
                continue
            meta = tree["metadata"]
            try:
                # Only as it was seen: one that happened again meanwhile is young again.
                options = DeleteOptions(uid=meta["uid"], resource_version=meta["resourceVersion"])
                await cluster.client.delete(kind, meta["name"], meta["namespace"], options)
            except (NotFoundError, ConflictError):
                continue
        token = page.continue_token
        if not token:
            return


def _last_s(tree: Tree) -> float:
    series = tree.get("series") or {}
    for at in (series.get("lastObservedTime"), tree.get("lastTimestamp"), tree.get("eventTime")):
        try:
            if at:
                return parse_timestamp(at)
        except ValueError:
            continue  # somebody's own idea of a time
    return parse_timestamp(tree["metadata"]["creationTimestamp"])
