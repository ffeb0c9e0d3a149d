"""Pod: the containers that run together on one node."""

from __future__ import annotations

from reconcile.kinds import Hooks, Resource, kind
from reconcile.views import field

from .pod_columns import POD_COLUMNS
from .pod_connections import POD_CONNECTIONS
from .pod_defaults import default_pod
from .pod_edits import POD_PART_RULES, POD_PARTS
from .pod_lifecycle import bind, changes_tolerations, pod_grace_s, prepare_pod
from .pod_spec import PodSpec
from .pod_status import PodStatus
from .pod_validation import validate_pod


@kind(
    "", "v1", plural="pods", short_names=("po",), categories=("all",), columns=POD_COLUMNS, builtin=True,
    selectable=(
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase",
        "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    selectable_as={"spec.hostNetwork": ("spec.hostNetwork", "false")},
    hooks=Hooks(
        default=default_pod, prepare=prepare_pod, validate=validate_pod, grace_s=pod_grace_s, actions={"binding": bind},
        parts=POD_PARTS, part_rules=POD_PART_RULES, connections=POD_CONNECTIONS, prepares_changes=changes_tolerations,
        answers_deleted=True,
    ),
)  # fmt: skip
class Pod(Resource):
    """Containers that run together on one node, start and end as one, and share an address."""

    spec: PodSpec = field(factory=lambda: PodSpec(containers=[]))
    status: PodStatus = field(factory=PodStatus)
