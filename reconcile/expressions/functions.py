"""The functions that the reference server adds to CEL: lists, sets, regular expressions, quantities, versions, URLs, addresses.

What the language has no type for (a quantity, an address) is a map with one entry, its tag, and a value in one form only, so
that equal ones are equal. Not there: `format`, and list functions that share a name with one of strings (`indexOf`).

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-quantity-library, k8s.io/apiserver/pkg/cel/library
"""

from __future__ import annotations

import ipaddress
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

from .macros import FUNCTIONS

Tagged = dict[str, str]
_QUANTITY, _SEMVER, _URL, _IP, _CIDR = "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.URL", "net.IP", "net.CIDR"
_SEMVER_TEXT = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)
_T = cel.Type
_LIST = _T.List(_T.DYN)


@cache
def extension() -> cel.CelExtension:
    """All of it, as an extension of the language."""
    return cel.CelExtension("kubernetes", [*_lists(), *_macros(), *_texts(), *_numbers(), *_addresses()])


def _function(
    name: str, result: Any, parameters: Sequence[Any], run: Callable[..., Any], *, member: bool = True, id_: str = ""
) -> cel.FunctionDecl:  # fmt: skip
    return cel.FunctionDecl(name, [_overload(id_ or name, result, parameters, run, member=member)])


def _overload(id_: str, result: Any, parameters: Sequence[Any], run: Callable[..., Any], *, member: bool = True) -> cel.Overload:
    text = f"kubernetes_{id_.replace('.', '_')}_{len(parameters)}"
    return cel.Overload(text, return_type=result, parameters=list(parameters), is_member=member, impl=run)


def _macros() -> list[cel.FunctionDecl]:
    """What macros of two variables are written with (see `macros`)."""
    pairs, map_of, merged = FUNCTIONS
    either = [
        _overload(f"{pairs}list", _LIST, [_LIST], lambda items: _pairs(enumerate(items))),
        _overload(
            f"{pairs}map", _LIST, [_T.Map(_T.DYN, _T.DYN)],
            lambda items: _pairs(items.items()),
        ),
    ]  # fmt: skip
    return [
        cel.FunctionDecl(pairs, either), _function(map_of, _T.Map(_T.DYN, _T.DYN), [_LIST], dict),
        _function(merged, _T.Map(_T.DYN, _T.DYN), [_LIST], _merged),
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
        _function("isSorted", _T.BOOL, [_LIST], lambda items: all(a <= b for a, b in pairwise(items))),
        _function("sum", _T.DYN, [_LIST], sum),
        _function("min", _T.DYN, [_LIST], lambda items: min(_filled(items, "min"))),
        _function("max", _T.DYN, [_LIST], lambda items: max(_filled(items, "max"))),
        _function("sets.contains", _T.BOOL, [_LIST, _LIST], _contains, member=False),
        _function("sets.equivalent", _T.BOOL, [_LIST, _LIST], lambda a, b: _contains(a, b) and _contains(b, a), member=False),
        _function("sets.intersects", _T.BOOL, [_LIST, _LIST], lambda a, b: any(item in b for item in a), member=False),
    ]  # fmt: skip


def _filled(items: list[Any], name: str) -> list[Any]:
    if not items:
        raise ValueError(f"{name} called on empty list")
    return items


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(item in items for item in wanted)


def _texts() -> list[cel.FunctionDecl]:
    return [
        _function("find", _T.STRING, [_T.STRING, _T.STRING], _find),
        cel.FunctionDecl("findAll", [
            _overload("findAll", _T.List(_T.STRING), [_T.STRING, _T.STRING], _find_all),
            _overload("findAll", _T.List(_T.STRING), [_T.STRING, _T.STRING, _T.INT], _find_all),
        ]),
        _function("isURL", _T.BOOL, [_T.STRING], lambda text: _is(_url, text), member=False),
        _function("url", _T.DYN, [_T.STRING], _url, member=False),
        _function("getScheme", _T.STRING, [_T.DYN], lambda url: urlsplit(_of(url, _URL)).scheme),
        _function("getHost", _T.STRING, [_T.DYN], lambda url: urlsplit(_of(url, _URL)).netloc.rpartition("@")[2]),
        _function("getHostname", _T.STRING, [_T.DYN], lambda url: urlsplit(_of(url, _URL)).hostname or ""),
        _function("getPort", _T.STRING, [_T.DYN], lambda url: str(urlsplit(_of(url, _URL)).port or "")),
        _function("getEscapedPath", _T.STRING, [_T.DYN], lambda url: urlsplit(_of(url, _URL)).path),
        _function("getQuery", _T.DYN, [_T.DYN], lambda url: parse_qs(urlsplit(_of(url, _URL)).query, keep_blank_values=True)),
    ]  # fmt: skip


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _url(text: str) -> Tagged:
    parts = urlsplit(text)
    parts.port  # noqa: B018  # raises where it is no number
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    return {_URL: text}


