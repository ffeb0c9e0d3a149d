"""What of a running Pod is changed through subresources of its own: ephemeral containers are added, resources resized.

Source: pkg/registry/core/pod/strategy.go, pkg/apis/core/validation/validation.go ValidatePodEphemeralContainersUpdate,
ValidatePodResize
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree

from .container_validation import check_container
from .names import duplicate, forbidden, not_found, required
from .pod_lifecycle import qos_class

_NOT_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy")
_LISTS = ("containers", "initContainers")
_RESIZED = ("cpu", "memory")


def ephemeral_part(asked: Tree, before: Tree) -> Tree:
    """The spec as it is, with the ephemeral containers that are asked for."""
    return _changed(asked, before, ephemeralContainers=(asked.get("spec") or {}).get("ephemeralContainers"))


def validate_ephemeral(tree: Tree, old: Tree) -> Iterator[Cause]:
    """They come, and never change or go."""
    spec, path = tree["spec"], "spec.ephemeralContainers"
    now = spec.get("ephemeralContainers") or ()
    by_name = {container.get("name"): container for container in now}
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        if container["name"] not in by_name:
            yield forbidden(path, f'existing ephemeral containers "{container["name"]}" may not be removed\n')
        elif by_name[container["name"]] != container:
            yield forbidden(path, f'existing ephemeral containers "{container["name"]}" may not be changed\n')
    yield from check_ephemeral(spec)


def check_ephemeral(spec: Tree) -> Iterator[Cause]:
    """Yield what is wrong with a Pod's ephemeral containers."""
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    names: set[Any] = {container.get("name") for field in _LISTS for container in spec.get(field) or ()}
    targets = {container.get("name") for container in spec.get("containers") or ()}
    for position, container in enumerate(spec.get("ephemeralContainers") or ()):
        at, name = f"spec.ephemeralContainers[{position}]", container.get("name")
        if not name:
            yield required(f"{at}.name")
        elif name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
        yield from check_container(container, at, volumes, init=False)
        for field in _NOT_EPHEMERAL:
            if container.get(field):
                yield forbidden(f"{at}.{field}", "cannot be set for an Ephemeral Container")
        target = container.get("targetContainerName")
        if target and target not in targets:
            yield not_found(f"{at}.targetContainerName", target)


def resources_part(asked: Tree, before: Tree) -> Tree:
    """The spec as it is, with the resources of its containers that are asked for."""
    spec, wanted = before.get("spec") or {}, asked.get("spec") or {}
    changed = {}
    for field in _LISTS:
        by_name = {container.get("name"): container for container in wanted.get(field) or ()}
        if spec.get(field):
            changed[field] = [_resized(container, by_name.get(container["name"])) for container in spec[field]]
    return _changed(asked, before, **changed)


def validate_resources(tree: Tree, old: Tree) -> Iterator[Cause]:
    """CPU and memory change, and the Pod's class of service does not."""
    if qos_class(tree["spec"]) != qos_class(old["spec"]):
        yield forbidden("spec", "Pod QOS Class may not change as a result of resizing")
    for field in _LISTS:
        volumes = {volume.get("name") for volume in tree["spec"].get("volumes") or ()}
        for position, container in enumerate(tree["spec"].get(field) or ()):
            at = f"spec.{field}[{position}]"
            yield from check_container(container, at, volumes, init=field == "initContainers")
            before = old["spec"][field][position].get("resources") or {}
            for part in ("requests", "limits"):
                now, was = (container.get("resources") or {}).get(part) or {}, before.get(part) or {}
                for name in sorted(set(now) | set(was)):
                    if name not in _RESIZED and now.get(name) != was.get(name):
                        yield forbidden(f"{at}.resources.{part}", "only cpu and memory resources are mutable")


def _resized(container: Tree, asked: Tree | None) -> Tree:
    return container if asked is None else {**container, "resources": asked.get("resources") or {}}


def _changed(asked: Tree, before: Tree, **fields: Any) -> Tree:  # Any: JSON values
    """The Pod's spec with these fields, and its metadata as they were: labels are none of these parts' business."""
    spec = {**(before.get("spec") or {}), **fields}
    meta, given = before["metadata"], asked["metadata"]
    if "managedFields" in given:
        meta = {**meta, "managedFields": given["managedFields"]}
    return {"metadata": meta, "spec": {name: value for name, value in spec.items() if value is not None}}


POD_PARTS = {"ephemeralcontainers": ephemeral_part, "resize": resources_part}
POD_PART_RULES = {"ephemeralcontainers": validate_ephemeral, "resize": validate_resources}
