"""The roles and bindings that every cluster has: for administrators, editors and viewers, for nodes, and for the system's parts.

Those of the reference's controllers are apart, in `controller_policy`: nobody needs them before the API answers. `system:node` is
bound to nobody: the node authorizer holds its rules, and tells nodes apart.

Source: the default policy of release 1.36, https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Tree

from .role import GROUP

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = f"{_WRITE} {_READ}"
_HEALTH = "/healthz /livez /readyz /version /version/"
_AUTHN, _AUTHZ, _CERTIFICATES = "authentication.k8s.io", "authorization.k8s.io", "certificates.k8s.io"
_METRICS, _LEASES, _STORAGE, _SLICES = "metrics.k8s.io", "coordination.k8s.io", "storage.k8s.io", "discovery.k8s.io"
_DEVICES = "resource.k8s.io"

NAMESPACE = "kube-system"
Rule = tuple[str, ...]
"""(verbs, API groups, resources[, names]): words apart by spaces; the core group is "core". Paths have no group."""
EVENTS: Rule = ("create patch update", "core events.k8s.io", "events")
"""Who acts may tell what happens."""
_Rule = Rule
_EVENTS: tuple[_Rule, ...] = (EVENTS,)

_VIEW: tuple[_Rule, ...] = (
    (
        _READ, "core",
        ("configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status"),
    ),
    (
        _READ, "core",
        ("bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas "
        "resourcequotas/status"),
    ),
    (_READ, "core", "namespaces"),
    (_READ, _SLICES, "endpointslices"),
    (
        _READ, "apps",
        ("controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets "
        "replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
    ),
    (_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    (_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    (_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    (_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    (_READ, "events.k8s.io", "events"),
    (_READ, _DEVICES, "resourceclaims resourceclaims/status resourceclaimtemplates"),
)  # fmt: skip
_EDIT: tuple[_Rule, ...] = (
    (_READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    ("impersonate", "core", "serviceaccounts"),
    (_WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    ("create", "core", "pods/eviction"),
    (
        _WRITE, "core",
        ("configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy"),
    ),
    ("create", "core", "serviceaccounts/token"),
    (
        _WRITE, "apps",
        ("daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
        "statefulsets/scale"),
    ),
    (_WRITE, "autoscaling", "horizontalpodautoscalers"),
    (_WRITE, "batch", "cronjobs jobs"),
    (_WRITE, "policy", "poddisruptionbudgets"),
    (_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    (_WRITE, "events.k8s.io", "events"),
    (_WRITE, _DEVICES, "resourceclaims resourceclaimtemplates"),
    (_ALL, _LEASES, "leases"),
)  # fmt: skip
_ADMIN: tuple[_Rule, ...] = (
    ("create", _AUTHZ, "localsubjectaccessreviews"), (_ALL, GROUP, "rolebindings roles"),
)  # fmt: skip
_NODE: tuple[_Rule, ...] = (
    ("create", _AUTHN, "tokenreviews"),
    ("create", _AUTHZ, "localsubjectaccessreviews subjectaccessreviews"),
    (_READ, "core", "services"),
    ("create get list watch", "core", "nodes"),
    ("patch update", "core", "nodes/status"),
    ("patch update", "core", "nodes"),
    *_EVENTS,
    (_READ, "core", "pods"),
    ("create delete", "core", "pods"),
    ("patch update", "core", "pods/status"),
    ("create", "core", "pods/eviction"),
    (_READ, "core", "configmaps secrets"),
    ("get", "core", "persistentvolumeclaims persistentvolumes"),
    ("get", "core", "endpoints"),
    ("create get list watch", _CERTIFICATES, "certificatesigningrequests"),
    ("create delete get patch update", _LEASES, "leases"),
    ("get", _STORAGE, "volumeattachments"),
    ("create", "core", "serviceaccounts/token"),
    ("get patch update", "core", "persistentvolumeclaims/status"),
    (_READ, _STORAGE, "csidrivers"),
    ("create delete get patch update", _STORAGE, "csinodes"),
    (_READ, "node.k8s.io", "runtimeclasses"),
)
_MANAGER: tuple[_Rule, ...] = (
    *_EVENTS,
    ("create", _LEASES, "leases"),
    ("get update", _LEASES, "leases", "kube-controller-manager"),
    ("create", "core", "secrets serviceaccounts"),
    ("delete", "core", "secrets"),
    ("get", "core", "configmaps namespaces secrets serviceaccounts"),
    ("update", "core", "secrets serviceaccounts"),
    ("create", _AUTHN, "tokenreviews"),
    ("create", _AUTHZ, "subjectaccessreviews"),
    ("list watch", "*", "*"),
    ("create", "core", "serviceaccounts/token"),
)
_SCHEDULER: tuple[_Rule, ...] = (
    *_EVENTS,
    ("create", _LEASES, "leases"),
    ("get list update watch", _LEASES, "leases", "kube-scheduler"),
    (_ALL, _LEASES, "leasecandidates"),
    (_READ, "core", "nodes"),
    ("delete get list watch", "core", "pods"),
    ("create", "core", "bindings pods/binding"),
    ("patch update", "core", "pods/status"),
    (_READ, "core", "replicationcontrollers services"),
    (_READ, "apps extensions", "replicasets"),
    (_READ, "apps", "statefulsets"),
    (_READ, "policy", "poddisruptionbudgets"),
    (_READ, "core", "persistentvolumeclaims persistentvolumes"),
    ("create", _AUTHN, "tokenreviews"),
    ("create", _AUTHZ, "subjectaccessreviews"),
    (_READ, _STORAGE, "csidrivers csinodes csistoragecapacities volumeattachments"),
    (_READ, "core", "namespaces"),
    (_READ, _DEVICES, "deviceclasses resourceslices"),
    ("create delete get list patch update watch", _DEVICES, "resourceclaims"),
    ("get list patch update watch", _DEVICES, "resourceclaims/status"),
    ("patch update", _DEVICES, "resourceclaims/binding"),
    ("update", "core", "pods/finalizers"),
)
_ROLES: dict[str, tuple[_Rule, ...]] = {
    "cluster-admin": (("*", "*", "*"), ("*", "*")),
    "system:discovery": (("get", f"{_HEALTH} /api /api/* /apis /apis/* /openapi /openapi/*"),),
    "system:public-info-viewer": (("get", _HEALTH),),
    "system:monitoring": (
        ("get", "/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz"),
        ("get", "core", "nodes/metrics"),
    ),
    "system:basic-user": (
        ("create", _AUTHZ, "selfsubjectaccessreviews selfsubjectrulesreviews"), ("create", _AUTHN, "selfsubjectreviews"),
    ),
    "system:node": _NODE,
    "system:node-problem-detector": (("get", "core", "nodes"), ("patch", "core", "nodes/status"), *_EVENTS),
    "system:node-proxier": (
        ("list watch", "core", "endpoints services"), (_READ, "core", "nodes"), *_EVENTS,
        ("list watch", _SLICES, "endpointslices"), ("list watch", "networking.k8s.io", "servicecidrs"),
    ),
    "system:node-bootstrapper": (("create get list watch", _CERTIFICATES, "certificatesigningrequests"),),
    "system:kubelet-api-admin": (
        (_READ, "core", "nodes"), ("proxy", "core", "nodes"),
        ("*", "core", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats"),
    ),
    "system:auth-delegator": (("create", _AUTHN, "tokenreviews"), ("create", _AUTHZ, "subjectaccessreviews")),
    "system:kube-aggregator": ((_READ, "core", "endpoints services"),),
    "system:kube-controller-manager": _MANAGER,
    "system:kube-scheduler": _SCHEDULER,
    "system:volume-scheduler": (
        ("get list patch update watch", "core", "persistentvolumes"), (_READ, _STORAGE, "storageclasses"),
        ("get list patch update watch", "core", "persistentvolumeclaims"),
    ),
    "system:kube-dns": (("list watch", "core", "endpoints services"),),
    "system:persistent-volume-provisioner": (
        ("create delete get list watch", "core", "persistentvolumes"),
        ("get list update watch", "core", "persistentvolumeclaims"), (_READ, _STORAGE, "storageclasses"),
        ("watch", "core", "events"), *_EVENTS,
    ),
    "system:service-account-issuer-discovery": (
        ("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"),
    ),
    f"system:{_CERTIFICATES}:certificatesigningrequests:nodeclient": (
        ("create", _CERTIFICATES, "certificatesigningrequests/nodeclient"),
    ),
    f"system:{_CERTIFICATES}:certificatesigningrequests:selfnodeclient": (
        ("create", _CERTIFICATES, "certificatesigningrequests/selfnodeclient"),
    ),
    f"system:{_CERTIFICATES}:kube-apiserver-client-approver": (
        ("approve", _CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client"),
    ),
    f"system:{_CERTIFICATES}:kube-apiserver-client-kubelet-approver": (
        ("approve", _CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
    ),
    f"system:{_CERTIFICATES}:kubelet-serving-approver": (
        ("approve", _CERTIFICATES, "signers", "kubernetes.io/kubelet-serving"),
    ),
    f"system:{_CERTIFICATES}:legacy-unknown-approver": (
        ("approve", _CERTIFICATES, "signers", "kubernetes.io/legacy-unknown"),
    ),
}  # fmt: skip
_AGGREGATED_TO: dict[str, tuple[tuple[str, tuple[_Rule, ...]], ...]] = {
    # Names in the order of the alphabet, as the aggregation sorts them: the first write is then the last one.
    "view": (("system:aggregate-to-view", _VIEW), ("system:aggregated-metrics-reader", ((_READ, _METRICS, "nodes pods"),))),
    "edit": (("system:aggregate-to-edit", _EDIT),),
    "admin": (("system:aggregate-to-admin", _ADMIN),),
}
_BINDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "cluster-admin": (("Group", "system:masters"),),
    "system:basic-user": (("Group", "system:authenticated"),),
    "system:discovery": (("Group", "system:authenticated"),),
    "system:public-info-viewer": (("Group", "system:authenticated"), ("Group", "system:unauthenticated")),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:node": (),
    "system:node-proxier": (("User", "system:kube-proxy"),),
    "system:kube-controller-manager": (("User", "system:kube-controller-manager"),),
    "system:kube-scheduler": (("User", "system:kube-scheduler"),),
    "system:volume-scheduler": (("User", "system:kube-scheduler"),),
    "system:service-account-issuer-discovery": (("Group", "system:serviceaccounts"),),
}
_LOCKS = ("kube-controller-manager", "kube-scheduler")


def bootstrap_policy() -> Iterator[Tree]:
    """Every role and binding, as objects to create."""
    for name, rules in _ROLES.items():
        yield _role(name, rules)
    yield from _aggregated()
    for name, subjects in _BINDINGS.items():
        yield _binding("ClusterRole", name, name, subjects)
    for component in _LOCKS:
        name = f"system::leader-locking-{component}"
        leases = (("create get list update watch", _LEASES, "leases leasecandidates"),)
        yield _role(name, leases, namespace=NAMESPACE)
        subjects = (("User", f"system:{component}"), ("ServiceAccount", component))
        yield _binding("Role", name, name, subjects, namespace=NAMESPACE)
    name = "extension-apiserver-authentication-reader"
    yield _role(name, ((_READ, "core", "configmaps", "extension-apiserver-authentication"),), namespace=NAMESPACE)
    readers = tuple(("User", f"system:{component}") for component in _LOCKS)
    yield _binding("Role", name, f"system::{name}", readers, namespace=NAMESPACE)


def controller_policy() -> Iterator[Tree]:
    """The roles of the reference's controllers, and their bindings."""
    from .controller_roles import CONTROLLERS, IN_NAMESPACES  # after the API answers

    for account, rules in CONTROLLERS.items():
        name = f"system:controller:{account}"
        yield _role(name, rules)
        yield _binding("ClusterRole", name, name, (("ServiceAccount", account),))
    for (namespace, account), rules in IN_NAMESPACES.items():
        name = f"system:controller:{account}"
        yield _role(name, rules, namespace=namespace)
        yield _binding("Role", name, name, (("ServiceAccount", account),), namespace=namespace)


