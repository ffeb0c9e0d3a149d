"""What a container may say: ports, environment, mounts, probes, hooks, resources.

Source: validateContainers in K/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.quantities import parse_quantity

from .names import (
    duplicate,
    forbidden,
    invalid,
    is_dns_label,
    is_env_name,
    is_int_or_named_port,
    is_port,
    is_port_name,
    is_qualified_name,
    is_quantity,
    is_subdomain,
    not_found,
    not_negative,
    required,
    unsupported,
)
from .security_validation import check_security_context

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_PROBE_NUMBERS = (
    "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold",
)  # fmt: skip
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def check_container(container: Tree, at: str, volumes: set[Any], *, init: bool) -> Iterator[Cause]:
    """Yield what is wrong with the container at path `at`; `volumes` are the names that it can mount."""
    if container.get("name"):
        yield from is_dns_label(container["name"], f"{at}.name")
    if "ports" in container:
        yield from _check_ports(container["ports"] or (), f"{at}.ports")
    if "env" in container:
        yield from _check_env(container["env"] or (), f"{at}.env")
    if "envFrom" in container:
        yield from _check_env_from(container["envFrom"] or (), f"{at}.envFrom")
    if "volumeMounts" in container:
        yield from _check_mounts(container["volumeMounts"] or (), f"{at}.volumeMounts", volumes)
    sidecar = init and container.get("restartPolicy") == "Always"
    for name in _PROBES:
        probe = container.get(name)
        if probe is not None:
            if init and not sidecar:
                yield forbidden(f"{at}.{name}", "may not be set for init containers without restartPolicy=Always")
            yield from _check_probe(probe, f"{at}.{name}", once=name != "readinessProbe")
    if container.get("lifecycle"):
        if init and not sidecar:
            yield forbidden(f"{at}.lifecycle", "may not be set for init containers without restartPolicy=Always")
        for name in ("postStart", "preStop"):
            if container["lifecycle"].get(name) is not None:
                yield from _check_handler(container["lifecycle"][name], f"{at}.lifecycle.{name}", _HOOK_HANDLERS)
    if container.get("securityContext"):
        yield from check_security_context(container["securityContext"], f"{at}.securityContext")
    if container.get("resources"):
        yield from _check_resources(container["resources"], f"{at}.resources")
    for name, known in (
        ("imagePullPolicy", _PULL_POLICIES),
        ("terminationMessagePolicy", _MESSAGE_POLICIES),
        ("restartPolicy", _RESTART_POLICIES),
    ):
        value = container.get(name)
        if value and value not in known:
            yield unsupported(f"{at}.{name}", value, known)


def _check_ports(ports: Any, path: str) -> Iterator[Cause]:
    names = set()
    for position, port in enumerate(ports):
        at = f"{path}[{position}]"
        name = port.get("name")
        if name:
            yield from is_port_name(name, f"{at}.name")
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        if not port.get("containerPort"):
            yield required(f"{at}.containerPort")
        else:
            yield from is_port(port["containerPort"], f"{at}.containerPort")
        if port.get("hostPort"):
            yield from is_port(port["hostPort"], f"{at}.hostPort")
        if port.get("protocol") and port["protocol"] not in _PROTOCOLS:
            yield unsupported(f"{at}.protocol", port["protocol"], _PROTOCOLS)


def _check_env(variables: Any, path: str) -> Iterator[Cause]:
    for position, variable in enumerate(variables):
        at = f"{path}[{position}]"
        if not variable.get("name"):
            yield required(f"{at}.name")
        else:
            yield from is_env_name(variable["name"], f"{at}.name")
        source = variable.get("valueFrom")
        if source is None:
            continue
        given = [name for name in _SOURCES if source.get(name) is not None]
        if variable.get("value"):
            yield invalid(f"{at}.valueFrom", "", "may not be specified when `value` is not empty")
        if not given:
            yield invalid(
                f"{at}.valueFrom", "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            )
        elif len(given) > 1:
            yield invalid(f"{at}.valueFrom", "", "may not have more than one field specified at a time")
        for name in given:
            yield from _check_source(name, source[name], f"{at}.valueFrom.{name}")


def _check_source(name: str, source: Tree, at: str) -> Iterator[Cause]:
    if name in ("configMapKeyRef", "secretKeyRef"):
        if not source.get("name"):
            yield required(f"{at}.name")
        if not source.get("key"):
            yield required(f"{at}.key")
    elif name == "fieldRef" and not source.get("fieldPath"):
        yield required(f"{at}.fieldPath")
    elif name == "resourceFieldRef" and not source.get("resource"):
        yield required(f"{at}.resource")


def _check_env_from(sources: Any, path: str) -> Iterator[Cause]:
    for position, source in enumerate(sources):
        at = f"{path}[{position}]"
        if source.get("prefix"):
            yield from is_env_name(source["prefix"], f"{at}.prefix")
        given = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        if not given:
            yield invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield invalid(at, "", "may not have more than one field specified at a time")
        for name in given:
            if not source[name].get("name"):
                yield required(f"{at}.{name}.name")
            else:
                yield from is_subdomain(source[name]["name"], f"{at}.{name}.name")


def _check_mounts(mounts: Any, path: str, volumes: set[Any]) -> Iterator[Cause]:
    seen = set()
    for position, mount in enumerate(mounts):
        at = f"{path}[{position}]"
        name, target = mount.get("name"), mount.get("mountPath")
        if not name:
            yield required(f"{at}.name")
        elif name not in volumes:
            yield not_found(f"{at}.name", name)
        if not target:
            yield required(f"{at}.mountPath")
        elif target in seen:
            yield invalid(f"{at}.mountPath", target, "must be unique")
        seen.add(target)
        inside = mount.get("subPath")
        if inside:
            if inside.startswith("/"):
                yield invalid(f"{at}.subPath", inside, "must be a relative path")
            if ".." in inside.split("/"):
                yield invalid(f"{at}.subPath", inside, "must not contain '..'")
            if mount.get("subPathExpr"):
                yield invalid(f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")


def _check_probe(probe: Tree, at: str, *, once: bool) -> Iterator[Cause]:
    yield from _check_handler(probe, at, _PROBE_HANDLERS)
    for name in _PROBE_NUMBERS:
        if name in probe:
            yield from not_negative(probe[name], f"{at}.{name}")
    if once and probe.get("successThreshold", 1) != 1:
        yield invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1")
    grace_s = probe.get("terminationGracePeriodSeconds")
    if grace_s is not None and grace_s <= 0:
        yield invalid(f"{at}.terminationGracePeriodSeconds", grace_s, "must be greater than 0")


def _check_handler(handler: Tree, at: str, known: tuple[str, ...]) -> Iterator[Cause]:
    given = [name for name in known if handler.get(name) is not None]
    if not given:
        yield required(at, "must specify a handler type")
        return
    for name in given[1:]:
        yield forbidden(f"{at}.{name}", "may not specify more than 1 handler type")
    name = given[0]
    action = handler[name]
    if name == "exec" and not action.get("command"):
        yield required(f"{at}.exec.command")
    elif name == "httpGet":
        if not action.get("path"):
            yield required(f"{at}.httpGet.path")
        yield from is_int_or_named_port(action.get("port"), f"{at}.httpGet.port")
        if action.get("scheme") not in (None, "HTTP", "HTTPS"):
            yield unsupported(f"{at}.httpGet.scheme", action["scheme"], ("HTTP", "HTTPS"))
    elif name == "tcpSocket":
        yield from is_int_or_named_port(action.get("port"), f"{at}.tcpSocket.port")
    elif name == "grpc":
        yield from is_port(action.get("port"), f"{at}.grpc.port")
    elif name == "sleep":
        yield from not_negative(action.get("seconds"), f"{at}.sleep.seconds")


def _check_resources(resources: Tree, at: str) -> Iterator[Cause]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    sound = True
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            causes = [*is_qualified_name(name, f"{at}.{field}[{name}]"), *is_quantity(amount, f"{at}.{field}[{name}]")]
            sound = sound and not causes
            yield from causes
    if sound:
        for name, amount in requests.items():
            if name in limits and parse_quantity(amount) > parse_quantity(limits[name]):
                yield invalid(f"{at}.requests", str(amount), f"must be less than or equal to {name} limit of {limits[name]}")
