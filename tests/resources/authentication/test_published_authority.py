"""Where other servers of a cluster find out by which authority its clients are known."""

from __future__ import annotations

from typing import Any

from reconcile.kinds import kind_of
from reconcile.resources.authentication.published import published_authority
from reconcile.resources.core import ConfigMap
from reconcile.runtime.testing.virtual import VirtualClock, virtual

NAME, SPACE, CA = "extension-apiserver-authentication", "kube-system", "-----BEGIN CERTIFICATE-----\n"


@virtual
async def test_the_authority_of_clients_is_published_and_comes_back(clock: VirtualClock, control_plane: Any) -> None:
    """Without it kube-scheduler and kube-controller-manager know nobody who asks them for metrics."""
    async with control_plane(clock, published_authority(lambda: CA)) as plane:
        await plane.engine.settled()
        kind = kind_of(ConfigMap)
        assert (await plane.client.get(kind, NAME, SPACE))["data"] == {"client-ca-file": CA}
        await plane.client.delete(kind, NAME, SPACE)
        await plane.engine.settled()
        await plane.client.get(kind, NAME, SPACE)


@virtual
async def test_what_others_publish_beside_it_stays(clock: VirtualClock, control_plane: Any) -> None:
    """Who runs an aggregated server writes the authority of its front proxy there."""
    async with control_plane(clock, published_authority(lambda: CA)) as plane:
        await plane.engine.settled()
        kind, theirs = kind_of(ConfigMap), {"requestheader-client-ca-file": "x"}
        tree = await plane.client.get(kind, NAME, SPACE)
        await plane.client.update(kind, {**tree, "data": {**theirs, "client-ca-file": "another"}}, SPACE)
        await plane.engine.settled()
        assert (await plane.client.get(kind, NAME, SPACE))["data"] == {"client-ca-file": CA, **theirs}
