"""Makes folders for claims that another binder asks volumes for: kube-controller-manager in place of ours.

It is to that what any provisioner outside of it is. The class `local`, which is the default, sends it claims; the binder says in
a claim's annotation who is to make its volume, binds what was made, and says Released when the claim is gone.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/, github.com/kubernetes-csi/external-provisioner
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from reconcile.errors import AlreadyExistsError
from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import Resource
from reconcile.registry import Operator
from reconcile.resources.stored.storage import persistent_volume, storage_class
from reconcile.views import tree_of

from .binder import is_made_here, removed
from .claims import LOCAL, PROVISIONER, PersistentVolume, PersistentVolumeClaim, is_bound, volume_for

ASKED = "volume.kubernetes.io/storage-provisioner"
DEFAULT = "storageclass.kubernetes.io/is-default-class"


def local_provisioner(folder: Path, remove: Callable[[Path], Awaitable[None]] = removed) -> Operator:
    """The operator; volumes lie below `folder`, and are taken away by `remove`."""
    app = Operator("local-provisioner")

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        try:
            await cluster.client.create(
                storage_class(), {"metadata": {"name": LOCAL, "annotations": {DEFAULT: "true"}}, "provisioner": PROVISIONER}
            )
        except AlreadyExistsError:
            return  # from an earlier run, or somebody's own

    @app.on.reconcile(PersistentVolumeClaim)
    async def claim(claim: Resource, cluster: Cluster, events: EventRecorder) -> None:
        tree = tree_of(claim)
        asked = (tree["metadata"].get("annotations") or {}).get(ASKED) == PROVISIONER
        if not asked or is_bound(tree) or tree["spec"].get("volumeName") or claim.deleting:
            return
        made = volume_for(tree, folder)
        try:
            await cluster.client.create(persistent_volume(), made)
        except AlreadyExistsError:
            return  # it is for the binder now
        events.normal("ProvisioningSucceeded", f"Successfully provisioned volume {made['metadata']['name']}")

    @app.on.reconcile(PersistentVolume)
    async def volume(volume: Resource, cluster: Cluster) -> None:
        tree = tree_of(volume)
        released = (tree.get("status") or {}).get("phase") == "Released" and not volume.deleting
        if released and tree["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and is_made_here(tree, folder):
            await remove(Path(tree["spec"]["hostPath"]["path"]))
            await cluster.delete(volume)

    return app
