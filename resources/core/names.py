"""Rules about names, labels and selectors, and the causes that say which one was broken, in the reference server's words.

Source: k8s.io/apimachinery/pkg/util/validation, k8s.io/apimachinery/pkg/util/validation/field
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from reconcile.errors import Cause, Tree
from reconcile.quantities import parse_quantity

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ENV_NAME = re.compile(r"[ -<>-~]+")
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_LABEL_LENGTH_MAX, _SUBDOMAIN_LENGTH_MAX, _PORT_NAME_LENGTH_MAX = 63, 253, 15

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_SERVICE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_ENV_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def quoted(value: Any) -> str:
    """A value as error texts show it: strings in quotes, the rest as JSON."""
    return orjson.dumps(value, default=str).decode()


def invalid(path: str, value: Any, why: str) -> Cause:
    """The value at `path` breaks a rule."""
    return Cause("FieldValueInvalid", f"Invalid value: {quoted(value)}: {why}", path)


def required(path: str, why: str = "") -> Cause:
    """There must be a value at `path`."""
    return Cause("FieldValueRequired", "Required value" + (f": {why}" if why else ""), path)


def forbidden(path: str, why: str) -> Cause:
    """There must be no (or no other) value at `path`."""
    return Cause("FieldValueForbidden", f"Forbidden: {why}", path)


def immutable(path: str, value: Any) -> Cause:
    """The value at `path` may not change."""
    return invalid(path, value, "field is immutable")


def duplicate(path: str, value: Any) -> Cause:
    """The value at `path` stands there twice."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {quoted(value)}", path)


def not_found(path: str, value: Any) -> Cause:
    """The value at `path` names something that is not there."""
    return Cause("FieldValueNotFound", f"Not found: {quoted(value)}", path)


def unsupported(path: str, value: Any, supported: Iterable[str]) -> Cause:
    """The value at `path` is none of those known."""
    known = ", ".join(quoted(word) for word in sorted(supported))
    return Cause("FieldValueNotSupported", f"Unsupported value: {quoted(value)}: supported values: {known}", path)


