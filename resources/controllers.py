"""The controllers by the names that kube-controller-manager has for them, and how each is made.

Whoever runs a control plane chooses by these names what runs, so that the reference's controllers can do the work instead. The
operators keep the identities that they write under, which stand beside the names here. What judges writes (admission, quotas'
charges, addresses of Services) is the API server's, here as there: it has no name, and always runs.

Source: K/cmd/kube-controller-manager/names/controller_names.go
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconcile.registry import Operator

Enabled = Callable[[str], bool]
"""Whether a controller is to run, by its name."""

ACCOUNTS, ACCOUNT_TOKENS, ROOT_CA = (
    "serviceaccount-controller", "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
)  # fmt: skip
SIGNING, CLEARING = "certificatesigningrequest-signing-controller", "certificatesigningrequest-cleaner-controller"
AGGREGATION, QUOTAS = "clusterrole-aggregation-controller", "resourcequota-controller"
VOLUMES = "persistentvolume-binder-controller"
POLICY_STATUS = "validatingadmissionpolicy-status-controller"

_MADE_ALONE = {
    "deployment-controller": "apps.deployment_controller:deployment_controller",
    "replicaset-controller": "apps.replicaset_controller:replicaset_controller",
    "garbage-collector-controller": "gc:garbage_collector",
    "namespace-controller": "core.namespace_controller:namespace_controller",
    "endpointslice-controller": "services:endpoint_slices",
    "endpoints-controller": "services:endpoints_controller",
    "endpointslice-mirroring-controller": "services:endpoint_slice_mirroring",
    "service-cidr-controller": "services.range_controller:service_cidr_controller",
    "taint-eviction-controller": "scheduler.taint_eviction:taint_eviction",
    "node-lifecycle-controller": "core.node_lifecycle:node_lifecycle_controller",
    "pod-garbage-collector-controller": "core.pod_gc:pod_garbage_collector",
    "job-controller": "batch.job_controller:job_controller",
    "ttl-after-finished-controller": "batch.job_expiry:job_expiry",
    "cronjob-controller": "batch.cronjob_controller:cronjob_controller",
    "statefulset-controller": "apps.statefulset_controller:statefulset_controller",
    "daemonset-controller": "apps.daemonset_controller:daemonset_controller",
    "replicationcontroller-controller": "apps.replicaset_controller:replication_controller",
    "disruption-controller": "policy.budget_controller:disruption_controller",
}  # in the order in which they are started
_MADE_WITH_OTHERS = (ACCOUNTS, ACCOUNT_TOKENS, ROOT_CA, SIGNING, CLEARING, AGGREGATION, QUOTAS, VOLUMES, POLICY_STATUS)
"""Parts of operators that judge writes as well, or need what only the composition has."""

NAMES = tuple(sorted((*_MADE_ALONE, *_MADE_WITH_OTHERS)))


def everything(name: str) -> bool:
    """Choose every controller."""
    return name in NAMES


def made_alone(enabled: Enabled) -> list[Operator]:
    """The operators of the chosen controllers that need nothing from whoever composes. Loads those alone."""
    made = []
    for name, place in _MADE_ALONE.items():
        if enabled(name):
            module, _, function = place.partition(":")
            operator: Operator = getattr(import_module(f".{module}", __package__), function)()
            made.append(operator)
    return made
