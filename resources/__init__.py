"""The built-in kinds and the handlers that reconcile them, written with the vocabulary alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconcile.errors import Tree
    from reconcile.kinds import Kind, Resource
    from reconcile.registry import Operator


def builtin_kinds() -> list[type[Resource] | Kind]:
    """Every built-in kind, in the order in which discovery shows them: those with a class, then those that are only stored."""
    from . import (
        apiextensions,
        apps,
        batch,
        certificates,
        coordination,
        core,
        discovery,
        policy,
        quota,
        rbac,
        scheduling,
    )
    from .stored import stored_kinds

    return [
        core.Namespace, core.Pod, core.Node, core.ConfigMap, core.Secret, core.Service, core.ServiceAccount, core.Event,
        apps.Deployment, apps.ReplicaSet, apps.StatefulSet, apps.DaemonSet, apps.ControllerRevision,
        core.ReplicationController, core.PodTemplate, batch.Job, batch.CronJob,
        coordination.Lease, discovery.EndpointSlice, policy.PodDisruptionBudget, apiextensions.CustomResourceDefinition,
        rbac.Role, rbac.ClusterRole, rbac.RoleBinding, rbac.ClusterRoleBinding, certificates.CertificateSigningRequest,
        scheduling.PriorityClass, quota.LimitRange, quota.ResourceQuota,
        *stored_kinds(),
    ]  # fmt: skip


def question_kinds() -> list[type[Resource]]:
    """The built-in kinds of questions, which are answered, not stored (TokenRequests at `serviceaccounts/token`)."""
    from . import authentication, authorization

    return [
        authorization.SubjectAccessReview, authorization.SelfSubjectAccessReview, authorization.LocalSubjectAccessReview,
        authorization.SelfSubjectRulesReview, authentication.TokenReview, authentication.SelfSubjectReview,
        authentication.TokenRequest,
    ]  # fmt: skip


def controllers(service_cidr: str = "") -> list[Operator]:
    """The operators of the built-in kinds; Services get their addresses out of `service_cidr`.

    Where it is empty, `services.service_addresses` is left to whoever composes: it judges Services, and must run before anybody
    is answered, while the others may follow. The scheduler and the kubelets are not among them either: who composes a cluster
    chooses those.
    """
    from .apps.daemonset_controller import daemonset_controller
    from .apps.deployment_controller import deployment_controller
    from .apps.replicaset_controller import replicaset_controller, replication_controller
    from .apps.statefulset_controller import statefulset_controller
    from .batch.cronjob_controller import cronjob_controller
    from .batch.job_controller import job_controller
    from .core.event_expiry import event_expiry
    from .core.namespace_controller import namespace_controller
    from .core.node_lifecycle import node_lifecycle_controller
    from .core.pod_gc import pod_garbage_collector
    from .gc import garbage_collector
    from .policy.budget_controller import disruption_controller
    from .scheduler.taint_eviction import taint_eviction
    from .services import endpoint_slice_mirroring, endpoint_slices, endpoints_controller, service_addresses

    addresses = [service_addresses(service_cidr)] if service_cidr else []
    return [
        deployment_controller(), replicaset_controller(), garbage_collector(), namespace_controller(),
        *addresses, endpoint_slices(), endpoints_controller(), endpoint_slice_mirroring(), taint_eviction(),
        node_lifecycle_controller(), pod_garbage_collector(),
        event_expiry(), job_controller(), cronjob_controller(), statefulset_controller(), daemonset_controller(),
        replication_controller(), disruption_controller(),
    ]  # fmt: skip


def bootstrap_objects() -> list[Tree]:
    """What a new cluster holds before anybody writes to it."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in ("default", "kube-system", "kube-public", "kube-node-lease")
    ]
