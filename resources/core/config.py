"""ConfigMap and Secret: settings that Pods read as variables or files. ServiceAccount: an identity for Pods."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.quantities import Base64
from reconcile.views import field

from .cells import AGE, path_cell
from .names import forbidden, immutable, invalid
from .references import LocalObjectReference, ObjectReference

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_LENGTH_MAX = 253
_DATA_BYTES_MAX = 1024 * 1024
_ACCOUNT_TOKEN, _ACCOUNT_NAME = "kubernetes.io/service-account-token", "kubernetes.io/service-account.name"
_REQUIRED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _check_key(key: str, path: str) -> Iterator[Cause]:
    """A key becomes a file name, so it must be a plain one."""
    if len(key) > _KEY_LENGTH_MAX:
        yield invalid(f"{path}[{key}]", key, f"must be no more than {_KEY_LENGTH_MAX} characters")
    elif not _KEY.fullmatch(key):
        yield invalid(
            f"{path}[{key}]", key,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
            "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        )  # fmt: skip
    elif key in (".", "..") or key.startswith(".."):
        yield invalid(f"{path}[{key}]", key, "must not be '.'" if key == "." else "must not start with '..'")


def _check_immutable(tree: Tree, old: Tree | None, fields: tuple[str, ...]) -> Iterator[Cause]:
    if old is None or old.get("immutable") is not True:
        return
    if tree.get("immutable") is not True:
        yield forbidden("immutable", "field is immutable when `immutable` is set")
    for name in fields:
        if (tree.get(name) or {}) != (old.get(name) or {}):
            yield forbidden(name, "field is immutable when `immutable` is set")


def _validate_config_map(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    data, binary = tree.get("data") or {}, tree.get("binaryData") or {}
    total = 0
    for key, value in data.items():
        yield from _check_key(key, "data")
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        total += len(value.encode())
    for key, value in binary.items():
        yield from _check_key(key, "binaryData")
        total += len(base64.b64decode(value))
    if total > _DATA_BYTES_MAX:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {_DATA_BYTES_MAX} bytes", "")
    yield from _check_immutable(tree, old, ("data", "binaryData"))


@kind(
    "", "v1", plural="configmaps", short_names=("cm",), builtin=True, has_generation=False,
    hooks=Hooks(validate=_validate_config_map),
    columns=(
        Column(
            "Data", cell=lambda tree, _: len(tree.get("data") or ()) + len(tree.get("binaryData") or ()), doc="Number of keys."
        ),
        AGE,
    ),
)  # fmt: skip
class ConfigMap(Resource):
    """Settings as keys and values, for Pods to read as variables or files."""

    data: dict[str, str] = field(factory=dict, doc="Keys and their text.")
    binary_data: dict[str, Base64] = field(factory=dict, doc="Keys and their bytes, as base64.")
    immutable: bool | None = field(default=None, doc="Whether data may never change again.")


def _default_secret(tree: Tree) -> None:
    """What was given as text is data like the rest, base64 and all, before anybody looks at it or owns it; text wins."""
    text = tree.pop("stringData", None)
    if text:
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in text.items()}
        tree["data"] = {**(tree.get("data") or {}), **encoded}
    if not tree.get("type"):
        tree["type"] = "Opaque"


def _prepare_secret(tree: Tree, old: Tree | None) -> None:
    if old is not None and not tree.get("type"):
        tree["type"] = old.get("type")


def _validate_secret(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    data = tree.get("data") or {}
    total = 0
    for key, value in data.items():
        yield from _check_key(key, "data")
        total += len(base64.b64decode(value))
    if total > _DATA_BYTES_MAX:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {_DATA_BYTES_MAX} bytes", "data")
    for key in _REQUIRED_KEYS.get(tree.get("type", ""), ()):
        if key not in data:
            yield Cause("FieldValueRequired", "Required value", f"data[{key}]")
    if tree.get("type") == _ACCOUNT_TOKEN and not (tree["metadata"].get("annotations") or {}).get(_ACCOUNT_NAME):
        yield Cause("FieldValueRequired", "Required value", f"metadata.annotations[{_ACCOUNT_NAME}]")
    if old is not None and old.get("type") and tree.get("type") != old["type"]:
        yield immutable("type", tree.get("type"))
    yield from _check_immutable(tree, old, ("data",))


@kind(
    "", "v1", plural="secrets", builtin=True, has_generation=False, selectable=("type",),
    hooks=Hooks(default=_default_secret, prepare=_prepare_secret, validate=_validate_secret),
    columns=(
        Column("Type", cell=path_cell("type"), doc="What the keys mean."),
        Column("Data", cell=lambda tree, _: len(tree.get("data") or ()), doc="Number of keys."),
        AGE,
    ),
)  # fmt: skip
class Secret(Resource):
    """Settings that not everybody may see, as keys and base64 values."""

    data: dict[str, Base64] = field(factory=dict, doc="Keys and their bytes, as base64.")
    string_data: dict[str, str] = field(factory=dict, doc="Keys and their text; only for writing, ends in data.")
    type: str = field(default="", doc="What the keys mean; Opaque unless given.")
    immutable: bool | None = field(default=None, doc="Whether data may never change again.")

    def decoded(self) -> dict[str, bytes]:
        """The keys with their bytes."""
        return {key: base64.b64decode(value) for key, value in self.data.items()}


@kind(
    "", "v1", plural="serviceaccounts", short_names=("sa",), builtin=True, has_generation=False, columns=(AGE,),
    hooks=Hooks(answers_deleted=True),
)  # fmt: skip
class ServiceAccount(Resource):
    """An identity for Pods, which `serviceaccounts/token` hands out tokens for."""

    secrets: list[ObjectReference] = field(
        factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge"
    )
    image_pull_secrets: list[LocalObjectReference] = field(factory=list, list_type="atomic")
    automount_service_account_token: bool | None = None


__all__ = ["ConfigMap", "Secret", "ServiceAccount"]
