"""The functions that the reference server adds to CEL: lists, sets, regular expressions, quantities, versions, URLs, addresses.

What the language has no type for (a quantity, an address) is a map with one entry, its tag, and a value in one form only, so
that equal ones are equal. Not there: `format`, and list functions that share a name with one of strings (`indexOf`).

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-quantity-library, k8s.io/apiserver/pkg/cel/library
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cel_expr_python import cel

from reconcile.quantities import parse_quantity

from . import authorization
from .addresses import addresses
from .declaring import LIST, Tagged, function, is_made_by, overload, tagged
from .macros import FUNCTIONS
from .mutations import TYPED, typed

_QUANTITY, _SEMVER, _URL = "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.URL"
_SEMVER_TEXT = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)
_T = cel.Type
_MESSAGE = _T.Map(_T.STRING, _T.DYN)


@cache
def extension() -> cel.CelExtension:
    """All of it, as an extension of the language."""
    return cel.CelExtension("kubernetes", [*_lists(), *_macros(), *_texts(), *_numbers(), *addresses(), *_authorization()])


def _macros() -> list[cel.FunctionDecl]:
    """What macros of two variables are written with (see `macros`)."""
    pairs, map_of, merged = FUNCTIONS
    either = [
        overload(f"{pairs}list", LIST, [LIST], lambda items: _pairs(enumerate(items))),
        overload(
            f"{pairs}map", LIST, [_T.Map(_T.DYN, _T.DYN)],
            lambda items: _pairs(items.items()),
        ),
    ]  # fmt: skip
    return [
        cel.FunctionDecl(pairs, either), function(map_of, _T.Map(_T.DYN, _T.DYN), [LIST], dict),
        function(merged, _T.Map(_T.DYN, _T.DYN), [LIST], _merged),
        function(TYPED, _MESSAGE, [_T.STRING, _MESSAGE], lambda name, value: typed(name, _again(value)), member=False),
    ]  # fmt: skip


def _pairs(items: Iterable[tuple[Any, Any]]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _again(value)} for key, value in items]


def _again(value: Any) -> Any:
    """A value as the library takes it back: times come out of it as Python's, and go in as messages."""
    if isinstance(value, dict):
        return {key: _again(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_again(each) for each in value]
    if isinstance(value, datetime):
        from google.protobuf.timestamp_pb2 import Timestamp

        made = Timestamp()
        made.FromDatetime(value)
        return made
    if isinstance(value, timedelta):
        from google.protobuf.duration_pb2 import Duration

        lasting = Duration()
        lasting.FromTimedelta(value)
        return lasting
    return value


def _merged(maps: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for each in maps:
        if found.keys() & each.keys():
            raise ValueError(f"insert failed: key '{next(iter(found.keys() & each.keys()))}' already exists")
        found |= each
    return found


def _lists() -> list[cel.FunctionDecl]:
    return [
        function("isSorted", _T.BOOL, [LIST], lambda items: all(a <= b for a, b in pairwise(items))),
        function("sum", _T.DYN, [LIST], sum),
        function("min", _T.DYN, [LIST], lambda items: min(_filled(items, "min"))),
        function("max", _T.DYN, [LIST], lambda items: max(_filled(items, "max"))),
        function("sets.contains", _T.BOOL, [LIST, LIST], _contains, member=False),
        function("sets.equivalent", _T.BOOL, [LIST, LIST], lambda a, b: _contains(a, b) and _contains(b, a), member=False),
        function("sets.intersects", _T.BOOL, [LIST, LIST], lambda a, b: any(item in b for item in a), member=False),
    ]  # fmt: skip


def _filled(items: list[Any], name: str) -> list[Any]:
    if not items:
        raise ValueError(f"{name} called on empty list")
    return items


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(item in items for item in wanted)


def _texts() -> list[cel.FunctionDecl]:
    return [
        function("find", _T.STRING, [_T.STRING, _T.STRING], _find),
        cel.FunctionDecl("findAll", [
            overload("findAll", _T.List(_T.STRING), [_T.STRING, _T.STRING], _find_all),
            overload("findAll", _T.List(_T.STRING), [_T.STRING, _T.STRING, _T.INT], _find_all),
        ]),
        function("jsonpatch.escapeKey", _T.STRING, [_T.STRING], _escaped_key, member=False),
        function("isURL", _T.BOOL, [_T.STRING], lambda text: is_made_by(_url, text), member=False),
        function("url", _T.DYN, [_T.STRING], _url, member=False),
        function("getScheme", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).scheme),
        function("getHost", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).netloc.rpartition("@")[2]),
        function("getHostname", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).hostname or ""),
        function("getPort", _T.STRING, [_T.DYN], lambda url: str(urlsplit(tagged(url, _URL)).port or "")),
        function("getEscapedPath", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).path),
        function("getQuery", _T.DYN, [_T.DYN], lambda url: parse_qs(urlsplit(tagged(url, _URL)).query, keep_blank_values=True)),
    ]  # fmt: skip


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _escaped_key(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")


def _url(text: str) -> Tagged:
    parts = urlsplit(text)
    parts.port  # noqa: B018  # raises where it is no number
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    return {_URL: text}


def _numbers() -> list[cel.FunctionDecl]:
    two = [_T.DYN, _T.DYN]
    return [
        function("isQuantity", _T.BOOL, [_T.STRING], lambda text: is_made_by(_quantity, text), member=False),
        function("quantity", _T.DYN, [_T.STRING], _quantity, member=False),
        function("sign", _T.INT, [_T.DYN], lambda q: (_amount(q) > 0) - (_amount(q) < 0)),
        function("isInteger", _T.BOOL, [_T.DYN], lambda q: _amount(q) == int(_amount(q))),
        function("asInteger", _T.INT, [_T.DYN], _integer),
        function("asApproximateFloat", _T.DOUBLE, [_T.DYN], lambda q: float(_amount(q))),
        function("add", _T.DYN, two, lambda q, other: _quantity(str(_amount(q) + _amount(other)))),
        function("sub", _T.DYN, two, lambda q, other: _quantity(str(_amount(q) - _amount(other)))),
        function("isSemver", _T.BOOL, [_T.STRING], lambda text: is_made_by(_semver, text), member=False),
        function("semver", _T.DYN, [_T.STRING], _semver, member=False),
        *(function(name, _T.INT, [_T.DYN], _part(at)) for at, name in enumerate(("major", "minor", "patch"))),
        function("isGreaterThan", _T.BOOL, two, lambda a, b: _compared(a, b) > 0),
        function("isLessThan", _T.BOOL, two, lambda a, b: _compared(a, b) < 0),
        function("compareTo", _T.INT, two, lambda a, b: _compared(a, b)),
    ]  # fmt: skip


def _quantity(text: str) -> Tagged:
    return {_QUANTITY: format(parse_quantity(text).normalize(), "f")}


def _amount(value: Any) -> Decimal:
    return Decimal(value) if type(value) is int else Decimal(tagged(value, _QUANTITY))


def _integer(quantity: Any) -> int:
    amount = _amount(quantity)
    if amount != int(amount):
        raise ValueError("cannot convert value to integer")
    return int(amount)


def _semver(text: str) -> Tagged:
    if not _SEMVER_TEXT.fullmatch(text):
        raise ValueError(f"{text!r} is no version of the form MAJOR.MINOR.PATCH")
    return {_SEMVER: text.partition("+")[0]}


def _part(at: int) -> Callable[[Any], int]:
    return lambda version: int(tagged(version, _SEMVER).partition("-")[0].split(".")[at])


def _compared(one: Any, other: Any) -> int:
    if isinstance(one, dict) and _SEMVER in one:
        a, b = (_precedence(tagged(version, _SEMVER)) for version in (one, other))
    else:
        a, b = _amount(one), _amount(other)  # type: ignore[assignment]  # both are of one type
    return (a > b) - (a < b)


def _precedence(version: str) -> tuple[Any, ...]:
    """A key that sorts as https://semver.org section 11 has it: a pre-release comes before its release."""
    numbers, _, pre = version.partition("-")
    identifiers = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return (*map(int, numbers.split(".")), not pre, identifiers)


def _authorization() -> list[cel.FunctionDecl]:
    named = {"subresource": "subresource", "namespace": "namespace", "name": "name", "fieldSelector": "fields"}
    one = [_T.DYN, _T.STRING]
    return [
        function("path", _T.DYN, one, authorization.path_check),
        function("group", _T.DYN, one, authorization.group_check),
        function("serviceAccount", _T.DYN, [*one, _T.STRING], authorization.service_account),
        function("resource", _T.DYN, one, authorization.resource_check),
        *(function(name, _T.DYN, one, authorization.narrowed(part)) for name, part in named.items()),
        function("labelSelector", _T.DYN, one, authorization.narrowed("labels")),  # which no policy here looks at
        function("check", _T.DYN, one, authorization.decided),
        function("allowed", _T.BOOL, [_T.DYN], authorization.allowed),
        function("reason", _T.STRING, [_T.DYN], authorization.reason),
        # Nothing goes wrong when a decision is made: whoever decides is in this process.
        function("errored", _T.BOOL, [_T.DYN], lambda _decision: False),
        function("error", _T.STRING, [_T.DYN], lambda _decision: ""),
    ]  # fmt: skip
