"""Kubernetes paths: which kind, namespace, name and subresource a URL means.

Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go
"""

from __future__ import annotations

from urllib.parse import unquote

import attrs

# Below a namespace these two are parts of the namespace itself, not kinds in it.
_NAMESPACE_PARTS = ("status", "finalize")


@attrs.frozen
class Location:
    """What a resource URL names. Empty strings stand for what is absent; `watch` is set by the old /watch/ prefix.

    `rest` is the path below the subresource as it came, with its leading slash.
    """

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    watch: bool = False
    rest: str = ""


def locate(path: str) -> Location | None:
    """Read `/api/v1/...` and `/apis/GROUP/VERSION/...`; None where the path names no resource."""
    raw = path.strip("/").split("/")
    parts = [unquote(part) for part in raw] if "%" in path else raw
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
        namespace, rest = rest[1], rest[2:]
        if not namespace:
            return None
    if not all(rest[:3]):
        return None
    plural, name, subresource, *deeper = *rest, *([""] * (3 - len(rest)))
    below = ""
    if subresource and (deeper or path.endswith("/")):
        below = "/" + "/".join(raw[len(raw) - len(deeper) :] if deeper else [])
        if deeper and path.endswith("/"):
            below += "/"
    return Location(group, version, plural, namespace, name, subresource, watch, below)
