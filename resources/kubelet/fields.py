"""The downward API: a pod's own fields and its containers' resources, as text. Pure.

Source: pkg/fieldpath/fieldpath.go, pkg/api/v1/resource/helpers.go ExtractContainerResourceValue
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from reconcile.errors import Tree
from reconcile.quantities import parse_quantity

from .errors import PodConfigError

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]$")


def field_value(pod: Tree, path: str, addresses: Mapping[str, str]) -> str:
    """The value of a fieldRef; `addresses` has `podIP` and `hostIP`, which the status may not show yet.

    Raises:
        PodConfigError: there is no such field to refer to.
    """
    meta, spec = pod["metadata"], pod["spec"]
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        return str((meta.get(subscript[1]) or {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return _map_text(meta.get(path.removeprefix("metadata.")) or {})
    plain = {
        "metadata.name": meta.get("name"),
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": addresses.get("hostIP"),
        "status.hostIPs": addresses.get("hostIP"),
        "status.podIP": addresses.get("podIP"),
        "status.podIPs": addresses.get("podIP"),
    }
    if path not in plain:
        raise PodConfigError(
            "CreateContainerConfigError", f"fieldRef {path!r} is no field a pod shows; use one of {', '.join(sorted(plain))}"
        )
    return str(plain[path] or "")


def resource_value(spec: Tree, container: Tree, reference: Tree, allocatable: Mapping[str, str]) -> str:
    """The value of a resourceFieldRef: in units of its divisor, rounded up.

    A limit that is missing is that of the Pod (its `spec`), or else what the node can give.

    Raises:
        PodConfigError: the resource or the divisor cannot be read.
    """
    wanted = str(reference.get("resource", ""))
    section, _, name = wanted.partition(".")
    if section not in ("limits", "requests") or not name:
        raise PodConfigError("CreateContainerConfigError", f"resourceFieldRef {wanted!r}: give limits.cpu, requests.memory ...")
    given = (container.get("resources") or {}).get(section) or {}
    quantity = given.get(name)
    if quantity is None and section == "requests":
        quantity = ((container.get("resources") or {}).get("limits") or {}).get(name, "0")
    if quantity is None:
        quantity = ((spec.get("resources") or {}).get("limits") or {}).get(name) or allocatable.get(name, "0")
    try:
        divisor = parse_quantity(reference.get("divisor") or "1") or parse_quantity("1")
        return str(math.ceil(parse_quantity(quantity) / divisor))
    except ValueError as error:
        raise PodConfigError("CreateContainerConfigError", f"resourceFieldRef {wanted!r}: {error}") from error


def container_named(spec: Tree, name: str) -> Tree:
    """The container or init container called `name`.

    Raises:
        PodConfigError: the pod has none of that name.
    """
    for container in (*spec["containers"], *(spec.get("initContainers") or ())):
        if container["name"] == name:
            return container  # type: ignore[no-any-return]  # a tree's items are Any
    raise PodConfigError("CreateContainerConfigError", f"resourceFieldRef names container {name!r}, which the pod does not have")


def _map_text(values: Mapping[str, str]) -> str:
    """Labels as the downward API writes them: sorted `key="value"` lines."""
    return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(values.items()))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
