"""What simulated Pods and nodes use: what they say, else what they ask for, else next to nothing.

A Pod's annotations `reconcile.dev/sim-cpu` and `sim-memory` are what each of its containers uses; without them, it uses what the
container requests. A node uses what its Pods do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from reconcile.errors import Tree
from reconcile.quantities import parse_quantity

from .simulated_objects import PREFIX

_LEAST = {"cpu": "1m", "memory": "1Mi"}
_NANO, _KIBI = 10**9, 1 << 10


def containers_usage(pod: Tree) -> Iterator[tuple[str, Tree]]:
    """The containers of a running Pod, and the usage of each as metrics.k8s.io has it; nothing for others."""
    if (pod.get("status") or {}).get("phase") != "Running":
        return
    for container in pod["spec"]["containers"]:
        yield container["name"], _shown({name: _amount(pod, container, name) for name in _LEAST})


def node_usage(node: Tree, pods: Iterable[Tree]) -> Tree:
    """What all Pods of a node use together."""
    total = dict.fromkeys(_LEAST, Decimal(0))
    for pod in pods:
        if (pod["spec"].get("nodeName"), (pod.get("status") or {}).get("phase")) == (node["metadata"]["name"], "Running"):
            for container in pod["spec"]["containers"]:
                for name in total:
                    total[name] += _amount(pod, container, name)
    return _shown(total)


def _amount(pod: Tree, container: Tree, name: str) -> Decimal:
    said = (pod["metadata"].get("annotations") or {}).get(f"{PREFIX}{name}")
    asked = ((container.get("resources") or {}).get("requests") or {}).get(name)
    for text in (said, asked):
        if text:
            try:
                return max(Decimal(0), parse_quantity(text))
            except ValueError:
                continue  # an annotation is anything; a request was checked
    return parse_quantity(_LEAST[name])


def _shown(amounts: dict[str, Decimal]) -> Tree:
    return {"cpu": f"{int(amounts['cpu'] * _NANO)}n", "memory": f"{int(amounts['memory']) // _KIBI}Ki"}
