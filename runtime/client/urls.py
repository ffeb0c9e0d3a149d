"""Kubernetes URLs: the path of a resource, for every client here. Imports next to nothing."""

from __future__ import annotations

from urllib.parse import quote


def group_path(group: str, version: str) -> str:
    """`/api/v1`, `/apis/apps/v1`."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def resource_path(
    group: str, version: str, plural: str, namespace: str = "", name: str = "", subresource: str = ""
) -> str:  # fmt: skip
    """`/apis/apps/v1/namespaces/default/deployments/web/scale`; parts that are empty are left out."""
    path = group_path(group, version)
    if namespace:
        path += f"/namespaces/{quote(namespace, safe='')}"
    path += f"/{plural}"
    if name:
        path += f"/{quote(name, safe='')}"
    return f"{path}/{subresource}" if subresource else path
