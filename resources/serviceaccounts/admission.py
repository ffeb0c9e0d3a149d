"""Gives new Pods their service account, and the volume by which their processes reach the API as that account.

Source: K/plugin/pkg/admission/serviceaccount/admission.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from reconcile.clock import Clock
from reconcile.errors import ForbiddenError, Tree
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Pod, ServiceAccount

from .controller import ACCOUNT, CA_KEY, ROOT_CA

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_FILE, NAMESPACE_FILE = "token", "namespace"
MIRROR = "kubernetes.io/config.mirror"
_VOLUME_PREFIX = "kube-api-access-"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_LASTS_S = 3607  # an hour, and a number that shows where it comes from
_LOOK_S, _LOOKS_MAX = 0.05, 20
_NAMESPACE = {"path": NAMESPACE_FILE, "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
# Every Pod holds this very one: fifteen dicts, which would be half of what a Pod takes. Trees that are stored are never changed
# in place, and who may change one (a mutator, say) is handed a copy.
_TOKEN_FILES: Tree = {
    "sources": [
        {"serviceAccountToken": {"expirationSeconds": _LASTS_S, "path": TOKEN_FILE}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": CA_KEY, "path": CA_KEY}]}},
        {"downwardAPI": {"items": [_NAMESPACE]}},
    ],
    "defaultMode": 0o644,
}

Find = Callable[[Kind, str, str], Tree | None]
"""(kind, name, namespace) -> the object as it is now, or None; without waiting."""


@attrs.frozen
class PodAccounts:
    """Admits new Pods. What it adds is complete: no defaults are missing in it."""

    find: Find
    clock: Clock

    async def admit(self, review: AdmissionReview) -> None:
        """Complete a Pod that is about to be created.

        Raises:
            ForbiddenError: it names a service account that is not there, or shows what runs already and wants one.
        """
        pod = review.tree
        spec = pod.get("spec")
        if not isinstance(spec, dict):
            return  # the schema's rules say so
        if MIRROR in (pod["metadata"].get("annotations") or {}):
            _check_mirror(pod["metadata"].get("name") or "", spec)
            return
        name = spec.get("serviceAccountName") or ACCOUNT
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(name, pod["metadata"])
        if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]
        mounts = spec.get("automountServiceAccountToken")
        if mounts is None:
            mounts = account.get("automountServiceAccountToken")
        if mounts is not False:
            self._mount(spec)

    async def _account(self, name: str, meta: Tree) -> Tree:
        kind, namespace = kind_of(ServiceAccount), meta["namespace"]
        found = self.find(kind, name, namespace)
        looks = 0
        while found is None and name == ACCOUNT and looks < _LOOKS_MAX:
            # A new namespace gets its account in a moment; its first Pod is not to fail for being quick.
            looks += 1
            await self.clock.sleep(_LOOK_S)
            found = self.find(kind, name, namespace)
        if found is None:
            why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise _refused(meta.get("name", ""), why)
        return found

    def _mount(self, spec: Tree) -> None:
        """Mount the token where clients look for it, in every container that has nothing there."""
        bare = [container for container in _containers(spec) if not _has_mount(container)]
        if not bare:
            return
        volumes = spec.get("volumes") or []
        volume = next((v["name"] for v in volumes if _is_ours(v)), "")
        if not volume:
            volume = _VOLUME_PREFIX + "".join(self.clock.random.choices(_ALPHABET, k=5))
            spec["volumes"] = [*volumes, token_volume(volume)]
        for container in bare:
            mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def token_volume(name: str) -> Tree:
    """The volume with the account's token, the API's authority and the Pod's namespace."""
    return {"name": name, "projected": _TOKEN_FILES}


def _check_mirror(name: str, spec: Tree) -> None:
    if spec.get("serviceAccountName"):
        raise _refused(name, "a mirror pod may not reference service accounts")
    if any("serviceAccountToken" in source for v in spec.get("volumes") or () for source in _projected(v)):
        raise _refused(name, "a mirror pod may not use service account token volume projections")


def _refused(pod: str, why: str) -> ForbiddenError:
    return ForbiddenError(f'pods "{pod}" is forbidden: {why}', details={"name": pod, "kind": kind_of(Pod).plural})


def _projected(volume: Tree) -> Sequence[Tree]:
    return (volume.get("projected") or {}).get("sources") or ()


def _containers(spec: Tree) -> Iterator[Tree]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _has_mount(container: Tree) -> bool:
    return any(mount.get("mountPath") == MOUNT_PATH for mount in container.get("volumeMounts") or ())


def _is_ours(volume: Tree) -> bool:
    """A volume that a client took over from another Pod, as `kubectl get -o yaml | kubectl create -f -` does."""
    return volume["name"].startswith(_VOLUME_PREFIX) and any("serviceAccountToken" in source for source in _projected(volume))
