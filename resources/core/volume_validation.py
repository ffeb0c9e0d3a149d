"""What a Pod's volumes may say.

Source: ValidateVolumes in K/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from reconcile.errors import Cause, Tree

from .names import duplicate, forbidden, invalid, is_dns_label, is_quantity, required, unsupported

_FILE_MODE_MAX = 0o777
_HOST_PATH_TYPES = (
    "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice",
)  # fmt: skip
_NAMED_BY = {"configMap": "name", "secret": "secretName", "hostPath": "path", "persistentVolumeClaim": "claimName"}
_WITH_ITEMS = ("configMap", "secret", "downwardAPI", "projected")


def check_volumes(volumes: Sequence[Tree], path: str) -> Iterator[Cause]:
    """Yield what is wrong with the volumes at `path`."""
    names = set()
    for position, volume in enumerate(volumes):
        at = f"{path}[{position}]"
        name = volume.get("name")
        if not name:
            yield required(f"{at}.name")
        else:
            yield from is_dns_label(name, f"{at}.name")
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if not sources:
            yield required(at, "must specify a volume type")
        for extra in sources[1:]:
            yield forbidden(f"{at}.{extra}", "may not specify more than 1 volume type")
        for source in sources[:1]:
            yield from _check_source(source, volume[source], f"{at}.{source}")


def _check_source(name: str, source: Tree, at: str) -> Iterator[Cause]:
    key = _NAMED_BY.get(name)
    if key and not source.get(key):
        yield required(f"{at}.{key}")
    if name in _WITH_ITEMS:
        yield from _check_mode(source.get("defaultMode"), f"{at}.defaultMode")
        yield from _check_items(source.get("items") or (), f"{at}.items", keyed=name != "downwardAPI")
    if name == "projected":
        for position, part in enumerate(source.get("sources") or ()):
            for kind in ("secret", "configMap", "downwardAPI"):
                if part.get(kind) is not None:
                    inner = f"{at}.sources[{position}].{kind}"
                    if kind != "downwardAPI" and not part[kind].get("name"):
                        yield required(f"{inner}.name")
                    yield from _check_items(part[kind].get("items") or (), f"{inner}.items", keyed=kind != "downwardAPI")
    elif name == "hostPath":
        if ".." in str(source.get("path") or "").split("/"):
            yield invalid(f"{at}.path", source["path"], "must not contain '..'")
        if source.get("type") is not None and source["type"] not in _HOST_PATH_TYPES:
            yield unsupported(f"{at}.type", source["type"], _HOST_PATH_TYPES)
    elif name == "emptyDir" and source.get("sizeLimit") is not None:
        yield from is_quantity(source["sizeLimit"], f"{at}.sizeLimit")


def _check_items(items: Sequence[Tree], path: str, *, keyed: bool) -> Iterator[Cause]:
    for position, item in enumerate(items):
        at = f"{path}[{position}]"
        if keyed and not item.get("key"):
            yield required(f"{at}.key")
        if not keyed and (item.get("fieldRef") is None) == (item.get("resourceFieldRef") is None):
            yield required(at, "one of fieldRef and resourceFieldRef is required")
        target = item.get("path")
        if not target:
            yield required(f"{at}.path")
        elif target.startswith("/"):
            yield invalid(f"{at}.path", target, "must be a relative path")
        elif ".." in target.split("/"):
            yield invalid(f"{at}.path", target, "must not contain '..'")
        yield from _check_mode(item.get("mode"), f"{at}.mode")


def _check_mode(mode: Any, path: str) -> Iterator[Cause]:
    if isinstance(mode, int) and not 0 <= mode <= _FILE_MODE_MAX:
        yield invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")
