"""What a Pod, or a Pod template, may say; and what may change in a Pod that is there.

`image` is not required: in process mode a container is a command.

Source: ValidatePodSpec and ValidatePodUpdate in K/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree

from .container_validation import check_container
from .names import (
    check_label_map,
    check_labels,
    check_unique,
    duplicate,
    forbidden,
    invalid,
    is_address,
    is_dns_label,
    is_qualified_name,
    is_quantity,
    is_subdomain,
    not_negative,
    required,
    unsupported,
)
from .placement_validation import check_affinity, check_spreading, check_tolerations
from .security_validation import check_security_context
from .volume_validation import check_volumes

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
_SYSCTL_MAX = 253
_SYSCTL = re.compile(r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$")
_HOSTNAME_LENGTH_MAX = 64
_DEADLINE_S_MAX = 2**31 - 1
_UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a Pod."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        yield required("spec")
        return
    if old is None:
        yield from check_pod_spec(spec, "spec")
        if spec.get("ephemeralContainers"):
            yield forbidden("spec.ephemeralContainers", "cannot be set on create")
        return
    before = old.get("spec") or {}
    if before is not spec and before != spec:
        yield from check_pod_spec(spec, "spec")
        yield from _check_update(spec, before)


def validate_template(template: Tree, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the Pod template at `path`, whose Pods are to run for ever."""
    yield from validate_ending_template(template, path)
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy", "Always")
    if policy in _RESTART_POLICIES and policy != "Always":
        yield unsupported(f"{path}.spec.restartPolicy", policy, ("Always",))
    if spec.get("activeDeadlineSeconds") is not None:
        yield forbidden(f"{path}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported")