def is_address(value: str, path: str) -> Iterator[Cause]:
    """Refuse what is no IP address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        yield invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def is_dns_label(value: str, path: str) -> Iterator[Cause]:
    """Refuse what is no RFC 1123 label (names of namespaces, containers, volumes)."""
    if len(value) > _LABEL_LENGTH_MAX:
        yield invalid(path, value, f"must be no more than {_LABEL_LENGTH_MAX} bytes")
    if not _LABEL.fullmatch(value):
        yield invalid(path, value, _LABEL_TEXT)


def is_subdomain(value: str, path: str) -> Iterator[Cause]:
    """Refuse what is no RFC 1123 subdomain (names of most objects)."""
    if len(value) > _SUBDOMAIN_LENGTH_MAX:
        yield invalid(path, value, f"must be no more than {_SUBDOMAIN_LENGTH_MAX} bytes")
    if not _SUBDOMAIN.fullmatch(value):
        yield invalid(path, value, _SUBDOMAIN_TEXT)


def is_service_name(value: str, path: str) -> Iterator[Cause]:
    """Refuse what is no RFC 1035 label (names of Services)."""
    if len(value) > _LABEL_LENGTH_MAX:
        yield invalid(path, value, f"must be no more than {_LABEL_LENGTH_MAX} bytes")
    if not _SERVICE_NAME.fullmatch(value):
        yield invalid(path, value, _SERVICE_TEXT)


def is_env_name(value: str, path: str) -> Iterator[Cause]:
    """Refuse what cannot name an environment variable."""
    if not _ENV_NAME.fullmatch(value):
        yield invalid(path, value, _ENV_TEXT)


def is_port_name(value: str, path: str) -> Iterator[Cause]:
    """Refuse what cannot name a port."""
    if len(value) > _PORT_NAME_LENGTH_MAX:
        yield invalid(path, value, f"must be no more than {_PORT_NAME_LENGTH_MAX} characters")
    if not _PORT_NAME.fullmatch(value):
        yield invalid(path, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    elif not re.search("[a-z]", value):
        yield invalid(path, value, "must contain at least one letter (a-z)")
    elif "--" in value:
        yield invalid(path, value, "must not contain consecutive hyphens")
    elif value.startswith("-") or value.endswith("-"):
        yield invalid(path, value, "must not begin or end with a hyphen")


def is_port(value: Any, path: str) -> Iterator[Cause]:
    """Refuse what is no port number."""
    if not isinstance(value, int) or not 1 <= value <= 65535:
        yield invalid(path, value, "must be between 1 and 65535, inclusive")


def is_int_or_named_port(value: Any, path: str) -> Iterator[Cause]:
    """Refuse what is neither a port number nor a port name."""
    if isinstance(value, str):
        yield from is_port_name(value, path)
    else:
        yield from is_port(value, path)


def not_negative(value: Any, path: str) -> Iterator[Cause]:
    """Refuse negative numbers; absent is fine."""
    if isinstance(value, int) and value < 0:
        yield invalid(path, value, "must be greater than or equal to 0")


def is_quantity(value: Any, path: str) -> Iterator[Cause]:
    """Refuse what is no quantity, or a negative one."""
    try:
        if parse_quantity(value) < 0:
            yield invalid(path, str(value), "must be greater than or equal to 0")
    except ValueError:
        yield invalid(
            path, value,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )  # fmt: skip


@lru_cache(maxsize=8192)
def _qualified_faults(key: str) -> tuple[str, ...]:
    prefix, slash, name = key.rpartition("/")
    faults = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif prefix and (len(prefix) > _SUBDOMAIN_LENGTH_MAX or not _SUBDOMAIN.fullmatch(prefix)):
        faults.append("prefix part " + _SUBDOMAIN_TEXT)
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > _LABEL_LENGTH_MAX:
        faults.append(f"name part must be no more than {_LABEL_LENGTH_MAX} bytes")
    if not _QUALIFIED.fullmatch(name):
        faults.append(_QUALIFIED_TEXT)
    return tuple(faults)


@lru_cache(maxsize=8192)
def _label_value_faults(value: str) -> tuple[str, ...]:
    if len(value) > _LABEL_LENGTH_MAX:
        return (f"must be no more than {_LABEL_LENGTH_MAX} bytes",)
    return () if _LABEL_VALUE.fullmatch(value) else (_LABEL_VALUE_TEXT,)


def is_qualified_name(key: str, path: str) -> Iterator[Cause]:
    """Refuse what cannot be a label's or annotation's key, a taint's key, a resource's name."""
    for fault in _qualified_faults(key):
        yield invalid(path, key, fault)


def check_label_map(labels: Mapping[str, Any] | None, path: str) -> Iterator[Cause]:
    """Check the keys and values of labels."""
    for key, value in (labels or {}).items():
        for fault in _qualified_faults(key):
            yield invalid(path, key, fault)
        if isinstance(value, str):
            for fault in _label_value_faults(value):
                yield invalid(path, value, fault)


def check_labels(meta: Tree, path: str = "metadata") -> Iterator[Cause]:
    """Check the labels and the keys of the annotations in an object's metadata."""
    if meta.get("labels"):
        yield from check_label_map(meta["labels"], f"{path}.labels")
    for key in meta.get("annotations") or ():
        for fault in _qualified_faults(key.lower()):
            yield invalid(f"{path}.annotations", key, fault)


def check_selector(selector: Tree | None, path: str) -> Iterator[Cause]:
    """Check a LabelSelector's rules."""
    if not selector:
        return
    yield from check_label_map(selector.get("matchLabels"), f"{path}.matchLabels")
    for position, rule in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{position}]"
        operator, values = rule.get("operator"), rule.get("values")
        if operator in ("In", "NotIn"):
            if not values:
                yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                yield forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        else:
            yield invalid(f"{at}.operator", operator, "not a valid selector operator")
        yield from is_qualified_name(rule.get("key") or "", f"{at}.key")
        for index, value in enumerate(values or ()):
            for fault in _label_value_faults(value):
                yield invalid(f"{at}.values[{index}]", value, fault)


def selects(selector: Tree, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector picks an object with these labels; one without rules picks everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_holds(rule, labels) for rule in selector.get("matchExpressions") or ())


def _holds(rule: Tree, labels: Mapping[str, str]) -> bool:
    key, values = rule.get("key", ""), rule.get("values") or ()
    operator = rule.get("operator")
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    return (key in labels) if operator == "Exists" else (key not in labels)


def check_unique(items: Sequence[Tree], key: str, path: str) -> Iterator[Cause]:
    """Refuse items of a list that share the value of `key`."""
    seen = set()
    for position, item in enumerate(items):
        value = item.get(key)
        if value in seen:
            yield duplicate(f"{path}[{position}].{key}", value)
        seen.add(value)
