"""The reference's kube-controller-manager and kube-scheduler on our API server and nodes, in place of our own.

They connect as the users that they are in every cluster, so that the first policy is tried, too. Skipped where they are not
there.
"""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.kubeconfig import load
from tests.conformance.kubectl import Kubectl
from tests.conformance.real_parts import MANAGER, SCHEDULER, Program, found, manager, scheduler, signing_request
from tests.plane import Plane, Tree

MISSING = [name for name in (MANAGER, SCHEDULER) if not found(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not on PATH, nor named by RECONCILE_TEST_...: {', '.join(MISSING)}")
RUN_S = "reconcile.dev/sim-run-s"
WAIT_S = 60.0


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plane, dict[str, Program]]]:
    """A control plane without controllers and scheduler, and the reference's on it. They must have nothing against it."""
    root = tmp_path_factory.mktemp("real-parts")
    (root / "folder").mkdir()
    plane = Plane(root / "folder", root / "state", "--simulate", "3", "--controllers", "", "--no-scheduler")
    running: dict[str, Program] = {}
    try:
        plane.start()
        running = {MANAGER: manager(plane, root), SCHEDULER: scheduler(plane, root)}
        for name in running:
            plane.wait(f"{name} leads", partial(plane.get, "leases", name, "kube-system"), 30.0)
        yield plane, running
        for program in running.values():
            assert program.running, program.said()[-3000:]
            assert program.complaints() == [], program.name
    finally:
        for program in running.values():
            program.end(signal.SIGKILL)
        plane.bury()


@pytest.fixture
def plane(programs: tuple[Plane, dict[str, Program]]) -> Plane:
    """Hides the control plane of the other tests here."""
    return programs[0]


def manifest(kind: str, name: str, api: str = "apps/v1", **parts: Any) -> Tree:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **parts}


def template(app: str, cpu: str = "100m", *, annotations: dict[str, str] | None = None, **spec: Any) -> Tree:
    container = {"name": "main", "image": "x:1", "resources": {"requests": {"cpu": cpu}}}
    metadata = {"labels": {"app": app}, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}}


def workload(kind: str, app: str, **spec: Any) -> Tree:
    return manifest(kind, app, spec={"selector": {"matchLabels": {"app": app}}, "template": template(app), **spec})


def job(name: str, **spec: Any) -> Tree:
    run = template(name, annotations={RUN_S: "1"}, restartPolicy="Never")
    return manifest("Job", name, "batch/v1", spec={"template": run, **spec})


def make(kubectl: Kubectl, *trees: Tree) -> None:
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(trees)}))


def names(plane: Plane, kind: str, namespace: str, app: str) -> set[str]:
    return {
        tree["metadata"]["name"]
        for tree in plane.objects(kind, f"app={app}", namespace)
        if "deletionTimestamp" not in tree["metadata"]
    }


