"""A container's environment: what the node gives, the Services of its namespace, envFrom, env; in that order, later wins.

ConfigMaps and Secrets are read through a `Sources`, so that this module is the rules alone.

Source: pkg/kubelet/kubelet_pods.go makeEnvironmentVariables, pkg/kubelet/envvars
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from reconcile.errors import Tree

from .errors import PodConfigError
from .expansion import expand
from .fields import container_named, field_value, resource_value

SourceKind = Literal["ConfigMap", "Secret"]
_NAME = re.compile(r"[ -<>-~]+")  # what the kubelet takes since 1.30: printable ASCII but "="


class Sources(Protocol):
    """Where a pod's ConfigMaps and Secrets come from."""

    async def source(self, kind: SourceKind, namespace: str, name: str) -> Tree | None:
        """The object, or None where there is none."""

    async def claimed(self, namespace: str, name: str) -> tuple[Path | None, str]:
        """Where the data of a claim lies on this machine; or None, and what is in the way."""

    async def token(self, pod: Tree, audience: str, lasts_s: int) -> tuple[str, str]:
        """A token of the pod's service account, and when it expires. Raises ApiError."""

    async def services(self, namespace: str) -> Sequence[Tree]:
        """The Services of a namespace, oldest first."""


def values_of(kind: SourceKind, tree: Tree) -> dict[str, bytes]:
    """The keys of a ConfigMap (data and binaryData) or of a Secret, decoded."""
    values = {} if kind == "Secret" else {key: str(value).encode() for key, value in (tree.get("data") or {}).items()}
    encoded = tree.get("data") if kind == "Secret" else tree.get("binaryData")
    for key, value in (encoded or {}).items():
        try:
            values[key] = base64.b64decode(value, validate=False)
        except (binascii.Error, TypeError) as error:
            name = f"{tree['metadata'].get('namespace', '')}/{tree['metadata'].get('name', '')}"
            raise PodConfigError("CreateContainerConfigError", f"{kind} {name}: key {key!r} is not base64: {error}") from error
    return values


async def environment(
    pod: Tree, container: Tree, sources: Sources, *,
    given: Mapping[str, str], addresses: Mapping[str, str], allocatable: Mapping[str, str],
) -> dict[str, str]:  # fmt: skip
    """Everything the container finds in its environment; `given` is what the node puts there, which all else overrides.

    Raises:
        PodConfigError: a ConfigMap, Secret, key or field that is not optional is missing.
    """
    namespace = pod["metadata"]["namespace"]
    links = await _service_links(pod, sources)
    result = await _from_whole_objects(container, sources, namespace)
    own: dict[str, str] = {}
    for entry in container.get("env") or ():
        name = entry["name"]
        known = {**given, **links, **result, **own}
        if entry.get("valueFrom"):
            value = await _referred(pod, container, entry["valueFrom"], sources, addresses, allocatable)
            if value is None:
                continue
        else:
            value = expand(str(entry.get("value") or ""), known)
        own[name] = value
    return {**given, **links, **result, **own}


async def _from_whole_objects(container: Tree, sources: Sources, namespace: str) -> dict[str, str]:
    result: dict[str, str] = {}
    for entry in container.get("envFrom") or ():
        kind: SourceKind = "ConfigMap" if entry.get("configMapRef") else "Secret"
        reference = entry.get("configMapRef") or entry.get("secretRef") or {}
        tree = await _required(sources, kind, namespace, reference)
        for key, value in (values_of(kind, tree) if tree else {}).items():
            name = f"{entry.get('prefix') or ''}{key}"
            if _NAME.fullmatch(name):
                result[name] = value.decode(errors="replace")
    return result


async def _required(sources: Sources, kind: SourceKind, namespace: str, reference: Tree) -> Tree | None:
    name = str(reference.get("name") or "")
    tree = await sources.source(kind, namespace, name)
    if tree is None and not reference.get("optional"):
        raise PodConfigError("CreateContainerConfigError", f'{kind.lower()} "{name}" not found')
    return tree


async def _referred(
    pod: Tree, container: Tree, reference: Tree, sources: Sources, addresses: Mapping[str, str], allocatable: Mapping[str, str]
) -> str | None:
    """The value of a valueFrom; None where an optional one is missing."""
    if reference.get("fieldRef"):
        return field_value(pod, reference["fieldRef"].get("fieldPath", ""), addresses)
    if reference.get("resourceFieldRef"):
        wanted = reference["resourceFieldRef"]
        named = wanted.get("containerName")
        spec = pod["spec"]
        return resource_value(spec, container_named(spec, named) if named else container, wanted, allocatable)
    for field, kind in _KEY_REFERENCES:
        wanted = reference.get(field)
        if not wanted:
            continue
        namespace = pod["metadata"]["namespace"]
        tree = await _required(sources, kind, namespace, wanted)
        if tree is None:
            return None
        key = wanted.get("key", "")
        value = values_of(kind, tree).get(key)
        if value is None and not wanted.get("optional"):
            raise PodConfigError(
                "CreateContainerConfigError", f"couldn't find key {key} in {kind} {namespace}/{wanted.get('name')}"
            )
        return None if value is None else value.decode(errors="replace")
    return None


_KEY_REFERENCES: tuple[tuple[str, SourceKind], ...] = (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret"))


async def _service_links(pod: Tree, sources: Sources) -> dict[str, str]:
    if pod["spec"].get("enableServiceLinks") is False:
        return {}
    namespace = pod["metadata"]["namespace"]
    found = await sources.services(namespace)
    # The API's own Service is told to Pods of every namespace (see `api_access`).
    return service_links(each for each in found if (namespace, each["metadata"]["name"]) != ("default", "kubernetes"))


def service_links(services: Iterable[Tree]) -> dict[str, str]:
    """The variables of Services that have an address: `<NAME>_SERVICE_HOST`, `_SERVICE_PORT` and the Docker-style ones."""
    links: dict[str, str] = {}
    for service in services:
        spec = service.get("spec") or {}
        address = spec.get("clusterIP")
        ports = spec.get("ports") or ()
        if not address or address == "None" or not ports:
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        links[f"{name}_SERVICE_HOST"] = address
        links[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        first = ports[0]
        links[f"{name}_PORT"] = f"{(first.get('protocol') or 'TCP').lower()}://{address}:{first['port']}"
        for port in ports:
            protocol = port.get("protocol") or "TCP"
            if port.get("name"):
                links[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            prefix = f"{name}_PORT_{port['port']}_{protocol.upper()}"
            links[prefix] = f"{protocol.lower()}://{address}:{port['port']}"
            links[f"{prefix}_PROTO"] = protocol.lower()
            links[f"{prefix}_PORT"] = str(port["port"])
            links[f"{prefix}_ADDR"] = address
    return links