def validate_ending_template(template: Tree, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the Pod template at `path`, whose Pods may come to an end."""
    yield from check_labels(template.get("metadata") or {}, f"{path}.metadata")
    yield from check_pod_spec(template.get("spec") or {}, f"{path}.spec")


def check_pod_spec(spec: Tree, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the PodSpec at `path`."""
    volumes = spec.get("volumes") or ()
    if volumes:
        yield from check_volumes(volumes, f"{path}.volumes")
    named = {volume.get("name") for volume in volumes}
    yield from _check_containers(spec, path, named)
    if "affinity" in spec:
        yield from check_affinity(spec["affinity"] or {}, f"{path}.affinity")
    if "tolerations" in spec:
        yield from check_tolerations(spec["tolerations"] or (), f"{path}.tolerations")
    if "topologySpreadConstraints" in spec:
        yield from check_spreading(spec["topologySpreadConstraints"] or (), f"{path}.topologySpreadConstraints")
    yield from _check_scalars(spec, path)
    yield from _check_lists(spec, path)


def _check_containers(spec: Tree, path: str, volumes: set[Any]) -> Iterator[Cause]:
    containers = spec.get("containers")
    if not containers:
        yield required(f"{path}.containers")
    names: set[Any] = set()
    host_ports: set[Any] = set()
    for field in ("containers", "initContainers"):
        for position, container in enumerate(spec.get(field) or ()):
            at = f"{path}.{field}[{position}]"
            name = container.get("name")
            if not name:
                yield required(f"{at}.name")
            elif name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
            yield from check_container(container, at, volumes, init=field == "initContainers")
            if "ports" in container:
                yield from _check_host_ports(container, at, host_ports, host_network=spec.get("hostNetwork") is True)


def _check_host_ports(container: Tree, at: str, taken: set[Any], *, host_network: bool) -> Iterator[Cause]:
    for position, port in enumerate(container.get("ports") or ()):
        number = port.get("hostPort")
        if not number:
            continue
        pair = (port.get("protocol"), port.get("hostIP", ""), number)
        if pair in taken:
            yield duplicate(f"{at}.ports[{position}].hostPort", number)
        taken.add(pair)
        if host_network and number != port.get("containerPort"):
            yield invalid(f"{at}.ports[{position}].hostPort", number, "must match `containerPort` when `hostNetwork` is true")


def _check_override(spec: Tree, override: str, path: str) -> Iterator[Cause]:
    for name in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(name):
            yield Cause("FieldValueForbidden", f"Forbidden: may not be specified when {name} is true", path)
    if len(override) > _HOSTNAME_LENGTH_MAX:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {_HOSTNAME_LENGTH_MAX} bytes", path)
    yield from is_subdomain(override, path)


def _check_scalars(spec: Tree, path: str) -> Iterator[Cause]:
    policy = spec.get("restartPolicy")
    if policy is not None and policy not in _RESTART_POLICIES:
        yield unsupported(f"{path}.restartPolicy", policy, _RESTART_POLICIES)
    dns = spec.get("dnsPolicy")
    if dns is not None and dns not in _DNS_POLICIES:
        yield unsupported(f"{path}.dnsPolicy", dns, _DNS_POLICIES)
    preemption = spec.get("preemptionPolicy")
    if preemption is not None and preemption not in _PREEMPTION_POLICIES:
        yield unsupported(f"{path}.preemptionPolicy", preemption, _PREEMPTION_POLICIES)
    grace_s = spec.get("terminationGracePeriodSeconds")
    if grace_s is not None and grace_s < 0:
        yield from not_negative(grace_s, f"{path}.terminationGracePeriodSeconds")
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is not None and not 1 <= deadline_s <= _DEADLINE_S_MAX:
        yield invalid(f"{path}.activeDeadlineSeconds", deadline_s, f"must be between 1 and {_DEADLINE_S_MAX}, inclusive")
    if spec.get("nodeName"):
        yield from is_subdomain(spec["nodeName"], f"{path}.nodeName")
    if spec.get("hostname"):
        yield from is_dns_label(spec["hostname"], f"{path}.hostname")
    if (override := spec.get("hostnameOverride")) is not None:
        yield from _check_override(spec, override, f"{path}.hostnameOverride")
    if spec.get("subdomain"):
        yield from is_dns_label(spec["subdomain"], f"{path}.subdomain")
    if spec.get("serviceAccountName"):
        yield from is_subdomain(spec["serviceAccountName"], f"{path}.serviceAccountName")
    if spec.get("priorityClassName"):
        yield from is_subdomain(spec["priorityClassName"], f"{path}.priorityClassName")
    if type(spec.get("runtimeClassName")) is str:
        yield from is_subdomain(spec["runtimeClassName"], f"{path}.runtimeClassName")
    if spec.get("nodeSelector"):
        yield from check_label_map(spec["nodeSelector"], f"{path}.nodeSelector")


def _check_lists(spec: Tree, path: str) -> Iterator[Cause]:
    gates = spec.get("schedulingGates")
    if gates:
        for position, gate in enumerate(gates):
            yield from is_qualified_name(gate.get("name") or "", f"{path}.schedulingGates[{position}].name")
        yield from check_unique(gates, "name", f"{path}.schedulingGates")
    for position, gate in enumerate(spec.get("readinessGates") or ()):
        yield from is_qualified_name(gate.get("conditionType") or "", f"{path}.readinessGates[{position}].conditionType")
    for name, amount in (spec.get("overhead") or {}).items():
        yield from is_quantity(amount, f"{path}.overhead[{name}]")
    context = spec.get("securityContext")
    if context:
        yield from check_security_context(context, f"{path}.securityContext")
        yield from _check_sysctls(context.get("sysctls") or (), f"{path}.securityContext.sysctls")
    if spec.get("dnsConfig"):
        yield from _check_dns(spec["dnsConfig"], f"{path}.dnsConfig")
    for position, alias in enumerate(spec.get("hostAliases") or ()):
        yield from is_address(alias.get("ip") or "", f"{path}.hostAliases[{position}].ip")


def _check_dns(config: Tree, path: str) -> Iterator[Cause]:
    for position, server in enumerate(config.get("nameservers") or ()):
        yield from is_address(server, f"{path}.nameservers[{position}]")
    for position, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield required(f"{path}.options[{position}]", "must not be empty")


def _check_sysctls(sysctls: Any, path: str) -> Iterator[Cause]:
    if not isinstance(sysctls, (list, tuple)) or not all(isinstance(sysctl, dict) for sysctl in sysctls):
        yield invalid(path, sysctls, "must be a list of objects with name and value")
        return
    seen = set()
    for position, sysctl in enumerate(sysctls):
        name, at = sysctl.get("name"), f"{path}[{position}].name"
        if not name:
            yield required(at)
        elif not isinstance(name, str) or len(name) > _SYSCTL_MAX or not _SYSCTL.match(name):
            yield invalid(at, name, f"must have at most {_SYSCTL_MAX} characters and match regex {_SYSCTL.pattern}")
        elif name in seen:
            yield duplicate(at, name)
        else:
            seen.add(name)


def _check_update(spec: Tree, before: Tree) -> Iterator[Cause]:
    """A Pod is what it was made as; little about it can change."""
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(before.get(field) or ()):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    deadline_s, before_s = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if before_s is not None and deadline_s != before_s:
        if deadline_s is None:
            yield invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")
        elif deadline_s > before_s:
            yield invalid("spec.activeDeadlineSeconds", deadline_s, f"must be less than or equal to previous value {before_s}")
    tolerations = [_timeless(toleration) for toleration in spec.get("tolerations") or ()]
    if any(_timeless(old) not in tolerations for old in before.get("tolerations") or ()):
        yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    gates = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for gate in spec.get("schedulingGates") or ():
        if gate.get("name") not in gates:
            yield forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates: " + gate["name"])
    changed = sorted(_changed(_fixed(spec, before), _fixed(before, before)))
    if changed:
        yield forbidden("spec", f"{_UPDATE_TEXT}; changed: {', '.join(changed)}")


def _timeless(toleration: Tree) -> Tree:
    return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}


def _fixed(spec: Tree, before: Tree) -> Tree:
    """What of a spec may not change, given what it was.

    A Pod that is gated may still get rules about nodes. An empty nodeName may be filled: the binding does so.
    """
    free = {"activeDeadlineSeconds", "tolerations", "schedulingGates"}
    if before.get("schedulingGates"):
        free |= {"nodeSelector", "affinity"}
    if not before.get("nodeName"):
        free.add("nodeName")
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") in (1, None):
        free.add("terminationGracePeriodSeconds")
    kept = {name: value for name, value in spec.items() if name not in free}
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [
                {k: v for k, v in container.items() if k not in ("image", "imagePullPolicy")} for container in kept[field]
            ]
    return kept


def _changed(one: Tree, other: Tree) -> Iterator[str]:
    for name in one.keys() | other.keys():
        if one.get(name) != other.get(name):
            yield f"spec.{name}"
