"""How `describe` shows each kind: built-in ones by what matters about them, all others as their fields stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconcile.errors import Tree

from .printing import table
from .scene import rollout_of, why_not_well

Related = Callable[..., list[Tree]]
_WIDTH = 18


class Lines:
    """Text in the making: facts in two columns, blocks below them."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def fact(self, name: str, value: Any, depth: int = 0) -> None:
        """One fact in a line."""
        pad = "  " * depth
        self._lines.append(f"{pad}{name + ':':<{max(1, _WIDTH - len(pad))}} {'<none>' if value in (None, '') else value}")

    def mapping(self, name: str, values: Mapping[str, Any] | None, depth: int = 0) -> None:
        """Keys and values, a line each."""
        shown = [
            f"{key}={value}" if len(str(value)) < 120 else f"{key}={str(value)[:117]}..."
            for key, value in sorted((values or {}).items())
        ]
        self.fact(name, shown[0] if shown else None, depth)
        self._lines.extend(" " * (_WIDTH + 1) + text for text in shown[1:])

    def text(self, text: str) -> None:
        """Lines as they are."""
        self._lines.append(text)

    def conditions(self, status: Tree) -> None:
        """The object's conditions as a table."""
        found = status.get("conditions") or ()
        if found:
            self.text("Conditions:")
            rows = [[c.get(name) for name in ("type", "status", "reason", "message")] for c in found]
            self.text("\n".join("  " + line for line in table(["Type", "Status", "Reason", "Message"], rows).splitlines()))

    def __str__(self) -> str:
        return "\n".join(self._lines)


def generic(tree: Tree, lines: Lines, related: Related) -> None:  # noqa: ARG001 - one signature for all
    """Any kind: what its fields say, nested as they are."""
    for name, value in tree.items():
        if name not in ("apiVersion", "kind", "metadata"):
            _nested(lines, name[:1].upper() + name[1:], value, 0)


def _nested(lines: Lines, name: str, value: Any, depth: int) -> None:
    if isinstance(value, dict) and value:
        lines.text("  " * depth + f"{name}:")
        for key, inner in value.items():
            _nested(lines, key, inner, depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        lines.text("  " * depth + f"{name}:")
        for number, item in enumerate(value):
            _nested(lines, str(item.get("name") or item.get("type") or number), item, depth + 1)
    elif isinstance(value, list):
        lines.fact(name, ", ".join(str(item) for item in value), depth)
    else:
        lines.fact(name, value, depth)


def _pod(tree: Tree, lines: Lines, related: Related) -> None:  # noqa: ARG001 - one signature for all
    spec, status = tree.get("spec", {}), tree.get("status", {})
    lines.fact("Node", spec.get("nodeName"))
    lines.fact("Status", status.get("reason") or status.get("phase"))
    if why := why_not_well(tree):
        lines.fact("Why", why)
    lines.fact("IP", status.get("podIP"))
    lines.fact("QoS Class", status.get("qosClass"))
    lines.fact("Restart Policy", spec.get("restartPolicy"))
    states = {s["name"]: s for s in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))}
    for title, containers in (("Init Containers", spec.get("initContainers")), ("Containers", spec.get("containers"))):
        if containers:
            lines.text(f"{title}:")
            for container in containers:
                _container(container, states.get(container["name"], {}), lines)
    lines.conditions(status)
    volumes = spec.get("volumes") or ()
    if volumes:
        lines.text("Volumes:")
        for volume in volumes:
            kind = next((key for key in volume if key != "name"), "emptyDir")
            source = volume.get(kind) or {}
            lines.fact(
                volume["name"], f"{kind} {source.get('name') or source.get('secretName') or source.get('path') or ''}".strip(), 1
            )


def _container(container: Tree, state: Tree, lines: Lines) -> None:
    lines.text(f"  {container['name']}:")
    if container.get("image"):
        lines.fact("Image", container["image"], 2)
    for name in ("command", "args"):
        if container.get(name):
            lines.fact(name.capitalize(), " ".join(str(part) for part in container[name]), 2)
    if container.get("ports"):
        ports = ", ".join(
            f"{p.get('name', '')}:{p['containerPort']}/{p.get('protocol', 'TCP')}".lstrip(":") for p in container["ports"]
        )
        lines.fact("Ports", ports, 2)
    if state:
        _state(lines, "State", state.get("state") or {})
    if state.get("lastState"):
        _state(lines, "Last State", state["lastState"])
    if state:
        lines.fact("Ready", state.get("ready"), 2)
        lines.fact("Restart Count", state.get("restartCount", 0), 2)
    for kind in ("limits", "requests"):
        values = container.get("resources", {}).get(kind)
        if values:
            lines.fact(kind.capitalize(), ", ".join(f"{key} {value}" for key, value in values.items()), 2)
    for probe in ("liveness", "readiness", "startup"):
        if container.get(f"{probe}Probe"):
            lines.fact(probe.capitalize(), _probe(container[f"{probe}Probe"]), 2)
    if container.get("env"):
        lines.text("    Environment:")
        for variable in container["env"]:
            lines.fact(variable["name"], variable.get("value", "<from a reference>" if variable.get("valueFrom") else ""), 3)


def _state(lines: Lines, title: str, state: Tree) -> None:
    name = next(iter(state), "")
    detail = state.get(name) or {}
    lines.fact(title, name.capitalize() or "Waiting", 2)
    for key, label in (
        ("reason", "Reason"),
        ("message", "Message"),
        ("exitCode", "Exit Code"),
        ("startedAt", "Started"),
        ("finishedAt", "Finished"),
    ):
        if detail.get(key) not in (None, ""):
            lines.fact(label, detail[key], 3)


