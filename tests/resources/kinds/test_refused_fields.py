"""Fields whose values a real Kubernetes 1.36.2 refused, where ours took them: what is said, and what is still taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from reconcile.errors import Cause, Tree
from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds

KINDS = {(kind_of(cls).kind, kind_of(cls).version): kind_of(cls) for cls in builtin_kinds() if kind_of(cls).builtin}
SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of"
POD, ALONE = ("Pod", "v1"), "must be between 0 and 2147483647, inclusive"


def pod(**spec: Any) -> Tree:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def container(**fields: Any) -> Tree:
    return pod(containers=[{"name": "c", "image": "i", **fields}])


def service(**spec: Any) -> Tree:
    return {"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}], **spec}}


def ingress(**spec: Any) -> Tree:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    return {"metadata": {"name": "i"}, "spec": {"defaultBackend": backend, **spec}}


def scaler(**spec: Any) -> Tree:
    return {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "a"}, **spec}}


SERVICE, INGRESS, SCALER = ("Service", "v1"), ("Ingress", "v1"), ("HorizontalPodAutoscaler", "v2")
CASES: list[tuple[tuple[str, str], Tree, str, str]] = [
    (POD, pod(securityContext={"runAsUser": -1}), "spec.securityContext.runAsUser", ALONE),
    (POD, pod(securityContext={"fsGroup": 2**31}), "spec.securityContext.fsGroup", ALONE),
    (POD, pod(securityContext={"supplementalGroups": [1, -1]}), "spec.securityContext.supplementalGroups[1]", ALONE),
    (POD, pod(securityContext={"fsGroupChangePolicy": "x"}), "spec.securityContext.fsGroupChangePolicy", "Unsupported"),
    (POD, pod(securityContext={"seccompProfile": {}}), "spec.securityContext.seccompProfile.type", "type is required"),
    (POD, pod(dnsConfig={"nameservers": ["x"]}), "spec.dnsConfig.nameservers[0]", "must be a valid IP address"),
    (POD, pod(dnsConfig={"options": [{}]}), "spec.dnsConfig.options[0]", "must not be empty"),
    (POD, pod(hostAliases=[{"ip": "x"}]), "spec.hostAliases[0].ip", "must be a valid IP address"),
    (POD, pod(runtimeClassName="X_"), "spec.runtimeClassName", SUBDOMAIN),
    (POD, container(securityContext={"runAsGroup": -1}), "spec.containers[0].securityContext.runAsGroup", ALONE),
    (POD, container(securityContext={"procMount": "x"}), "spec.containers[0].securityContext.procMount", "Unsupported"),
    (
        POD, container(securityContext={"appArmorProfile": {"type": "x"}}),
        "spec.containers[0].securityContext.appArmorProfile.type", "Unsupported",
    ),
    (
        POD, container(securityContext={"seccompProfile": {"type": "Localhost"}}),
        "spec.containers[0].securityContext.seccompProfile.localhostProfile", "must be set when seccomp type is Localhost",
    ),
    (
        POD, container(securityContext={"windowsOptions": {"runAsUserName": ""}}),
        "spec.containers[0].securityContext.windowsOptions.runAsUserName", "cannot be an empty string",
    ),
    (POD, container(envFrom=[{"secretRef": {"name": "X_"}}]), "spec.containers[0].envFrom[0].secretRef.name", SUBDOMAIN),
    (POD, container(env=[{"name": "a=b", "value": "c"}]), "spec.containers[0].env[0].name", "printable ASCII characters other"),
    (SERVICE, service(externalTrafficPolicy="Local"), "spec.externalTrafficPolicy", "externally-accessible services"),
    (SERVICE, service(type="NodePort", externalTrafficPolicy="x"), "spec.externalTrafficPolicy", "Unsupported"),
    (SERVICE, service(healthCheckNodePort=30000), "spec.healthCheckNodePort", "may only be set when `type`"),
    (SERVICE, service(loadBalancerClass="x"), "spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'"),
    (SERVICE, service(trafficDistribution="x"), "spec.trafficDistribution", "Unsupported"),
    (SERVICE, service(internalTrafficPolicy="x"), "spec.internalTrafficPolicy", "Unsupported"),
    (INGRESS, ingress(ingressClassName="X_"), "spec.ingressClassName", SUBDOMAIN),
    (INGRESS, ingress(tls=[{"hosts": ["X_"]}]), "spec.tls[0].hosts[0]", SUBDOMAIN),
    (INGRESS, ingress(tls=[{"secretName": "X_"}]), "spec.tls[0].secretName", SUBDOMAIN),
    (INGRESS, ingress(rules=[{"host": "X_"}]), "spec.rules[0].host", SUBDOMAIN),
    (
        INGRESS, ingress(defaultBackend={"service": {"name": "X_", "port": {"number": 80}}}),
        "spec.defaultBackend.service.name", "a lowercase RFC 1123 label",
    ),
    (SCALER, scaler(metrics=[{"type": "x"}]), "spec.metrics[0].type", "Unsupported"),
    (SCALER, scaler(behavior={"scaleUp": {"selectPolicy": "x"}}), "spec.behavior.scaleUp.selectPolicy", "Unsupported"),
    (
        SCALER, scaler(behavior={"scaleDown": {"stabilizationWindowSeconds": 3601}}),
        "spec.behavior.scaleDown.stabilizationWindowSeconds", "must be less than or equal to 3600",
    ),
    (
        SCALER, scaler(behavior={"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 0}]}}),
        "spec.behavior.scaleDown.policies[0].periodSeconds", "must be greater than zero",
    ),
]  # fmt: skip


def causes(kind: tuple[str, str], tree: Tree) -> list[Cause]:
    validate: Callable[[Tree, Tree | None], Iterable[Cause]] | None = KINDS[kind].hooks.validate
    assert validate is not None
    return list(validate(tree, None))


@pytest.mark.parametrize(("kind", "tree", "field", "why"), CASES, ids=[case[2] for case in CASES])
def test_a_value_that_the_reference_refuses_is_refused(kind: tuple[str, str], tree: Tree, field: str, why: str) -> None:
    """A manifest that was taken here must not fail where it is meant to go."""
    found = [(cause.field, cause.message) for cause in causes(kind, tree)]
    assert [place for place, _ in found] == [field], found
    assert why in found[0][1]


@pytest.mark.parametrize(
    ("kind", "tree"),
    [
        (POD, pod(securityContext={"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}})),
        (POD, container(env=[{"name": "1.any thing!", "value": "x"}], envFrom=[{"configMapRef": {"name": "a.b"}}])),
        (SERVICE, service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30000)),
        (SERVICE, service(externalIPs=["1.2.3.4"], externalTrafficPolicy="Cluster", internalTrafficPolicy="Local")),
        (INGRESS, ingress(rules=[{"host": "*.example.com"}], tls=[{"hosts": ["*.example.com"], "secretName": "s"}])),
        (SCALER, scaler(behavior={"scaleUp": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}})),
    ],
)  # fmt: skip
def test_what_the_reference_takes_is_taken(kind: tuple[str, str], tree: Tree) -> None:
    """Nothing more is refused than there."""
    assert not causes(kind, tree)
