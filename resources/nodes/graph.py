"""Which nodes have Pods that refer to an object: kept by watch events, asked in a few microseconds.

    Pod (bound to a node) -> Secrets, ConfigMaps, a ServiceAccount, PersistentVolumeClaims -> PersistentVolume -> its Secrets

Only Pods are kept, as the names they refer to. Claims and volumes are read when somebody asks about one.

Source: K/plugin/pkg/auth/authorizer/node/graph.go, K/pkg/api/v1/pod/util.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from reconcile.errors import Tree
from reconcile.registry import Operator
from reconcile.resources.core import Pod
from reconcile.views import tree_of

MIRROR = "kubernetes.io/config.mirror"
Reference = tuple[str, str, str]
"""Resource, namespace, name."""
Look = Callable[[str, str, str, str], Tree | None]
"""(group, resource, namespace, name) -> the object as it is now, or None; without waiting."""


class NodeGraph:
    """What the Pods of each node refer to."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._pods: dict[tuple[str, str], tuple[str, str, tuple[Reference, ...]]] = {}
        # How many Pods of each node refer to it. The keys are the references of all Pods: equal ones are kept once.
        self._nodes: dict[Reference, tuple[Reference, dict[str, int]]] = {}

    # Keeping it

    def saw(self, pod: Tree, *, gone: bool) -> None:
        """Take in one change of a Pod."""
        meta = pod["metadata"]
        key, node = (meta["namespace"], meta["name"]), (pod.get("spec") or {}).get("nodeName") or ""
        known = self._pods.get(key)
        if known is not None:
            if not gone and known[:2] == (node, meta["uid"]):
                return  # what a Pod refers to never changes
            self._forget(key, known)
        if not gone and node:
            self._remember(key, node, pod)

    def _remember(self, key: tuple[str, str], node: str, pod: Tree) -> None:
        kept = []
        for reference in {("pods", *key), *references_of(pod)}:
            reference, nodes = self._nodes.setdefault(reference, (reference, {}))
            nodes[node] = nodes.get(node, 0) + 1
            kept.append(reference)
        self._pods[key] = (node, pod["metadata"]["uid"], tuple(kept))

    def _forget(self, key: tuple[str, str], known: tuple[str, str, tuple[Reference, ...]]) -> None:
        del self._pods[key]
        node, _, references = known
        for reference in references:
            nodes = self._nodes[reference][1]
            nodes[node] -= 1
            if not nodes[node]:
                del nodes[node]
                if not nodes:
                    del self._nodes[reference]

    # Asking it

    def leads(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a Pod of the node has to do with an object."""
        if self._referred(node, (resource, namespace, name)):
            return True
        if resource == "persistentvolumes":
            return self._has_volume(node, name)
        if resource == "secrets":
            return any((namespace, name) in _volume_secrets(volume) for volume in self._volumes(node))
        return False

    def _referred(self, node: str, reference: Reference) -> bool:
        found = self._nodes.get(reference)
        return found is not None and node in found[1]

    def _has_volume(self, node: str, name: str) -> bool:
        volume = self._look("", "persistentvolumes", "", name)
        claim = ((volume or {}).get("spec") or {}).get("claimRef") or {}
        return self._referred(node, ("persistentvolumeclaims", claim.get("namespace") or "", claim.get("name") or ""))

    def _volumes(self, node: str) -> Iterator[Tree]:
        """The volumes of all claims that Pods of the node refer to."""
        for (resource, namespace, name), (_, nodes) in self._nodes.items():
            if resource == "persistentvolumeclaims" and node in nodes:
                claim = self._look("", resource, namespace, name)
                bound = ((claim or {}).get("spec") or {}).get("volumeName")
                volume = self._look("", "persistentvolumes", "", bound) if bound else None
                reference = ((volume or {}).get("spec") or {}).get("claimRef") or {}
                if volume is not None and (reference.get("namespace"), reference.get("name")) == (namespace, name):
                    yield volume


def node_graph(graph: NodeGraph) -> Operator:
    """The operator that keeps `graph`."""
    app = Operator("node-graph")

    @app.on.event(Pod, inline=True, name="node-graph")
    def saw(obj: Any, event: str) -> None:  # Any: a view of a Pod
        graph.saw(tree_of(obj), gone=event == "DELETED")

    return app


def references_of(pod: Tree) -> Iterator[Reference]:
    """All that a node needs for a Pod; nothing for a mirror of what the node has from elsewhere."""
    meta, spec = pod["metadata"], pod.get("spec") or {}
    namespace = meta["namespace"]
    if MIRROR in (meta.get("annotations") or {}):
        return
    if spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, spec["serviceAccountName"]
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", namespace, secret.get("name") or ""
    for containers in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(containers) or ():
            for resource, name in _of_environment(container):
                yield resource, namespace, name
    for volume in spec.get("volumes") or ():
        for resource, name in _of_volume(volume, meta["name"]):
            yield resource, namespace, name
    for claim in (pod.get("spec") or {}).get("resourceClaims") or ():
        if claim.get("resourceClaimName"):
            yield "resourceclaims", namespace, claim["resourceClaimName"]


def _of_environment(container: Tree) -> Iterator[tuple[str, str]]:
    """The Secrets and ConfigMaps that a container's environment comes from."""
    for source in container.get("envFrom") or ():
        yield from _named(source, "secretRef", "configMapRef")
    for variable in container.get("env") or ():
        yield from _named(variable.get("valueFrom") or {}, "secretKeyRef", "configMapKeyRef")


def _named(tree: Tree, secret: str, config: str) -> Iterator[tuple[str, str]]:
    if tree.get(secret):
        yield "secrets", tree[secret].get("name") or ""
    if tree.get(config):
        yield "configmaps", tree[config].get("name") or ""


def _of_volume(volume: Tree, pod: str) -> Iterator[tuple[str, str]]:
    """What a volume of a Pod is made of."""
    for source, given in volume.items():
        if not isinstance(given, dict):
            continue
        if source == "configMap":
            yield "configmaps", given.get("name") or ""
        elif source == "persistentVolumeClaim":
            yield "persistentvolumeclaims", given.get("claimName") or ""
        elif source == "ephemeral":
            yield "persistentvolumeclaims", f"{pod}-{volume['name']}"
        elif source == "projected":
            for part in given.get("sources") or ():
                yield from _named(part, "secret", "configMap")
        else:
            for name, _ in _secrets_in(given):
                yield "secrets", name


def _volume_secrets(volume: Tree) -> set[tuple[str, str]]:
    """(namespace, name) of the Secrets that a node needs for a PersistentVolume."""
    spec = volume["spec"]
    own = (spec.get("claimRef") or {}).get("namespace") or ""
    sources = (given for given in spec.values() if isinstance(given, dict))
    return {(namespace or own, name) for given in sources for name, namespace in _secrets_in(given)}


def _secrets_in(source: Tree) -> Iterator[tuple[str, str]]:
    """(name, namespace) of each Secret in a volume's source: whatever the source, they stand under the same few names."""
    if source.get("secretName"):
        yield source["secretName"], source.get("secretNamespace") or ""
    for key in ("secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
        if source.get(key):
            yield source[key].get("name") or "", source[key].get("namespace") or ""