def _probe(probe: Tree) -> str:
    how = next((key for key in ("exec", "httpGet", "tcpSocket", "grpc") if key in probe), "")
    what = probe.get(how) or {}
    target = " ".join(what.get("command", ())) or f":{what.get('port', '')}{what.get('path', '')}"
    timing = f"delay={probe.get('initialDelaySeconds', 0)}s period={probe.get('periodSeconds', 10)}s"
    return f"{how} {target} {timing} #failure={probe.get('failureThreshold', 3)}"


def _selector_text(selector: Tree | None) -> str:
    labels = (selector or {}).get("matchLabels", selector or {})
    return ",".join(f"{key}={value}" for key, value in labels.items() if isinstance(value, str))


def _deployment(tree: Tree, lines: Lines, related: Related) -> None:
    spec, status, now = tree.get("spec", {}), tree.get("status", {}), rollout_of(tree)
    lines.fact("Selector", _selector_text(spec.get("selector")))
    lines.fact(
        "Replicas",
        f"{now.wanted} desired | {now.updated} updated | {status.get('replicas', 0)} total | {now.available} available",
    )
    strategy = spec.get("strategy", {})
    lines.fact("Strategy", strategy.get("type"))
    rolling = strategy.get("rollingUpdate")
    if rolling:
        lines.fact("Rolling Update", f"{rolling.get('maxUnavailable')} max unavailable, {rolling.get('maxSurge')} max surge")
    _template(spec.get("template", {}), lines)
    lines.conditions(status)
    uid = tree["metadata"].get("uid")
    sets = [
        rs for rs in related("replicasets.apps") if any(o.get("uid") == uid for o in rs["metadata"].get("ownerReferences", ()))
    ]
    rows = [
        [
            rs["metadata"]["name"],
            rs["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision"),
            f"{rs.get('status', {}).get('readyReplicas', 0)}/{rs.get('spec', {}).get('replicas', 0)}",
        ]
        for rs in sets
    ]
    if rows:
        lines.text("ReplicaSets:")
        lines.text("\n".join("  " + line for line in table(["Name", "Revision", "Ready"], rows).splitlines()))


def _replica_set(tree: Tree, lines: Lines, related: Related) -> None:  # noqa: ARG001 - one signature for all
    spec, status = tree.get("spec", {}), tree.get("status", {})
    lines.fact("Selector", _selector_text(spec.get("selector")))
    lines.fact(
        "Replicas",
        f"{status.get('replicas', 0)} current / {spec.get('replicas', 0)} desired, {status.get('readyReplicas', 0)} ready",
    )
    _template(spec.get("template", {}), lines)
    lines.conditions(status)


def _template(template: Tree, lines: Lines) -> None:
    lines.text("Pod Template:")
    lines.mapping("Labels", template.get("metadata", {}).get("labels"), 1)
    lines.text("  Containers:")
    for container in template.get("spec", {}).get("containers", ()):
        _container(container, {}, lines)


def _service(tree: Tree, lines: Lines, related: Related) -> None:
    spec = tree.get("spec", {})
    lines.fact("Selector", _selector_text(spec.get("selector")))
    lines.fact("Type", spec.get("type"))
    lines.fact("IP", spec.get("clusterIP"))
    for port in spec.get("ports", ()):
        number = f"{port['port']}/{port.get('protocol', 'TCP')} -> {port.get('targetPort', port['port'])}"
        lines.fact("Port", f"{port.get('name') or '<unset>'} {number}")
    slices = related("endpointslices.discovery.k8s.io", labelSelector=f"kubernetes.io/service-name={tree['metadata']['name']}")
    ready = [
        f"{address}:{port.get('port')}"
        for piece in slices
        for endpoint in piece.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready", True)
        for address in endpoint.get("addresses", ())
        for port in piece.get("ports") or [{"port": ""}]
    ]
    lines.fact("Endpoints", ", ".join(ready))


def _node(tree: Tree, lines: Lines, related: Related) -> None:
    spec, status = tree.get("spec", {}), tree.get("status", {})
    lines.fact("Taints", ", ".join(f"{t['key']}={t.get('value', '')}:{t['effect']}" for t in spec.get("taints", ())))
    lines.fact("Unschedulable", str(bool(spec.get("unschedulable"))).lower())
    lines.conditions(status)
    lines.mapping("Capacity", status.get("capacity"))
    lines.mapping("Allocatable", status.get("allocatable"))
    pods = related("pods", all_namespaces=True, fieldSelector=f"spec.nodeName={tree['metadata']['name']}")
    lines.fact("Pods", len(pods))
    for pod in pods[:50]:
        lines.text(
            f"  {pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}  {pod.get('status', {}).get('phase', '')}"
        )


def _config_map(tree: Tree, lines: Lines, related: Related) -> None:  # noqa: ARG001 - one signature for all
    lines.text("Data:")
    for key, value in (tree.get("data") or {}).items():
        lines.text(f"  {key}:")
        lines.text("\n".join("    " + line for line in str(value).splitlines()))


def _secret(tree: Tree, lines: Lines, related: Related) -> None:  # noqa: ARG001 - one signature for all
    """Sizes, never values."""
    lines.fact("Type", tree.get("type"))
    lines.text("Data:")
    for key, value in (tree.get("data") or {}).items():
        lines.fact(key, f"{len(str(value)) * 3 // 4} bytes", 1)


DESCRIBERS: dict[str, Callable[[Tree, Lines, Related], None]] = {
    "Pod": _pod, "Deployment": _deployment, "ReplicaSet": _replica_set, "Service": _service, "Node": _node,
    "ConfigMap": _config_map, "Secret": _secret,
}  # fmt: skip
