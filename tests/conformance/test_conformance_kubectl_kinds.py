"""kubectl and the kinds beyond Pods and Deployments: generators, autoscale, rollouts, describe and explain of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from reconcile.kinds import Kind, kind_of
from reconcile.resources import builtin_kinds
from tests.conformance.kubectl import WEB, Kubectl
from tests.conformance.test_conformance_kubectl_creates import holds
from tests.plane import Plane, wait_until
from tests.resources.kinds.test_stored_kinds import BY_NAME, SAMPLES

WORKLOADS = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: a, image: "x:1"}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  updateStrategy: {rollingUpdate: {maxUnavailable: 2}}
  selector: {matchLabels: {app: agent}}
  template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: a, image: "x:1"}]}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 1
  template: {metadata: {labels: {app: old}}, spec: {containers: [{name: a, image: "x:1"}]}}
---
apiVersion: v1
kind: PodTemplate
metadata: {name: t}
template: {metadata: {labels: {app: t}}, spec: {containers: [{name: a, image: "x:1"}]}}
"""
GENERATORS = (
    "job j --image=x -- true", "cronjob c --image=x --schedule=@daily -- true",
    "ingress i --class=nginx --rule=a.b/c*=svc:80,tls=t",
)  # fmt: skip


@pytest.fixture(scope="module")
def shown(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl in a namespace that holds an object `shown` of every stored kind; those without a namespace go in the end."""
    plane.api.ask("POST", "/api/v1/namespaces", None, {"metadata": {"name": "shown"}})
    kubectl = Kubectl(str(plane.data_dir / "kubeconfig"), "shown", tmp_path_factory.mktemp("shown"))
    items = []
    for name, (body, _) in SAMPLES.items():
        kind = BY_NAME[name]
        metadata = {**body.get("metadata", {}), "name": _name(name), "labels": {"shown": "1"}}
        tree = json.loads(json.dumps({"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": metadata}))
        for hook in tree.get("webhooks", ()):
            hook["rules"][0]["apiGroups"] = ["nobody.example.com"]
        for rule in tree.get("spec", {}).get("matchConstraints", {}).get("resourceRules", ()):
            rule["apiGroups"] = ["nobody.example.com"]
        items.append(tree)
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    yield kubectl
    scattered = [_word(kind) for kind in BY_NAME.values() if not kind.namespaced]
    done = kubectl.run("delete", ",".join(scattered), "-l", "shown=1", "--wait=false")
    assert done.returncode == 0, done.stderr


def _word(kind: Kind) -> str:
    """What names a kind and its version to kubectl."""
    return f"{kind.plural}.{kind.version}.{kind.group}" if kind.group else kind.plural


def _name(api_name: str) -> str:
    if api_name.endswith("IPAddress"):
        return "192.0.2.77"  # which is its name
    return "shown-v1" if api_name.startswith("autoscaling/v1") else "shown"


def test_every_stored_kind_is_described_and_printed(shown: Kubectl) -> None:
    """kubectl has a describer of its own for many of them, which reads the typed object."""
    words = ",".join(map(_word, BY_NAME.values()))
    told = shown("describe", words, "-l", "shown=1")
    assert told.count("\nLabels:") >= len(BY_NAME) - 2, told
    printed = shown("get", words, "-l", "shown=1", "-o", "wide", "--no-headers")
    rows = [row.split()[0] for row in printed.splitlines() if row]
    for kind in BY_NAME.values():
        word = f"{kind.kind.lower()}.{kind.group}/" if kind.group else f"{kind.kind.lower()}/"
        # A row of an Event begins with when it was last seen.
        assert kind.kind == "Event" or any(row.startswith(word) for row in rows), (word, rows)


def test_every_kind_is_explained_by_the_names_of_its_types(kubectl: Kubectl) -> None:
    """Somebody who writes a manifest looks fields up; types have the names that the documentation has."""
    for words, told in (
        ("ingress.spec.rules.http.paths", "FIELD: paths <[]HTTPIngressPath>"),
        ("sts.spec.updateStrategy", "FIELD: updateStrategy <StatefulSetUpdateStrategy>"),
        ("deploy.spec.strategy.rollingUpdate.maxSurge", "FIELD: maxSurge <IntOrString>"),
        ("pod.spec.containers.resources.limits", "FIELD: limits <map[string]Quantity>"),
        ("hpa.spec", "FIELD: spec <HorizontalPodAutoscalerSpec>"),
    ):
        assert told in kubectl("explain", words)
    assert "schedule\t<string> -required-" in kubectl("explain", "cronjob", "--recursive")
    told = kubectl("explain", "networkpolicy.spec")
    assert "Who may connect to selected Pods; each rule allows more." in told
    assert "<no description>" not in told


def test_all_kinds_are_listed_with_their_short_names(kubectl: Kubectl) -> None:
    """What people type."""
    rows = [row.split() for row in kubectl("api-resources", "--no-headers").splitlines()]
    served = {(row[-3], row[-1]) for row in rows}
    for kind in map(kind_of, builtin_kinds()):
        older = (kind.api_version, kind.kind) == ("autoscaling/v1", "HorizontalPodAutoscaler")
        assert older or (kind.api_version, kind.kind) in served
    assert {"cj", "ds", "ing", "pvc", "pv", "sc", "rc", "sts", "hpa", "netpol"} <= {row[1] for row in rows}


@pytest.mark.parametrize("command", GENERATORS)
def test_what_a_generator_makes_is_what_it_shows_beforehand(kubectl: Kubectl, command: str) -> None:
    """Sent as protobuf, shown as JSON."""
    what, name, *rest = command.split()
    shown = json.loads(kubectl("create", what, name, "--dry-run=client", "-o", "json", *rest))
    holds(json.loads(kubectl("create", what, name, "-o", "json", *rest)), shown)


def test_a_job_is_made_of_a_cron_job_and_waited_for(kubectl: Kubectl) -> None:
    """The way to try a schedule out."""
    kubectl("create", "cronjob", "c", "--image=x", "--schedule=@yearly", "--", "true")
    kubectl("create", "job", "now", "--from=cronjob/c")
    pods = wait_until("its Pod", lambda: json.loads(kubectl("get", "pods", "-l", "job-name=now", "-o", "json"))["items"])
    name = pods[0]["metadata"]["name"]
    kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Succeeded"}}')
    kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=20s")
    assert kubectl("get", "job", "now", "--no-headers").split()[:3] == ["now", "Complete", "1/1"]
    assert "1 Succeeded" in kubectl("describe", "job", "now")
    kubectl("delete", "job", "now")


def test_autoscale_makes_an_autoscaler(kubectl: Kubectl) -> None:
    """Nothing scales by it here; it is stored, printed and described."""
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("autoscale", "deploy/web", "--min=1", "--max=3", "--cpu=50%")
    row = kubectl("get", "hpa", "--no-headers").split()
    assert row[:7] == ["web", "Deployment/web", "cpu:", "<unknown>/50%", "1", "3", "0"]
    assert "resource cpu on pods  (as a percentage of request)" in kubectl("describe", "hpa", "web")
    old = json.loads(kubectl("get", "horizontalpodautoscalers.v1.autoscaling", "web", "-o", "json"))
    assert old["spec"]["targetCPUUtilizationPercentage"] == 50


def test_stateful_and_daemon_sets_are_rolled_out_and_back(kubectl: Kubectl) -> None:
    """history and undo read the ControllerRevisions themselves."""
    kubectl("create", "-f", "-", stdin=WORKLOADS)
    for name in ("sts/db", "ds/agent"):
        kubectl("rollout", "status", name, "--timeout=25s")
        kubectl("set", "image", name, "a=x:2")
        kubectl("rollout", "status", name, "--timeout=25s")
        history = kubectl("rollout", "history", name)
        assert [row.split()[0] for row in history.splitlines() if row[:1].isdigit()] == ["1", "2"]
        assert "x:1" in kubectl("rollout", "history", name, "--revision=1")
        assert "rolled back" in kubectl("rollout", "undo", name)
        kubectl("rollout", "status", name, "--timeout=25s")
    images = kubectl("get", "sts,ds", "-o", "jsonpath={.items[*].spec.template.spec.containers[0].image}")
    assert images == "x:1 x:1"
    kubectl("scale", "rc/old", "--replicas=2")
    kubectl("scale", "sts/db", "--replicas=1")
    kubectl("rollout", "status", "sts/db", "--timeout=25s")
    told = kubectl("describe", "sts/db", "ds/agent", "rc/old", "podtemplate/t", "pvc/data-db-0")
    assert re.search(r"Update Strategy: +RollingUpdate", told)
    assert "Desired Number of Nodes Scheduled: 2" in told
    assert "Used By:       db-0" in told
    assert kubectl("get", "controllerrevisions", "--no-headers").count("statefulset.apps/db") == 2
    kubectl("delete", "sts/db", "ds/agent", "rc/old")


def test_events_of_both_groups_are_the_same(kubectl: Kubectl) -> None:
    """kubectl events reads the core group."""
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deploy/web", "--timeout=15s")
    old = json.loads(kubectl("get", "events", "-o", "json"))["items"]
    new = json.loads(kubectl("get", "events.v1.events.k8s.io", "-o", "json"))["items"]
    by_uid: dict[str, Any] = {item["metadata"]["uid"]: item for item in new}
    assert all(by_uid[item["metadata"]["uid"]]["note"] == item["message"] for item in old if item["metadata"]["uid"] in by_uid)
    assert "ScalingReplicaSet" in kubectl("events", "--for", "deploy/web")


def test_the_server_tells_how_it_is(kubectl: Kubectl) -> None:
    """What monitoring reads, through kubectl's own credentials."""
    ready = kubectl("get", "--raw", "/readyz?verbose")
    checks = ("ping", "etcd", "controllers", "scheduler", "nodes", "informer-sync")
    assert ready == "".join(f"[+]{name} ok\n" for name in checks) + "readyz check passed\n"
    assert kubectl("get", "--raw", "/livez?verbose") == "[+]ping ok\n[+]etcd ok\nlivez check passed\n"
    metrics = kubectl("get", "--raw", "/metrics")
    for name in ("etcd_db_total_size_in_bytes", "workqueue_depth", "apiserver_request_total", "process_cpu_seconds_total"):
        assert f"\n{name}{{" in metrics or f"\n{name} " in metrics, name
    done = kubectl.run("get", "cs", "--no-headers")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["Healthy"] * 3
    assert done.stderr == "Warning: v1 ComponentStatus is deprecated in v1.19+\n"
