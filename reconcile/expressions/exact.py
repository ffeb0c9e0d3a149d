"""The functions whose values the language has no type for, with types of their own: for checking expressions.

The types are messages without fields, which have to be in the pool of whoever checks (`OWN_MESSAGES`). Nothing is evaluated with
them: then such values are maps with a tag (see `functions`), and functions take anything.

Source: k8s.io/apiserver/pkg/cel/library
"""

from __future__ import annotations

import re
from typing import Any

from cel_expr_python import cel

from .formats import FAULTS
from .macros import NAMED, TEXT, VALIDATED

_T = cel.Type
_DECLARED = f"""
url(string): URL
isURL(string): bool
URL.getScheme(): string
URL.getHost(): string
URL.getHostname(): string
URL.getPort(): string
URL.getEscapedPath(): string
URL.getQuery(): queries
quantity(string): Quantity
isQuantity(string): bool
sign(Quantity): int
Quantity.sign(): int
Quantity.isInteger(): bool
Quantity.asInteger(): int
Quantity.asApproximateFloat(): double
Quantity.add(Quantity): Quantity
Quantity.add(int): Quantity
Quantity.sub(Quantity): Quantity
Quantity.sub(int): Quantity
Quantity.isGreaterThan(Quantity): bool
Quantity.isLessThan(Quantity): bool
Quantity.compareTo(Quantity): int
semver(string): Semver
semver(string, bool): Semver
isSemver(string): bool
isSemver(string, bool): bool
Semver.major(): int
Semver.minor(): int
Semver.patch(): int
Semver.isGreaterThan(Semver): bool
Semver.isLessThan(Semver): bool
Semver.compareTo(Semver): int
ip(string): IP
CIDR.ip(): IP
isIP(string): bool
ip.isCanonical(string): bool
IP.family(): int
IP.isUnspecified(): bool
IP.isLoopback(): bool
IP.isLinkLocalUnicast(): bool
IP.isLinkLocalMulticast(): bool
IP.isGlobalUnicast(): bool
cidr(string): CIDR
isCIDR(string): bool
CIDR.containsIP(string): bool
CIDR.containsIP(IP): bool
CIDR.containsCIDR(string): bool
CIDR.containsCIDR(CIDR): bool
CIDR.masked(): CIDR
CIDR.prefixLength(): int
{TEXT}(dyn): dyn
format.{NAMED}(string): formats
Format.{VALIDATED}(string): faults
Authorizer.path(string): PathCheck
Authorizer.group(string): GroupCheck
Authorizer.serviceAccount(string, string): Authorizer
GroupCheck.resource(string): ResourceCheck
ResourceCheck.subresource(string): ResourceCheck
ResourceCheck.namespace(string): ResourceCheck
ResourceCheck.name(string): ResourceCheck
ResourceCheck.fieldSelector(string): ResourceCheck
ResourceCheck.labelSelector(string): ResourceCheck
PathCheck.check(string): Decision
ResourceCheck.check(string): Decision
Decision.allowed(): bool
Decision.reason(): string
Decision.errored(): bool
Decision.error(): string
"""
_LINE = re.compile(r"(?:([A-Z]\w*)\.)?([\w.]+)\((.*)\): (\w+)")
_OWN = {
    **{name: f"kubernetes.{name}" for name in ("URL", "Quantity", "Semver")}, "IP": "net.IP", "CIDR": "net.CIDR",
    "Format": "kubernetes.NamedFormat",
    **{
        name: f"kubernetes.authorization.{name}"
        for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
    },
}  # fmt: skip
OWN_MESSAGES = tuple(_OWN.values())
_TYPES: dict[str, Any] = {
    **{name: _T(tag) for name, tag in _OWN.items()},
    "string": _T.STRING, "bool": _T.BOOL, "int": _T.INT, "double": _T.DOUBLE, "dyn": _T.DYN,
    "queries": _T.Map(_T.STRING, _T.List(_T.STRING)), "faults": _T.List(_T.List(_T.STRING)),
}  # fmt: skip
_TYPES["formats"] = _T.List(_TYPES["Format"])
AUTHORIZER, RESOURCE_CHECK = _TYPES["Authorizer"], _TYPES["ResourceCheck"]
"""The types of `authorizer` and of `authorizer.requestResource`."""


def exact_functions() -> list[cel.FunctionDecl]:
    """The functions, without anything to run."""
    lines = [*_DECLARED.split("\n"), *(f"format.{name}(): Format" for name in FAULTS)]
    overloads: dict[str, list[cel.Overload]] = {}
    for number, line in enumerate(filter(None, lines)):
        found = _LINE.fullmatch(line)
        assert found is not None, line
        receiver, name, parameters, result = found.groups()
        types = [_TYPES[each] for each in ([receiver] if receiver else []) + (parameters.split(", ") if parameters else [])]
        made = cel.Overload(f"exact_{number}", return_type=_TYPES[result], parameters=types, is_member=bool(receiver))
        overloads.setdefault(name, []).append(made)
    return [cel.FunctionDecl(name, each) for name, each in overloads.items()]
