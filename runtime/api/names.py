"""What names, labels, annotations and the like may look like.

Source: k8s.io/apimachinery/pkg/util/validation/validation.go, pkg/api/validation/objectmeta.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from reconcile.clock import Clock
from reconcile.errors import Cause, Tree

from .refusals import show, value_invalid, value_required

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_BASE_MAX = 58
ANNOTATIONS_BYTES_MAX = 256 << 10


def generated(base: str, clock: Clock) -> str:
    """A name that starts with `base` and ends in five random characters that spell no words."""
    return base[:_GENERATED_BASE_MAX] + "".join(clock.random.choices(_ALPHABET, k=5))  # one call, for speed


@lru_cache(maxsize=8192)
def wrong_label(name: str) -> str:
    """Why `name` is no RFC 1123 label (empty: it is one)."""
    if len(name) > 63:
        return "must be no more than 63 bytes"
    return "" if _LABEL.fullmatch(name) else _LABEL_TEXT


@lru_cache(maxsize=8192)
def wrong_subdomain(name: str) -> str:
    """Why `name` is no RFC 1123 subdomain (empty: it is one)."""
    if len(name) > 253:
        return "must be no more than 253 bytes"
    return "" if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_TEXT


@lru_cache(maxsize=8192)
def wrong_qualified(name: str) -> str:
    """Why `name` is no qualified name such as `app.kubernetes.io/name` (empty: it is one)."""
    prefix, slash, rest = name.rpartition("/")
    if slash and "/" in prefix:
        return "a qualified name " + _QUALIFIED_TEXT.removeprefix("name part ")
    if slash and not prefix:
        return "prefix part must be non-empty"
    if slash and (why := wrong_subdomain(prefix)):
        return f"prefix part {why}"
    if not rest:
        return "name part must be non-empty"
    if len(rest) > 63:
        return "name part must be no more than 63 bytes"
    return "" if _QUALIFIED.fullmatch(rest) else _QUALIFIED_TEXT


@lru_cache(maxsize=8192)
def wrong_value(value: str) -> str:
    """Why `value` is no label value (empty: it is one)."""
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if _VALUE.fullmatch(value) else _VALUE_TEXT


def check_labels(labels: dict[str, str]) -> Iterator[Cause]:
    """What is wrong with labels."""
    for key, value in labels.items():
        if why := wrong_qualified(key):
            yield value_invalid("metadata.labels", key, why)
        if why := wrong_value(value):
            yield value_invalid("metadata.labels", value, why)


def check_annotations(annotations: dict[str, str]) -> Iterator[Cause]:
    """What is wrong with annotations."""
    size_bytes = 0
    for key, value in annotations.items():
        if why := wrong_qualified(key.lower()):
            yield value_invalid("metadata.annotations", key, why)
        size_bytes += len(key) + len(value)
    if size_bytes > ANNOTATIONS_BYTES_MAX:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes", "metadata.annotations")


def check_owners(owners: list[Any]) -> Iterator[Cause]:
    """What is wrong with owner references."""
    controllers: list[Tree] = []
    for at, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{at}]"
        for name, text in (
            ("apiVersion", "version must not be empty"), ("kind", "must not be empty"), ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):  # fmt: skip
            if not owner.get(name):
                yield value_required(f"{path}.{name}") if name != "apiVersion" else value_invalid(f"{path}.{name}", "", text)
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        first, second = (f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers[:2])
        yield Cause(
            "FieldValueInvalid",
            f'Invalid value: {show(owners)}: Only one reference can have Controller set to true. Found "true" in references '
            f"for {first} and {second}",
            "metadata.ownerReferences",
        )


def check_finalizers(finalizers: list[str]) -> Iterator[Cause]:
    """What is wrong with finalizers."""
    for at, finalizer in enumerate(finalizers):
        if why := wrong_qualified(finalizer):
            yield value_invalid(f"metadata.finalizers[{at}]", finalizer, why)