def node_rules() -> list[Tree]:
    """What every node may do that is not about particular objects."""
    return [_rule(rule) for rule in _NODE]


def _aggregated() -> Iterator[Tree]:
    """view, edit and admin, each with what it collects: an admin may edit, who edits may view."""
    collected: list[Tree] = []
    lesser: Tree | None = None
    for name, parts in _AGGREGATED_TO.items():
        label = f"{GROUP}/aggregate-to-{name}"
        sources = [_role(part, rules, {label: "true"}) for part, rules in parts]
        if lesser is not None:
            lesser["metadata"]["labels"][label] = "true"
            yield lesser
        yield from sources
        # What the controller would collect, in its order, so that a new cluster need not be written twice.
        own = [lesser, *sources] if lesser is not None else sources
        collected = [rule for role in sorted(own, key=lambda r: str(r["metadata"]["name"])) for rule in role["rules"]]
        lesser = _role(name, ())
        lesser["rules"] = list(collected)
        lesser["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
    if lesser is not None:
        yield lesser


def _role(name: str, rules: tuple[_Rule, ...], labels: dict[str, str] | None = None, namespace: str = "") -> Tree:
    kind = "Role" if namespace else "ClusterRole"
    return {**_head(kind, name, namespace, labels), "rules": [_rule(rule) for rule in rules]}


def _rule(rule: _Rule) -> Tree:
    verbs, *about = rule
    if len(about) == 1:
        return {"verbs": verbs.split(), "nonResourceURLs": about[0].split()}
    groups = ["" if group == "core" else group for group in about[0].split()]
    tree: Tree = {"verbs": verbs.split(), "apiGroups": groups, "resources": about[1].split()}
    if len(about) > 2:
        tree["resourceNames"] = about[2].split()
    return tree


def _binding(role_kind: str, role: str, name: str, subjects: tuple[tuple[str, str], ...], namespace: str = "") -> Tree:
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {
        **_head(kind, name, namespace),
        "subjects": [_subject(kind, who) for kind, who in subjects],
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    }


def _subject(kind: str, who: str) -> Tree:
    if kind == "ServiceAccount":
        return {"kind": kind, "name": who, "namespace": NAMESPACE}
    return {"kind": kind, "apiGroup": GROUP, "name": who}


def _head(kind: str, name: str, namespace: str, labels: dict[str, str] | None = None) -> Tree:
    metadata: Tree = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})},
        "annotations": {AUTOUPDATE: "true"},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata}