def test_a_deployment_is_rolled_out_updated_and_undone(plane: Plane, kubectl: Kubectl) -> None:
    """Deployment -> ReplicaSet -> Pods -> bound -> Running, each step by another program."""
    make(kubectl, workload("Deployment", "web", replicas=4))
    kubectl("rollout", "status", "deploy/web", "--timeout", "25s")
    kubectl("set", "image", "deploy/web", "main=x:2")
    kubectl("rollout", "status", "deploy/web", "--timeout", "25s")
    kubectl("rollout", "undo", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout", "25s")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "x:1"


def test_stateful_and_daemon_sets_keep_and_update_their_pods(kubectl: Kubectl) -> None:
    """In order, and on each node; with their past in ControllerRevisions."""
    make(kubectl, workload("StatefulSet", "db", replicas=3, serviceName="db"), workload("DaemonSet", "agent"))
    for what in ("sts/db", "ds/agent"):
        kubectl("rollout", "status", what, "--timeout", "25s")
        kubectl("set", "image", what, "main=x:2")
        kubectl("rollout", "status", what, "--timeout", "25s")
        assert len(kubectl("rollout", "history", what).strip().splitlines()) == 4


def test_jobs_end_and_go_when_their_time_is_over(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """Plain, indexed, and failing ones; the time to live is a controller of its own."""
    make(
        kubectl, job("plain", completions=2, ttlSecondsAfterFinished=2), job("indexed", completions=3, completionMode="Indexed"),
    )  # fmt: skip
    failing = job("failing", backoffLimit=0)
    failing["spec"]["template"]["metadata"]["annotations"]["reconcile.dev/sim-exit-code"] = "3"
    make(kubectl, failing)
    kubectl("wait", "--for=condition=complete", "job/indexed", "--timeout=25s")
    kubectl("wait", "--for=condition=failed", "job/failing", "--timeout=25s")
    plane.wait("the plain one is gone", lambda: plane.get("jobs", "plain", namespace) is None, WAIT_S)
    assert (plane.get("jobs", "indexed", namespace) or {})["status"]["completedIndexes"] == "0-2"


def test_services_have_their_endpoints_in_both_forms(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """Endpoints and EndpointSlices of a selector, and slices for Endpoints that were written by hand."""
    service = manifest("Service", "web", "v1", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    other = manifest("Service", "other", "v1", spec={"ports": [{"port": 80}]})
    by_hand = manifest("Endpoints", "other", "v1", subsets=[{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 80}]}])
    make(kubectl, workload("Deployment", "web", replicas=2), service, other)
    plane.create("endpoints", by_hand, namespace)  # kubectl would pass a warning on: they are deprecated

    def endpoints(name: str) -> list[str]:
        found = plane.objects("endpointslices", f"kubernetes.io/service-name={name}", namespace)
        return sorted(a for piece in found for e in piece.get("endpoints") or () for a in e["addresses"])

    plane.wait("both Pods are there", lambda: len(endpoints("web")) == 2, WAIT_S)
    plane.wait("what was written by hand is mirrored", lambda: endpoints("other") == ["10.9.9.9"], WAIT_S)
    subsets = (plane.get("endpoints", "web", namespace) or {})["subsets"]
    assert sorted(a["ip"] for a in subsets[0]["addresses"]) == endpoints("web")


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_what_belongs_to_a_deployment_goes_or_stays_as_was_asked(
    plane: Plane, kubectl: Kubectl, namespace: str, cascade: str
) -> None:
    """The garbage collector works on what discovery shows it, by metadata alone."""
    make(kubectl, workload("Deployment", "web", replicas=2))
    kubectl("rollout", "status", "deploy/web", "--timeout", "25s")
    kubectl("delete", "deploy", "web", f"--cascade={cascade}", "--timeout", "25s")
    if cascade == "orphan":
        plane.wait(
            "they are nobody's",
            lambda: not plane.objects("replicasets", "app=web", namespace)[0]["metadata"].get("ownerReferences"),
        )
        assert len(names(plane, "pods", namespace, "web")) == 2
    else:
        plane.wait("all are gone", lambda: not plane.objects("pods", "app=web", namespace), WAIT_S)
        assert plane.objects("replicasets", "app=web", namespace) == []


def test_what_belongs_to_a_custom_object_goes_with_it(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """A kind that came later is found by discovery, and watched by its metadata."""
    names = {"plural": "toys", "singular": "toy", "kind": "Toy"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "real.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    make(kubectl, manifest("CustomResourceDefinition", "toys.real.example.com", "apiextensions.k8s.io/v1", spec=spec))
    kubectl("wait", "--for=condition=established", "crd/toys.real.example.com", "--timeout=20s")
    make(kubectl, manifest("Toy", "one", "real.example.com/v1"))
    uid = kubectl("get", "toy", "one", "-o", "jsonpath={.metadata.uid}")
    owned = manifest("ConfigMap", "owned", "v1")
    owned["metadata"]["ownerReferences"] = [{"apiVersion": "real.example.com/v1", "kind": "Toy", "name": "one", "uid": uid}]
    make(kubectl, owned)
    kubectl("delete", "toy", "one")
    plane.wait("what it owned is gone", lambda: plane.get("configmaps", "owned", namespace) is None, 90.0)
    plane.api.ask("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/toys.real.example.com")


def test_a_namespace_goes_with_all_that_is_in_it(plane: Plane, kubectl: Kubectl) -> None:
    """The server lets it go with the write that takes its finalizer: nobody deletes it another time."""
    make(kubectl, manifest("Namespace", "brief", "v1"))
    plane.wait("it has an account", lambda: plane.get("serviceaccounts", "default", "brief"), WAIT_S)
    kubectl("-n", "brief", "create", "deployment", "web", "--image=x:1", "--replicas=2")
    kubectl("-n", "brief", "rollout", "status", "deploy/web", "--timeout=25s")
    plane.api.ask("DELETE", "/api/v1/namespaces/brief")
    plane.wait("it is gone", lambda: plane.get("namespaces", "brief", "") is None, WAIT_S)


def test_an_autoscaler_scales_by_the_metrics_of_the_nodes(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """Simulated Pods use what they request: twice the target, so that there are twice as many."""
    target = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 4,
    }
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    metrics = [{"type": "Resource", "resource": cpu}]
    scaler = manifest("HorizontalPodAutoscaler", "web", "autoscaling/v2", spec={**target, "metrics": metrics})
    make(kubectl, workload("Deployment", "web", replicas=2), scaler)
    plane.wait("it was scaled", lambda: (plane.get("deployments", "web", namespace) or {})["spec"]["replicas"] == 4, 90.0)


def test_a_quota_is_counted_there_and_held_here(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """The controller counts, admission refuses: two programs over one status."""
    make(kubectl, manifest("ResourceQuota", "few", "v1", spec={"hard": {"configmaps": "2", "count/deployments.apps": "3"}}))

    def used() -> Any:
        return (plane.get("resourcequotas", "few", namespace) or {}).get("status", {}).get("used", {})

    plane.wait("it is counted", lambda: used().get("configmaps") == "1", WAIT_S)  # the root authority
    kubectl("create", "configmap", "a")
    refused = kubectl.run("create", "configmap", "b")
    assert "exceeded quota: few, requested: configmaps=1, used: configmaps=2, limited: configmaps=2" in refused.stderr
    kubectl("delete", "configmap", "a")
    plane.wait("it is counted down", lambda: used().get("configmaps") == "1", WAIT_S)
    kubectl("create", "configmap", "b")


def test_claims_are_bound_at_once_or_where_their_pod_runs(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """The second takes the scheduler and the controller together; a claim in use is not taken away."""
    late = manifest("StorageClass", f"late-{namespace}", "storage.k8s.io/v1", provisioner="kubernetes.io/no-provisioner")
    late["volumeBindingMode"] = "WaitForFirstConsumer"
    size = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    where = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["sim-2"]}]}
    volumes = []
    for name, extra in (
        ("now", {"hostPath": {"path": "/tmp/x"}}),
        ("late", {"local": {"path": "/tmp/x"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [where]}}}),
    ):
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": f"{name}-{namespace}",
            **extra,
        }
        volumes.append(manifest("PersistentVolume", f"{name}-{namespace}", "v1", spec=spec))
    claims = [
        manifest("PersistentVolumeClaim", name, "v1", spec={"storageClassName": f"{name}-{namespace}", **size})
        for name in ("now", "late")
    ]
    make(kubectl, late, *volumes, *claims)
    kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/now", "--timeout=25s")
    assert (plane.get("persistentvolumeclaims", "late", namespace) or {})["status"]["phase"] == "Pending"
    pod = template("uses")
    pod["spec"]["volumes"] = [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in ("now", "late")]
    make(kubectl, {**manifest("Pod", "uses", "v1"), "spec": pod["spec"]})
    kubectl("wait", "--for=condition=ready", "pod/uses", "--timeout=25s")
    assert (plane.get("pods", "uses", namespace) or {})["spec"]["nodeName"] == "sim-2"
    kubectl("delete", "pvc", "now", "--wait=false")
    assert (plane.get("persistentvolumeclaims", "now", namespace) or {})["metadata"]["deletionTimestamp"]
    kubectl("delete", "pod", "uses")
    plane.wait("the claim went with its Pod", lambda: plane.get("persistentvolumeclaims", "now", namespace) is None, WAIT_S)


def test_a_more_important_pod_takes_the_place_of_others(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """The scheduler ends one Pod of three, and says who is meant to have its place."""
    make(kubectl, manifest("PriorityClass", f"high-{namespace}", "scheduling.k8s.io/v1", value=1000))
    low = workload("Deployment", "low", replicas=3, template=template("low", "20"))
    make(kubectl, low)
    kubectl("rollout", "status", "deploy/low", "--timeout=25s")
    important = template("high", "20", priorityClassName=f"high-{namespace}")
    make(kubectl, {**manifest("Pod", "important", "v1"), "spec": important["spec"]})
    kubectl("wait", "--for=condition=ready", "pod/important", "--timeout=25s")
    assert "Preempted" in kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")
    kubectl("delete", "deploy/low", "pod/important")


def test_taints_and_drains_move_pods_and_budgets_hold_them(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """Eviction by taint is a controller's, by drain a client's: a budget is asked by the second alone."""
    budget = manifest(
        "PodDisruptionBudget", "web", "policy/v1", spec={"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}}
    )
    make(kubectl, workload("Deployment", "web", replicas=4), budget)
    kubectl("rollout", "status", "deploy/web", "--timeout=25s")
    try:
        kubectl("taint", "node", "sim-0", "out=of-order:NoExecute")

        def on(node: str) -> int:
            return sum(p["spec"].get("nodeName") == node for p in plane.objects("pods", "app=web", namespace))

        plane.wait("nobody stays", lambda: on("sim-0") == 0, WAIT_S)
        kubectl("rollout", "status", "deploy/web", "--timeout=25s")
        drained = kubectl.run("drain", "sim-1", "--ignore-daemonsets", "--force", "--timeout=28s")  # it warns
        assert (drained.returncode, on("sim-1")) == (0, 0), drained.stderr
    finally:
        kubectl("taint", "node", "sim-0", "out-")
        kubectl("uncordon", "sim-1")


def test_accounts_have_tokens_and_requests_get_certificates(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """Signed there with our keys, and taken here: a token in a Secret, and a kubelet's certificate that is approved by itself."""
    # A Secret whose account is not there is taken away by that controller.
    plane.wait("the account is there", lambda: plane.get("serviceaccounts", "default", namespace), WAIT_S)
    secret = {**manifest("Secret", "token", "v1"), "type": "kubernetes.io/service-account-token"}
    secret["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    make(kubectl, secret)
    plane.wait("it is filled", lambda: (plane.get("secrets", "token", namespace) or {}).get("data", {}).get("token"), WAIT_S)
    token = kubectl("get", "secret", "token", "-o", "go-template={{.data.token | base64decode}}")
    with BlockingClient(load(plane.data_dir / "kubeconfig")._replace(token=token)) as account:
        review = account.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", None, {})
    assert review["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"
    csr: Tree = {"request": base64.b64encode(signing_request("system:node:sim-9", "system:nodes")).decode()}
    csr |= {"signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth", "digital signature"]}
    make(kubectl, manifest("CertificateSigningRequest", f"node-{namespace}", "certificates.k8s.io/v1", spec=csr))

    def signed() -> Any:
        return (plane.get("certificatesigningrequests", f"node-{namespace}", "") or {}).get("status", {}).get("certificate")

    plane.wait("it was approved, and signed", signed, WAIT_S)


def test_a_pod_gets_a_device_of_the_node_that_has_one(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """A claim is made of the template, allocated by the scheduler, and taken away with its Pod."""
    driver = f"{namespace}.example.com"
    chosen = [{"cel": {"expression": f'device.driver == "{driver}"'}}]
    pool = {"name": "sim-1", "generation": 1, "resourceSliceCount": 1}
    slices = {"driver": driver, "nodeName": "sim-1", "pool": pool, "devices": [{"name": "first"}]}
    wish = {"requests": [{"name": "one", "exactly": {"deviceClassName": driver}}]}
    pod = template("main", resourceClaims=[{"name": "device", "resourceClaimTemplateName": "one"}])["spec"]
    pod["containers"][0]["resources"] = {"claims": [{"name": "device"}]}
    api = "resource.k8s.io/v1"
    make(
        kubectl, manifest("DeviceClass", driver, api, spec={"selectors": chosen}),
        manifest("ResourceSlice", driver, api, spec=slices),
        manifest("ResourceClaimTemplate", "one", api, spec={"spec": {"devices": wish}}), manifest("Pod", "main", "v1", spec=pod),
    )  # fmt: skip
    kubectl("wait", "--for=condition=ready", "pod/main", "--timeout=25s")
    assert (plane.get("pods", "main", namespace) or {})["spec"]["nodeName"] == "sim-1"
    (claim,) = plane.objects("resourceclaims", namespace=namespace)
    (device,) = claim["status"]["allocation"]["devices"]["results"]
    assert (device["device"], device["driver"]) == ("first", driver)
    kubectl("delete", "pod", "main")
    plane.wait("the claim is gone", lambda: not plane.objects("resourceclaims", namespace=namespace), WAIT_S)


def test_roles_are_aggregated_and_expressions_looked_over(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    """The second reads the schemas that we publish."""
    api = "rbac.authorization.k8s.io/v1"
    part = manifest("ClusterRole", f"part-{namespace}", api, rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
    part["metadata"]["labels"] = {"collected-by": namespace}
    whole = manifest("ClusterRole", f"whole-{namespace}", api, rules=[])
    whole["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"collected-by": namespace}}]}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    checked = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object.spec.nothing == 1"}]}
    policy = manifest("ValidatingAdmissionPolicy", namespace, "admissionregistration.k8s.io/v1", spec=checked)
    make(kubectl, part, whole, policy)

    def warned() -> Any:
        status = (plane.get("validatingadmissionpolicies", namespace, "") or {}).get("status", {})
        return status.get("typeChecking", {}).get("expressionWarnings")

    plane.wait("the rules are there", lambda: (plane.get("clusterroles", f"whole-{namespace}", "") or {})["rules"], WAIT_S)
    (warning,) = plane.wait("a field that there is not is found", warned, WAIT_S)
    assert "undefined field 'nothing'" in warning["warning"]


def test_who_leads_is_replaced_when_it_is_killed(
    programs: tuple[Plane, dict[str, Program]], kubectl: Kubectl, tmp_path: Path
) -> None:
    """The other scheduler takes the Lease over once it was not renewed for its time, and goes on."""
    plane, running = programs
    other = scheduler(plane, tmp_path)
    try:
        plane.wait("it waits for its turn", lambda: "Attempting to acquire leader lease" in other.said(), 20.0)
        running[SCHEDULER].end(signal.SIGKILL)
        running[SCHEDULER] = other
        make(kubectl, workload("Deployment", "late", replicas=2))
        kubectl("rollout", "status", "deploy/late", "--timeout=29s")
    except BaseException:
        other.end(signal.SIGKILL)
        raise
