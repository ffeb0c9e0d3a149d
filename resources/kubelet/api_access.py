"""How a container's process finds the API and its service account's token.

Clients look in `/var/run/secrets/kubernetes.io/serviceaccount`, where nothing can be mounted without rights that a user of a
laptop does not have (see `mounts`). So, beside the variables of the Service `kubernetes`, a container that mounts its account's
volume there gets a kubeconfig of its own, in `KUBECONFIG`: it names the files in the volume, which are renewed in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from reconcile.errors import Tree

from .environment import service_links

ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_NAME = "reconcile"


def api_environment(
    container: Tree, namespace: str, address: tuple[str, int], volumes: Mapping[str, Path], own: Path
) -> dict[str, str]:
    """The variables for one container; writes its kubeconfig into `own`, the pod's folder."""
    host, port = address
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Where the API listens itself: the Service's own address is there only when the proxy is, a moment later.
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    found = service_links([{"metadata": {"name": "kubernetes"}, "spec": {"clusterIP": host, "ports": ports}}])
    mounts = (mount for mount in container.get("volumeMounts") or () if mount["mountPath"].rstrip("/") == ACCOUNT_PATH)
    volume = next((volumes[mount["name"]] for mount in mounts if mount["name"] in volumes), None)
    if volume is not None:
        file = own / "kubeconfig"
        text = json.dumps(_kubeconfig(f"https://{netloc}", namespace, volume), indent=2)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
        found["KUBECONFIG"] = str(file)
    return found


def _kubeconfig(server: str, namespace: str, volume: Path) -> Tree:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": server, "certificate-authority": str(volume / "ca.crt")}}],
        "users": [{"name": _NAME, "user": {"tokenFile": str(volume / "token")}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace}}],
        "current-context": _NAME,
    }