def _numbers() -> list[cel.FunctionDecl]:
    two = [_T.DYN, _T.DYN]
    return [
        _function("isQuantity", _T.BOOL, [_T.STRING], lambda text: _is(_quantity, text), member=False),
        _function("quantity", _T.DYN, [_T.STRING], _quantity, member=False),
        _function("sign", _T.INT, [_T.DYN], lambda q: (_amount(q) > 0) - (_amount(q) < 0)),
        _function("isInteger", _T.BOOL, [_T.DYN], lambda q: _amount(q) == int(_amount(q))),
        _function("asInteger", _T.INT, [_T.DYN], _integer),
        _function("asApproximateFloat", _T.DOUBLE, [_T.DYN], lambda q: float(_amount(q))),
        _function("add", _T.DYN, two, lambda q, other: _quantity(str(_amount(q) + _amount(other)))),
        _function("sub", _T.DYN, two, lambda q, other: _quantity(str(_amount(q) - _amount(other)))),
        _function("isSemver", _T.BOOL, [_T.STRING], lambda text: _is(_semver, text), member=False),
        _function("semver", _T.DYN, [_T.STRING], _semver, member=False),
        *(_function(name, _T.INT, [_T.DYN], _part(at)) for at, name in enumerate(("major", "minor", "patch"))),
        _function("isGreaterThan", _T.BOOL, two, lambda a, b: _compared(a, b) > 0),
        _function("isLessThan", _T.BOOL, two, lambda a, b: _compared(a, b) < 0),
        _function("compareTo", _T.INT, two, lambda a, b: _compared(a, b)),
    ]  # fmt: skip


def _quantity(text: str) -> Tagged:
    return {_QUANTITY: format(parse_quantity(text).normalize(), "f")}


def _amount(value: Any) -> Decimal:
    return Decimal(value) if type(value) is int else Decimal(_of(value, _QUANTITY))


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
    return lambda version: int(_of(version, _SEMVER).partition("-")[0].split(".")[at])


def _compared(one: Any, other: Any) -> int:
    if isinstance(one, dict) and _SEMVER in one:
        a, b = (_precedence(_of(version, _SEMVER)) for version in (one, other))
    else:
        a, b = _amount(one), _amount(other)  # type: ignore[assignment]  # both are of one type
    return (a > b) - (a < b)


def _precedence(version: str) -> tuple[Any, ...]:
    """A key that sorts as https://semver.org section 11 has it: a pre-release comes before its release."""
    numbers, _, pre = version.partition("-")
    identifiers = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return (*map(int, numbers.split(".")), not pre, identifiers)


def _addresses() -> list[cel.FunctionDecl]:
    return [
        _function("isIP", _T.BOOL, [_T.STRING], lambda text: _is(_ip, text), member=False),
        cel.FunctionDecl("ip", [
            _overload("ip", _T.DYN, [_T.STRING], _ip, member=False),
            _overload("ip_of_cidr", _T.DYN, [_T.DYN], lambda cidr: {_IP: _of(cidr, _CIDR).partition("/")[0]}),
        ]),
        _function("ip.isCanonical", _T.BOOL, [_T.STRING], lambda text: _of(_ip(text), _IP) == text, member=False),
        _function("family", _T.INT, [_T.DYN], lambda ip: _address(ip).version),
        _function("isUnspecified", _T.BOOL, [_T.DYN], lambda ip: _address(ip).is_unspecified),
        _function("isLoopback", _T.BOOL, [_T.DYN], lambda ip: _address(ip).is_loopback),
        _function("isLinkLocalUnicast", _T.BOOL, [_T.DYN], lambda ip: _address(ip).is_link_local),
        _function("isLinkLocalMulticast", _T.BOOL, [_T.DYN], lambda ip: _address(ip) in _LINK_LOCAL[_address(ip).version]),
        _function("isGlobalUnicast", _T.BOOL, [_T.DYN], _global_unicast),
        _function("isCIDR", _T.BOOL, [_T.STRING], lambda text: _is(_cidr, text), member=False),
        _function("cidr", _T.DYN, [_T.STRING], _cidr, member=False),
        _function("containsIP", _T.BOOL, [_T.DYN, _T.DYN], lambda cidr, ip: _any_address(ip) in _network(cidr)),
        _function("containsCIDR", _T.BOOL, [_T.DYN, _T.DYN], _contains_network),
        _function("masked", _T.DYN, [_T.DYN], lambda cidr: {_CIDR: str(_network(cidr))}),
        _function("prefixLength", _T.INT, [_T.DYN], lambda cidr: _network(cidr).prefixlen),
    ]  # fmt: skip


_LINK_LOCAL = {4: ipaddress.ip_network("224.0.0.0/24"), 6: ipaddress.ip_network("ff02::/16")}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _ip(text: str) -> Tagged:
    return {_IP: str(ipaddress.ip_address(text))}


def _address(value: Any) -> _Address:
    return ipaddress.ip_address(_of(value, _IP))


def _any_address(value: Any) -> _Address:
    return ipaddress.ip_address(value) if isinstance(value, str) else _address(value)


def _global_unicast(value: Any) -> bool:
    """Go's IsGlobalUnicast: private addresses are global in its sense."""
    address = _address(value)
    broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or broadcast)


def _cidr(text: str) -> Tagged:
    if "/" not in text:
        raise ValueError(f"network address parse error: {text!r} is no CIDR, such as 10.0.0.0/8")
    return {_CIDR: str(ipaddress.ip_interface(text))}


def _network(value: Any) -> _Network:
    return ipaddress.ip_interface(_of(value, _CIDR)).network


def _contains_network(cidr: Any, other: Any) -> bool:
    outer, inner = _network(cidr), _network(_cidr(other) if isinstance(other, str) else other)
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one version


def _is(make: Callable[[str], Any], text: str) -> bool:
    try:
        make(text)
    except ValueError:
        return False
    return True


def _of(value: Any, tag: str) -> str:
    """The value behind a tag.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, dict) and tag in value:
        return str(value[tag])
    raise ValueError(f"no such overload: a {tag} is needed, not {value!r}")
