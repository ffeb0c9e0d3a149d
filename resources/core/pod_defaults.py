"""A Pod's defaults: what a Pod (or a Pod template) means where it says nothing.

Some of them a Pod alone has: what a limit says of a request, ports of the node, environment variables of Services. A template
says of these what its author said.

One walk over what is there; nothing that has a value is touched, so that a second walk is cheap.

Source: K/pkg/apis/core/v1/defaults.go
"""

from __future__ import annotations

from reconcile.errors import Tree

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_VOLUME_MODES = ("configMap", "secret", "downwardAPI", "projected")
_FILE_MODE = 0o644
_TOKEN_LIFE_S = 3600


def default_pod(tree: Tree) -> None:
    """Fill in a Pod's defaults."""
    spec = tree.get("spec")
    if isinstance(spec, dict):
        _default_pod_spec(spec)
        _default_pod_alone(spec)


def default_pod_template(owner_spec: Tree) -> None:
    """Fill in the defaults of the Pod template in `owner_spec`."""
    template = owner_spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        template.setdefault("metadata", {})
        _default_pod_spec(template["spec"])


def _default_pod_alone(spec: Tree) -> None:
    if "enableServiceLinks" not in spec:
        spec["enableServiceLinks"] = True
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        _default_requests(container["resources"])
        if spec.get("hostNetwork") is True:
            for port in container.get("ports") or ():
                if "hostPort" not in port:
                    port["hostPort"] = port.get("containerPort")


def _default_pod_spec(spec: Tree) -> None:
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if "terminationGracePeriodSeconds" not in spec:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if "securityContext" not in spec:
        spec["securityContext"] = {}
    if "schedulerName" not in spec:
        spec["schedulerName"] = "default-scheduler"
    if "serviceAccountName" in spec and "serviceAccount" not in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif "serviceAccount" in spec and "serviceAccountName" not in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _default_container(container: Tree) -> None:
    if "resources" not in container:
        container["resources"] = {}
    if "terminationMessagePath" not in container:
        container["terminationMessagePath"] = "/dev/termination-log"
    if "terminationMessagePolicy" not in container:
        container["terminationMessagePolicy"] = "File"
    if "imagePullPolicy" not in container and container.get("image"):
        container["imagePullPolicy"] = _pull_policy(container["image"])
    for port in container.get("ports") or ():
        if "protocol" not in port:
            port["protocol"] = "TCP"
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source:
            _default_field_ref(source)
            if "resourceFieldRef" in source and "divisor" not in source["resourceFieldRef"]:
                source["resourceFieldRef"]["divisor"] = "0"
    for name in _PROBES:
        if name in container and container[name] is not None:
            _default_probe(container[name])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict) and "httpGet" in handler:
            _default_http_get(handler["httpGet"])


def _default_requests(resources: Tree) -> None:
    """A limit without a request asks for all of it."""
    limits = resources.get("limits")
    if limits:
        requests = resources.get("requests")
        if requests is None:
            resources["requests"] = dict(limits)
        else:
            for name, amount in limits.items():
                if name not in requests:
                    requests[name] = amount


def _pull_policy(image: str) -> str:
    """`latest` (said or implied) is always pulled again; a tag or digest is not."""
    last = image.rsplit("/", 1)[-1]
    latest = "@" not in last and (":" not in last or last.endswith(":latest"))
    return "Always" if latest else "IfNotPresent"


def _default_probe(probe: Tree) -> None:
    if not probe.get("timeoutSeconds"):
        probe["timeoutSeconds"] = 1
    if not probe.get("periodSeconds"):
        probe["periodSeconds"] = 10
    if not probe.get("successThreshold"):
        probe["successThreshold"] = 1
    if not probe.get("failureThreshold"):
        probe["failureThreshold"] = 3
    if "httpGet" in probe:
        _default_http_get(probe["httpGet"])
    if "grpc" in probe and "service" not in probe["grpc"]:
        probe["grpc"]["service"] = ""


def _default_http_get(action: Tree) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _default_field_ref(source: Tree) -> None:
    reference = source.get("fieldRef")
    if reference and "apiVersion" not in reference:
        reference["apiVersion"] = "v1"


def _default_volume(volume: Tree) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
        return
    for name in _VOLUME_MODES:
        source = volume.get(name)
        if source is not None and "defaultMode" not in source:
            source["defaultMode"] = _FILE_MODE
    if "downwardAPI" in volume:
        for item in volume["downwardAPI"].get("items") or ():
            _default_field_ref(item)
    if "hostPath" in volume and "type" not in volume["hostPath"]:
        volume["hostPath"]["type"] = ""
    if "projected" in volume:
        for source in volume["projected"].get("sources") or ():
            for item in (source.get("downwardAPI") or {}).get("items") or ():
                _default_field_ref(item)
            if "serviceAccountToken" in source and "expirationSeconds" not in source["serviceAccountToken"]:
                source["serviceAccountToken"]["expirationSeconds"] = _TOKEN_LIFE_S
