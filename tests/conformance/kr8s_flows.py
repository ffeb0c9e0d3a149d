"""What kr8s does in its process of its own: `python -m tests.conformance.kr8s_flows KUBECONFIG NAMESPACE...`.

Its synchronous face keeps an event loop in a thread and leaves sockets to the garbage collector, which a test-suite that
turns warnings into errors cannot have in its own process. Prints a JSON object: flow -> "" or its traceback.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import kr8s
import yaml
from kr8s.objects import ConfigMap, Deployment, Pod, Service, new_class

from tests.conformance.kubectl import WEB
from tests.plane import wait_until


def web(namespace: str, api: Any) -> Any:
    tree = yaml.safe_load(WEB)
    tree["metadata"]["namespace"] = namespace
    return Deployment(tree, api=api)


def objects_are_created_patched_labelled_and_deleted(api: Any, namespace: str) -> None:
    """Every method of an object is another request."""
    made = ConfigMap({"metadata": {"name": "a", "namespace": namespace}, "data": {"k": "1"}}, api=api)
    assert not made.exists()
    made.create()
    made.patch({"data": {"k": "2"}})
    made.label(app="a")
    made.annotate(note="n")
    made.refresh()
    assert (made.data.k, made.labels, made.annotations) == ("2", {"app": "a"}, {"note": "n"})
    assert [item.name for item in api.get("configmaps", label_selector={"app": "a"})] == ["a"]
    assert ConfigMap.get("a", namespace=namespace, api=api).raw["metadata"]["uid"] == made.raw["metadata"]["uid"]
    made.delete()
    wait_until("it is gone", lambda: not made.exists())
    try:
        ConfigMap.get("a", namespace=namespace, api=api)
    except kr8s.NotFoundError:
        return
    raise AssertionError("it was deleted and is found")


def a_deployment_is_waited_for_scaled_and_its_pods_found(api: Any, namespace: str) -> None:
    """`wait` understands conditions and JSON paths; `scale` waits for the status to follow."""
    deployment = web(namespace, api)
    deployment.create()
    deployment.wait("condition=Available", timeout=10)
    deployment.scale(2)
    wait_until("both are ready", lambda: deployment.ready() and len(deployment.pods()) == 2)
    pods = deployment.pods()
    assert all(isinstance(pod, Pod) for pod in pods)
    for pod in pods:
        pod.wait("condition=Ready", timeout=10)
    assert {pod.status.phase for pod in pods} == {"Running"}
    deployment.delete(propagation_policy="Foreground")
    deployment.wait("delete", timeout=10)
    assert list(api.get("pods", namespace=namespace)) == []


def other_kinds_are_discovered_and_listed_across_namespaces(api: Any, namespace: str) -> None:
    """Classes are made from discovery; lists follow `continue`."""
    gadget = new_class("Gadget", "toys.example.com/v1")
    made = gadget({"metadata": {"name": "g", "namespace": namespace}, "spec": {"size": 3}}, api=api)
    made.create()
    assert [item.spec.size for item in api.get("gadgets.toys.example.com", namespace=namespace)] == [3]
    assert [item.spec.size for item in api.get("gad", namespace=namespace)] == [3]
    assert {item.name for item in api.get("nodes")} >= {"sim-0", "sim-1"}
    kinds = {resource["kind"] for resource in api.api_resources()}
    assert {"Pod", "Deployment", "Gadget"} <= kinds
    assert api.version()["major"] == "1"
    service = Service(
        {"metadata": {"name": "s", "namespace": namespace}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}, api=api
    )
    service.create()
    assert service.exists()
    assert {item.name for item in api.get("services", namespace=kr8s.ALL)} >= {"s"}


def a_watch_yields_what_happens(api: Any, namespace: str) -> None:
    """Its events carry objects of the class."""
    made = ConfigMap({"metadata": {"name": "a", "namespace": namespace}}, api=api)
    made.create()
    for event, item in api.watch("configmaps", namespace=namespace):
        assert (event, item.name) == ("ADDED", "a")
        break


FLOWS: tuple[Callable[[Any, str], None], ...] = (
    objects_are_created_patched_labelled_and_deleted,
    a_deployment_is_waited_for_scaled_and_its_pods_found,
    other_kinds_are_discovered_and_listed_across_namespaces,
    a_watch_yields_what_happens,
)


def main(kubeconfig: str, namespaces: list[str]) -> None:
    """Run every flow in a namespace of its own."""
    told = {}
    for flow, namespace in zip(FLOWS, namespaces, strict=True):
        try:
            flow(kr8s.api(kubeconfig=kubeconfig, namespace=namespace), namespace)
            told[flow.__name__] = ""
        except Exception:  # noqa: BLE001 - the test that asked for the flow shows it
            told[flow.__name__] = traceback.format_exc()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
