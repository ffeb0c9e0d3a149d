"""The functions that the reference server adds to CEL, all together; those of texts, URLs, quantities and versions.

What the language has no type for (a quantity, an address) is a map with one entry, its tag, and a value in one form only, so
that equal ones are equal. Not there: `format`, and list functions that share a name with one of strings (`indexOf`).

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-quantity-library, k8s.io/apiserver/pkg/cel/library
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cache
from itertools import permutations
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cel_expr_python import cel

from reconcile.quantities import parse_quantity

from . import authorization
from .addresses import addresses
from .declaring import LIST, Tagged, again, function, is_made_by, overload, tagged
from .formats import formats
from .lists import lists
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
    """All of it, as an extension of the language. It goes behind that of strings: some of their functions it has for lists."""
    parts = (lists, _macros, _texts, _urls, _numbers, formats, addresses, _authorization)
    return cel.CelExtension("kubernetes", [each for part in parts for each in part()])


@cache
def checking_extension() -> cel.CelExtension:
    """The same for checking expressions alone: what the language has no type for has one of its own."""
    from .exact import exact_functions

    parts = (lists, _macros, _texts, exact_functions, _comparisons)
    return cel.CelExtension("kubernetes", [each for part in parts for each in part()])


@cache
def comparisons() -> cel.CelExtension:
    """Numbers of two types compare, for the compiler: what evaluates expressions compares them anyway."""
    return cel.CelExtension("comparisons", _comparisons())


def _comparisons() -> list[cel.FunctionDecl]:
    pairs = list(permutations((_T.INT, _T.DOUBLE, _T.UINT), 2))
    return [
        cel.FunctionDecl(
            name,
            [
                cel.Overload(f"{name}_{number}", return_type=_T.BOOL, parameters=list(pair), is_member=False)
                for number, pair in enumerate(pairs)
            ],
        )
        for name in ("_<_", "_<=_", "_>_", "_>=_")
    ]


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
        function(TYPED, _MESSAGE, [_T.STRING, _MESSAGE], lambda name, value: typed(name, again(value)), member=False),
    ]  # fmt: skip


def _pairs(items: Iterable[tuple[Any, Any]]) -> list[dict[str, Any]]:
    return [{"key": key, "value": again(value)} for key, value in items]


def _merged(maps: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for each in maps:
        if found.keys() & each.keys():
            raise ValueError(f"insert failed: key '{next(iter(found.keys() & each.keys()))}' already exists")
        found |= each
    return found


def _texts() -> list[cel.FunctionDecl]:
    return [
        function("find", _T.STRING, [_T.STRING, _T.STRING], _find),
        cel.FunctionDecl("findAll", [
            overload("findAll", _T.List(_T.STRING), [_T.STRING, _T.STRING], _find_all),
            overload("findAll", _T.List(_T.STRING), [_T.STRING, _T.STRING, _T.INT], _find_all),
        ]),
        function("jsonpatch.escapeKey", _T.STRING, [_T.STRING], _escaped_key, member=False),
    ]  # fmt: skip


def _urls() -> list[cel.FunctionDecl]:
    return [
        function("isURL", _T.BOOL, [_T.STRING], lambda text: is_made_by(_url, text), member=False),
        function("url", _T.DYN, [_T.STRING], _url, member=False),
        function("getScheme", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).scheme),
        function("getHost", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).netloc.rpartition("@")[2]),
        function("getHostname", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).hostname or ""),
        function("getPort", _T.STRING, [_T.DYN], lambda url: str(urlsplit(tagged(url, _URL)).port or "")),
        function("getEscapedPath", _T.STRING, [_T.DYN], lambda url: urlsplit(tagged(url, _URL)).path),
        function("getQuery", _T.Map(_T.STRING, _T.List(_T.STRING)), [_T.DYN], _query),
    ]  # fmt: skip


def _query(url: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(tagged(url, _URL)).query, keep_blank_values=True)


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
        cel.FunctionDecl("sign", [
            overload("sign_of", _T.INT, [_T.DYN], _sign, member=False), overload("sign", _T.INT, [_T.DYN], _sign),
        ]),
        function("isInteger", _T.BOOL, [_T.DYN], lambda q: _amount(q) == int(_amount(q))),
        function("asInteger", _T.INT, [_T.DYN], _integer),
        function("asApproximateFloat", _T.DOUBLE, [_T.DYN], lambda q: float(_amount(q))),
        function("add", _T.DYN, two, lambda q, other: _quantity(str(_amount(q) + _amount(other)))),
        function("sub", _T.DYN, two, lambda q, other: _quantity(str(_amount(q) - _amount(other)))),
        cel.FunctionDecl("isSemver", [
            overload("isSemver", _T.BOOL, [_T.STRING], lambda text: is_made_by(_semver, text), member=False),
            overload("isSemver", _T.BOOL, [_T.STRING, _T.BOOL], _is_semver, member=False),
        ]),
        cel.FunctionDecl("semver", [
            overload("semver", _T.DYN, [_T.STRING], _semver, member=False),
            overload("semver", _T.DYN, [_T.STRING, _T.BOOL], _semver, member=False),
        ]),
        *(function(name, _T.INT, [_T.DYN], _part(at)) for at, name in enumerate(("major", "minor", "patch"))),
        function("isGreaterThan", _T.BOOL, two, lambda a, b: _compared(a, b) > 0),
        function("isLessThan", _T.BOOL, two, lambda a, b: _compared(a, b) < 0),
        function("compareTo", _T.INT, two, lambda a, b: _compared(a, b)),
    ]  # fmt: skip


def _quantity(text: str) -> Tagged:
    return {_QUANTITY: format(parse_quantity(text).normalize(), "f")}


def _sign(quantity: Any) -> int:
    return (_amount(quantity) > 0) - (_amount(quantity) < 0)


def _amount(value: Any) -> Decimal:
    return Decimal(value) if type(value) is int else Decimal(tagged(value, _QUANTITY))


def _integer(quantity: Any) -> int:
    amount = _amount(quantity)
    if amount != int(amount):
        raise ValueError("cannot convert value to integer")
    return int(amount)


def _is_semver(text: str, normalize: bool) -> bool:
    return is_made_by(lambda given: _semver(given, normalize), text)


def _semver(text: str, normalize: bool = False) -> Tagged:
    if normalize:
        text = _normalized(text)
    if not _SEMVER_TEXT.fullmatch(text):
        raise ValueError(f"{text!r} is no version of the form MAJOR.MINOR.PATCH")
    return {_SEMVER: text.partition("+")[0]}


def _normalized(text: str) -> str:
    """`v1.02` as `1.2.0`: without the v and zeros in front, and with all three numbers.

    Source: k8s.io/apiserver/pkg/cel/library/semverlib.go, normalizeAndParse
    """
    parts = text.removeprefix("v").split(".", 2)
    for at, part in enumerate(parts):
        if len(part) > 1:
            bare = part.lstrip("0")
            parts[at] = bare if bare[:1].isdigit() else "0" + bare
    if len(parts) < 3 and re.search(r"[-+]", parts[-1]):
        raise ValueError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][: max(3, len(parts))])


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
