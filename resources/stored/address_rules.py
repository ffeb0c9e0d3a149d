"""The rules of IPAddresses and ServiceCIDRs: one text for each address and range, and parents that can be named.

Source: K/pkg/apis/networking/validation/validation.go, K/staging/src/k8s.io/apimachinery/pkg/util/validation/ip.go
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.resources.core.names import invalid, is_subdomain, required
from reconcile.resources.rbac.role import wrong_path_segment

_NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_NO_RANGE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_IMMUTABLE = "field is immutable"
_RANGES_MAX = 2
_LEADING_ZERO = re.compile(r"(?<![0-9a-fA-F:])0+(?=\d)")


def address_fault(text: str) -> str:
    """What is wrong with the text of an address; empty where it is the one form that the address has."""
    try:
        address = ipaddress.ip_address(_LEADING_ZERO.sub("", text) if ":" not in text else text)
    except ValueError:
        return _NO_ADDRESS
    if ":" not in text and _LEADING_ZERO.search(text):
        return "must not have leading 0s"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return "must not be an IPv4-mapped IPv6 address"
        if address.scope_id is not None:
            return _NO_ADDRESS
    return "" if str(address) == text else f'must be in canonical form ("{address}")'


def range_fault(text: str) -> str:
    """What is wrong with the text of a range of addresses; empty where it is the one form that the range has."""
    address, slash, length = text.partition("/")
    if not slash or not length.isdecimal() or not length.isascii():
        return _NO_RANGE
    bare = _LEADING_ZERO.sub("", address) if ":" not in address else address
    try:
        network = ipaddress.ip_interface(f"{bare}/{int(length)}").network
        whole = ipaddress.ip_address(bare)
    except ValueError:
        return _NO_RANGE
    if bare != address or (len(length) > 1 and length.startswith("0")):
        return "must not have leading 0s in IP or prefix length"
    if isinstance(whole, ipaddress.IPv6Address) and whole.ipv4_mapped is not None:
        return "must not have an IPv4-mapped IPv6 address"
    if whole != network.network_address:
        return "must not have bits set beyond the prefix length"
    return "" if str(network) == text else f'must be in canonical form ("{network}")'


def validate_address(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """An IPAddress says whose it is. Its name is looked at by `address_fault`."""
    parent, path = (tree.get("spec") or {}).get("parentRef"), "spec.parentRef"
    if parent is None:
        yield required(path)
        return
    if parent.get("group"):
        yield from is_subdomain(parent["group"], f"{path}.group")
    for name in ("resource", "name"):
        if not parent.get(name):
            yield required(f"{path}.{name}")
    for name in ("resource", "name", "namespace"):
        if why := wrong_path_segment(parent.get(name) or ""):
            yield invalid(f"{path}.{name}", parent[name], why)
    if old is not None and (old.get("spec") or {}).get("parentRef") != parent:
        yield invalid(path, parent, _IMMUTABLE)


def validate_range(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """A ServiceCIDR has one range, or one of each family; it never changes, but the second may come later."""
    given, path = (tree.get("spec") or {}).get("cidrs") or [], "spec.cidrs"
    before = None if old is None else (old.get("spec") or {}).get("cidrs") or []
    if before is None or (len(before) == 1 and len(given) == _RANGES_MAX and given[0] == before[0]):
        yield from _check_ranges(given, path)
    elif len(before) == len(given):
        for position, (was, now) in enumerate(zip(before, given, strict=True)):
            if was != now:
                yield invalid(f"{path}[{position}]", now, _IMMUTABLE)
    elif len(before) == 1 and len(given) == _RANGES_MAX:
        yield invalid(f"{path}[0]", given[0], _IMMUTABLE)
    else:
        yield invalid(path, given, _IMMUTABLE)


def _check_ranges(given: list[str], path: str) -> Iterator[Cause]:
    if not given:
        yield required(path, "at least one CIDR required")
        return
    if len(given) > _RANGES_MAX:
        yield invalid(path, given, "may only hold up to 2 values")
        return
    sound = True
    for position, text in enumerate(given):
        if fault := range_fault(text):
            sound = False
            yield invalid(f"{path}[{position}]", text, fault)
    if sound and len(given) == _RANGES_MAX and (":" in given[0]) == (":" in given[1]):
        yield invalid(path, given, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
