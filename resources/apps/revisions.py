"""A Deployment's revisions: which ReplicaSet holds which template, how they are named, numbered and forgotten.

The current ReplicaSet is found by comparing templates, never by the hash in its name: the hash only makes names differ. It
is deterministic, but not the one that Go's dump of the template would give; nothing depends on that.

Source: k8s.io/kubernetes/pkg/controller/deployment/util/deployment_util.go, sync.go;
k8s.io/apimachinery/pkg/util/rand (SafeEncodeString)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from reconcile.errors import Tree
from reconcile.quantities import parse_quantity

from .pod_state import instant_s
from .rolling import Limits, Size

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
_OWN = frozenset(
    [
        REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS,
        "kubectl.kubernetes.io/last-applied-configuration", "deprecated.deployment.rollback.to",
    ]
)  # fmt: skip
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and no look-alikes, so that no word is spelled
_HISTORY_CHARS_MAX = 2000
_QUANTITY_MAPS = frozenset(["limits", "requests", "overhead"])
_MAPS = _QUANTITY_MAPS | {"labels", "annotations", "nodeSelector"}


def template_hash(template: Tree, collisions: int | None) -> str:
    """The label value that tells this template's Pods apart; `collisions` is the Deployment's status.collisionCount."""
    data = json.dumps(_canonical(template), sort_keys=True, separators=(",", ":")).encode()
    if collisions is not None:
        data += (collisions & 0xFFFFFFFF).to_bytes(4, "little") + bytes(4)
    number = 0x811C9DC5
    for byte in data:  # FNV-1a, 32 bits
        number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(number))


def same_template(a: Tree, b: Tree) -> bool:
    """Whether two Pod templates mean the same, their pod-template-hash labels aside."""
    return a == b or bool(_canonical(a) == _canonical(b))


def _canonical(template: Tree) -> Any:
    labels = (template.get("metadata") or {}).get("labels") or {}
    if HASH_LABEL in labels:
        bare = {key: value for key, value in labels.items() if key != HASH_LABEL}
        template = {**template, "metadata": {**template["metadata"], "labels": bare}}
    return _meaning(template, "")


def _meaning(value: Any, key: str) -> Any:
    """A copy without what means nothing: nulls, empty lists, empty maps of strings; quantities by their value."""
    if isinstance(value, dict):
        if key in _QUANTITY_MAPS:
            return {name: str(parse_quantity(amount).normalize()) for name, amount in value.items()}
        kept = {name: _meaning(item, name) for name, item in value.items()}
        # An empty object such as emptyDir: {} says something; an empty map of labels does not.
        return {n: v for n, v in kept.items() if v is not None and v != [] and not (v == {} and n in _MAPS | {"metadata"})}
    if isinstance(value, list):
        return [_meaning(item, "") for item in value]
    return value


def find_new(template: Tree, sets: Iterable[Tree]) -> Tree | None:
    """The ReplicaSet with this template; the oldest where there are several."""
    for candidate in sorted(sets, key=created):
        if same_template(candidate["spec"].get("template") or {}, template):
            return candidate
    return None


def created(obj: Tree) -> tuple[str, str]:
    """A sort key: age, then name. Timestamps of one form sort as text."""
    return obj["metadata"].get("creationTimestamp", ""), obj["metadata"]["name"]


def revision_of(obj: Tree) -> int:
    """The revision that an object is annotated with; 0 where it is none."""
    return _number(obj, REVISION) or 0


def desired_replicas(replica_set: Tree) -> int | None:
    """What the Deployment wanted when this ReplicaSet was last scaled."""
    return _number(replica_set, DESIRED_REPLICAS)


def replicas_annotations(limits: Limits) -> dict[str, str]:
    """What a scaled ReplicaSet remembers of its Deployment."""
    return {DESIRED_REPLICAS: str(limits.replicas), MAX_REPLICAS: str(limits.total_max)}


def size_of(replica_set: Tree) -> Size:
    """The ReplicaSet as the rollout arithmetic sees it."""
    return Size(
        name=replica_set["metadata"]["name"],
        replicas=replica_set["spec"].get("replicas", 1),
        available=(replica_set.get("status") or {}).get("availableReplicas", 0),
        created_s=_created_s(replica_set),
        max_replicas=_number(replica_set, MAX_REPLICAS) or 0,
    )


def _created_s(obj: Tree) -> float:
    return instant_s(obj["metadata"].get("creationTimestamp")) or 0.0


def _number(obj: Tree, annotation: str) -> int | None:
    text = (obj["metadata"].get("annotations") or {}).get(annotation)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return None


def annotations_for(deployment: Tree, existing: Tree | None, old: Iterable[Tree], limits: Limits) -> dict[str, str]:
    """The annotations that the current ReplicaSet should carry: the Deployment's, its revision and its history.

    The revision is one more than the highest of the `old` ReplicaSets. A ReplicaSet that serves again (a rollback) keeps
    the revisions that it had in its revision-history.
    """
    before = dict((existing["metadata"].get("annotations") or {}) if existing else {})
    given = deployment["metadata"].get("annotations") or {}
    after = {**before, **{key: value for key, value in given.items() if key not in _OWN}}
    revision = max(map(revision_of, old), default=0) + 1
    had = before.get(REVISION)
    if existing is None:
        after.update(replicas_annotations(limits))
    if had is not None and not had.isdigit():
        return after
    if int(had or 0) < revision:
        after[REVISION] = str(revision)
        if had:
            _remember(after, had)
    return after


def _remember(annotations: dict[str, str], revision: str) -> None:
    """Append to the history, dropping its oldest entries where it gets too long."""
    history = [entry for entry in annotations.get(REVISION_HISTORY, "").split(",") if entry]
    history.append(revision)
    while len(",".join(history)) > _HISTORY_CHARS_MAX:
        history.pop(0)
    annotations[REVISION_HISTORY] = ",".join(history)


def replica_set_tree(deployment: Tree, hash_: str) -> Tree:
    """The ReplicaSet for the Deployment's current template, without replicas, annotations and owner."""
    meta, spec = deployment["metadata"], deployment["spec"]
    template = spec["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hash_}
    selector = spec.get("selector") or {}
    made: Tree = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": replica_set_name(meta["name"], hash_), "namespace": meta["namespace"], "labels": dict(labels)},
        "spec": {
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: hash_}},
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        },
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return made


def replica_set_name(deployment: str, hash_: str) -> str:
    """`<deployment>-<hash>`, the former cut so that the whole stays a valid name."""
    return f"{deployment[: 253 - len(hash_) - 1]}-{hash_}"


def forgotten(old: Sequence[Tree], history_limit: int) -> list[Tree]:
    """The old ReplicaSets beyond the history limit, oldest revision first; those with Pods or a stale status stay."""
    alive = [rs for rs in old if not rs["metadata"].get("deletionTimestamp")]
    surplus = sorted(alive, key=lambda rs: (revision_of(rs), created(rs)))[: max(len(alive) - history_limit, 0)]
    return [rs for rs in surplus if _empty(rs)]


def _empty(replica_set: Tree) -> bool:
    status = replica_set.get("status") or {}
    current = replica_set["metadata"].get("generation", 0) <= status.get("observedGeneration", 0)
    return current and not status.get("replicas") and not replica_set["spec"].get("replicas", 1)
