"""Names of formats in expressions: `!format.dns1123Label().validate("a-b").hasValue()`.

What may be absent is an optional in the language, which the library makes of expressions only. So what `validate` and `named`
come to is a list, of which `macros` takes what is first, if anything is.

Source: k8s.io/apiserver/pkg/cel/library/format.go, k8s.io/apimachinery/pkg/util/validation
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from cel_expr_python import cel

from .declaring import DYN, LIST, Tagged, function, tagged
from .macros import NAMED, VALIDATED

_TAG = "kubernetes.NamedFormat"
_LABEL, _SUBDOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?", r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_OLD_LABEL, _NAME = "[a-z]([-a-z0-9]*[a-z0-9])?", "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_NAME})?"
_PARTS = "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_TIME = re.compile(r"\d{2}:\d{2}:\d{2}(\.\d+)?(z|[+-]\d{2}:\d{2})", re.IGNORECASE)
_URI = re.compile(r"[A-Za-z][-A-Za-z0-9+.]*:.*|/.*", re.DOTALL)


def formats() -> list[cel.FunctionDecl]:
    """The functions."""
    made = [function(f"format.{name}", DYN, [], _maker(name), member=False) for name in FAULTS]
    return [
        *made, function(f"format.{NAMED}", LIST, [cel.Type.STRING], _named, member=False),
        function(VALIDATED, cel.Type.List(cel.Type.List(cel.Type.STRING)), [DYN, cel.Type.STRING], _validated),
    ]  # fmt: skip


def _maker(name: str) -> Callable[[], Tagged]:
    return lambda: {_TAG: name}


def _named(name: str) -> list[Tagged]:
    return [{_TAG: name}] if name in FAULTS else []


def _validated(format_: Any, text: str) -> list[list[str]]:
    found = FAULTS[tagged(format_, _TAG)](text)
    return [found] if found else []


def _like(pattern: str, what: str, longest: int, *examples: str) -> Callable[[str], list[str]]:
    """A check of a text's length and of its form."""
    compiled, shown = re.compile(pattern), "', or '".join(examples).replace("', or", "',  or")

    def faults(text: str) -> list[str]:
        found = [f"must be no more than {longest} bytes"] if len(text.encode()) > longest else []
        if not compiled.fullmatch(text):
            found.append(f"{what} (e.g. '{shown}', regex used for validation is '{pattern}')")
        return found

    return faults


_old_label = _like(
    _OLD_LABEL,
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    "with an alphanumeric character",
    63, "my-name", "abc-123",
)  # fmt: skip
_label_form = _like(
    _LABEL,
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character",
    63, "my-name", "123-abc",
)  # fmt: skip
_subdomain = _like(
    _SUBDOMAIN,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
    "an alphanumeric character",
    253, "example.com",
)  # fmt: skip
_name_part = _like(_NAME, f"must {_PARTS}", 63, "MyName", "my.name", "123-abc")
_label_value = _like(_VALUE, f"a valid label must be an empty string or {_PARTS}", 63, "MyValue", "my_value", "12345")


def _label(text: str) -> list[str]:
    found = _label_form(text)
    if found and not re.fullmatch(_LABEL, text) and re.fullmatch(_SUBDOMAIN, text):
        found[-1] = "must not contain dots"
    return found


def _qualified(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        form = _like(_NAME, f"a qualified name must {_PARTS}", len(text.encode()), "MyName", "my.name", "123-abc")
        return [f"{form(text)[-1]} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    found = []
    if slash:
        found = [
            f"prefix part {fault}"
            for fault in ([] if prefix else ["must be non-empty"]) or (_subdomain(prefix) if prefix else [])
        ]
    if not name:
        return [*found, "name part must be non-empty"]
    return found + [f"name part {fault}" for fault in _name_part(name)]


def _start_of(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The same check of a text that more will be written behind: it may end in a dash."""
    return lambda text: check(text[:-2] + "a" if len(text) > 1 and text.endswith("-") else text)


def _uri(text: str) -> list[str]:
    return [] if _URI.fullmatch(text) else [f'parse "{text}": invalid URI for request' if text else 'parse "": empty url']


def _uuid(text: str) -> list[str]:
    return [] if _UUID.fullmatch(text) else ["does not match the UUID format"]


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


def _date(text: str) -> list[str]:
    try:
        date.fromisoformat(text)
    except ValueError:
        return ["invalid date"]
    return [] if len(text) == 10 else ["invalid date"]


def _datetime(text: str) -> list[str]:
    day, _, time = text.upper().partition("T")
    if _date(day) or not _TIME.fullmatch(time):
        return ["invalid datetime"]
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return ["invalid datetime"]
    return []


FAULTS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": _label, "dns1123Subdomain": _subdomain, "dns1035Label": _old_label, "qualifiedName": _qualified,
    "dns1123LabelPrefix": _start_of(_label), "dns1123SubdomainPrefix": _start_of(_subdomain),
    "dns1035LabelPrefix": _start_of(_old_label), "labelValue": _label_value, "uri": _uri, "uuid": _uuid, "byte": _byte,
    "date": _date, "datetime": _datetime,
}  # fmt: skip
"""What is wrong with a text, by the names of formats."""
