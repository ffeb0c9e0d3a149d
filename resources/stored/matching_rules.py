"""What has to hold of that by which policies and their bindings say which writes they are for.

Source: k8s.io/kubernetes/pkg/apis/admissionregistration/validation/validation.go, validateMatchResources
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconcile.errors import Cause, Tree
from reconcile.resources.core.names import check_selector, duplicate, invalid, required, unsupported

MUTATED = ("*", "CONNECT", "CREATE", "UPDATE")
"""What policies that mutate can be for: nothing is left of what is deleted."""
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")


def validate_match(given: Tree, path: str, operations: Sequence[str] = _OPERATIONS) -> Iterator[Cause]:
    """The matchConstraints of a policy, or the matchResources of a binding, which may be for these operations."""
    for name in ("namespaceSelector", "objectSelector"):
        yield from check_selector(given.get(name), f"{path}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for number, rule in enumerate(given.get(name) or ()):
            yield from _rule(rule, f"{path}.{name}[{number}]")
    for rule in given.get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            if operation not in operations and operation in _OPERATIONS:
                yield unsupported(f"{path}.resourceRules.operations", operation, operations)


def _rule(rule: Tree, path: str) -> Iterator[Cause]:
    names = rule.get("resourceNames") or []
    for number, name in enumerate(names):
        if name in names[:number]:
            yield duplicate(f"{path}.resourceNames[{number}]", name)
    for field, what in (("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or []
        if not values:
            yield required(f"{path}.{field}")
        if len(values) > 1 and "*" in values:
            yield invalid(f"{path}.{field}", values, f"if '*' is present, must not specify other {what}")
    for number, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            yield required(f"{path}.apiVersions[{number}]")
    yield from _resources(rule.get("resources") or [], f"{path}.resources")


def _resources(resources: list[str], path: str) -> Iterator[Cause]:
    if not resources:
        yield required(path)
    whole: set[str] = set()
    everywhere: set[str] = set()
    for number, text in enumerate(resources):
        resource, slash, part = text.partition("/")
        if not text:
            yield required(f"{path}[{number}]")
        if not slash:
            continue
        if resource in whole:
            yield invalid(f"{path}[{number}]", text, f"if '{resource}/*' is present, must not specify {text}")
        if part in everywhere:
            yield invalid(f"{path}[{number}]", text, f"if '*/{part}' is present, must not specify {text}")
        if part == "*":
            whole.add(resource)
        if resource == "*":
            everywhere.add(part)
    if len(resources) > 1 and "*/*" in resources:
        yield invalid(path, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and any("/" not in text and text != "*" for text in resources):
        yield invalid(path, resources, "if '*' is present, must not specify other resources without subresources")
