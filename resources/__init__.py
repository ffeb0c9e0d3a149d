"""The built-in kinds and the handlers that reconcile them, written with the vocabulary alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .controllers import Enabled, everything, made_alone

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


def controllers(service_cidr: str = "", enabled: Enabled = everything) -> list[Operator]:
    """The operators of the built-in kinds, of those controllers that are `enabled`.

    Services get their addresses out of `service_cidr`. Where it is empty, `services.service_addresses` is left to whoever
    composes: it judges Services, and must run before anybody is answered, while the others may follow. The scheduler and the
    kubelets are not among them either: who composes a cluster chooses those.
    """
    from .core.event_expiry import event_expiry
    from .services import service_addresses

    addresses = [service_addresses(service_cidr)] if service_cidr else []
    return [*addresses, *made_alone(enabled), event_expiry()]


def bootstrap_objects() -> list[Tree]:
    """What a new cluster holds before anybody writes to it."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in ("default", "kube-system", "kube-public", "kube-node-lease")
    ]
