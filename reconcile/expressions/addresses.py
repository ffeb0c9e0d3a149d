"""Addresses and networks of IP in expressions: `ip("10.0.0.1").family()`, `cidr("10.0.0.0/8").containsIP("10.1.2.3")`.

Source: k8s.io/apiserver/pkg/cel/library/{ip,cidr}.go
"""

from __future__ import annotations

import ipaddress
from typing import Any

from cel_expr_python import cel

from .declaring import DYN, Tagged, again, function, is_made_by, overload, tagged
from .macros import TEXT

_T = cel.Type
_IP, _CIDR = "net.IP", "net.CIDR"


def addresses() -> list[cel.FunctionDecl]:
    """The functions."""
    return [
        function(TEXT, DYN, [DYN], _text, member=False),
        function("isIP", _T.BOOL, [_T.STRING], lambda text: is_made_by(_ip, text), member=False),
        cel.FunctionDecl("ip", [
            overload("ip", DYN, [_T.STRING], _ip, member=False),
            overload("ip_of_cidr", DYN, [DYN], lambda cidr: {_IP: tagged(cidr, _CIDR).partition("/")[0]}),
        ]),
        function("ip.isCanonical", _T.BOOL, [_T.STRING], lambda text: tagged(_ip(text), _IP) == text, member=False),
        function("family", _T.INT, [DYN], lambda ip: _address(ip).version),
        function("isUnspecified", _T.BOOL, [DYN], lambda ip: _address(ip).is_unspecified),
        function("isLoopback", _T.BOOL, [DYN], lambda ip: _address(ip).is_loopback),
        function("isLinkLocalUnicast", _T.BOOL, [DYN], lambda ip: _address(ip).is_link_local),
        function("isLinkLocalMulticast", _T.BOOL, [DYN], lambda ip: _address(ip) in _LINK_LOCAL[_address(ip).version]),
        function("isGlobalUnicast", _T.BOOL, [DYN], _global_unicast),
        function("isCIDR", _T.BOOL, [_T.STRING], lambda text: is_made_by(_cidr, text), member=False),
        function("cidr", DYN, [_T.STRING], _cidr, member=False),
        function("containsIP", _T.BOOL, [DYN, DYN], lambda cidr, ip: _any_address(ip) in _network(cidr)),
        function("containsCIDR", _T.BOOL, [DYN, DYN], _contains_network),
        function("masked", DYN, [DYN], lambda cidr: {_CIDR: str(_network(cidr))}),
        function("prefixLength", _T.INT, [DYN], lambda cidr: _network(cidr).prefixlen),
    ]  # fmt: skip


_LINK_LOCAL = {4: ipaddress.ip_network("224.0.0.0/24"), 6: ipaddress.ip_network("ff02::/16")}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _text(value: Any) -> Any:
    """An address or a network as text; everything else as it is."""
    if isinstance(value, dict) and len(value) == 1:
        return value.get(_IP, value.get(_CIDR, again(value)))
    return again(value)


def _ip(text: str) -> Tagged:
    try:
        return {_IP: str(ipaddress.ip_address(text))}
    except ValueError as error:
        why = f'ParseAddr("{text}"): unable to parse IP'
        raise ValueError(f'IP Address "{text}" parse error during conversion from string: {why}') from error


def _address(value: Any) -> _Address:
    return ipaddress.ip_address(tagged(value, _IP))


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
    return ipaddress.ip_interface(tagged(value, _CIDR)).network


def _contains_network(cidr: Any, other: Any) -> bool:
    outer, inner = _network(cidr), _network(_cidr(other) if isinstance(other, str) else other)
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one version
