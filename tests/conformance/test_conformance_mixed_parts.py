"""One of the reference's programs beside ours, both over nodes that run processes, and a server that is killed meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.kubectl import Kubectl
from tests.conformance.real_parts import MANAGER, SCHEDULER, Program, found, manager, scheduler
from tests.plane import Plane

MISSING = [name for name in (MANAGER, SCHEDULER) if not found(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not on PATH, nor named by RECONCILE_TEST_...: {', '.join(MISSING)}")
NO_CONTROLLERS, NO_SCHEDULER, SIMULATED = ("--controllers", ""), ("--no-scheduler",), ("--simulate", "3")
WAIT_S = 60.0
WORK = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: x, command: [sleep, "600"]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: x, command: [sleep, "600"], volumeMounts: [{name: data, mountPath: data}]}]
  volumeClaimTemplates:
  - {metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    metadata: {annotations: {reconcile.dev/sim-run-s: "0"}}
    spec: {restartPolicy: Never, containers: [{name: main, image: x, command: ["true"]}]}
"""
LATE = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: late}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: far}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: late
  local: {path: /tmp/x}
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [sim-2]}]}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: far}
spec: {accessModes: [ReadWriteOnce], storageClassName: late, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: far}
spec:
  containers: [{name: main, image: x}]
  volumes: [{name: far, persistentVolumeClaim: {claimName: far}}]
"""


@contextmanager
def running(root: Path, *options: str, real: tuple[str, ...]) -> Iterator[tuple[Plane, dict[str, Program], Kubectl]]:
    """A control plane with these options, and the reference's programs of these names on it."""
    (root / "folder").mkdir()
    plane = Plane(root / "folder", root / "state", *options)
    programs: dict[str, Program] = {}
    try:
        plane.start()
        start = {MANAGER: manager, SCHEDULER: scheduler}
        programs = {name: start[name](plane, root) for name in real}
        kubectl = Kubectl(str(plane.data_dir / "kubeconfig"), "default", root)
        plane.wait("there is an account", lambda: plane.get("serviceaccounts", "default"), WAIT_S)
        yield plane, programs, kubectl
        for program in programs.values():
            assert program.running, program.said()[-3000:]
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        for program in programs.values():
            program.end(signal.SIGKILL)
        plane.bury()


def works(plane: Plane, kubectl: Kubectl) -> None:
    """Workloads come up, change, and go."""
    kubectl("create", "-f", "-", stdin=WORK)
    plane.wait("the Deployment is complete", lambda: plane.rolled_out("web", 2), WAIT_S)
    kubectl("rollout", "status", "sts/db", "--timeout", "29s")
    kubectl("wait", "--for=condition=complete", "job/once", "--timeout=29s")
    kubectl("set", "env", "deploy/web", "A=b")
    kubectl("rollout", "status", "deploy/web", "--timeout", "29s")
    kubectl("delete", "deploy/web", "sts/db", "job/once")
    plane.wait("their Pods are gone", lambda: not plane.objects("pods"), WAIT_S)


def test_the_references_scheduler_beside_our_controllers(tmp_path: Path) -> None:
    """They meet in the objects alone."""
    with running(tmp_path, *SIMULATED, *NO_SCHEDULER, real=(SCHEDULER,)) as (plane, programs, kubectl):
        # Nobody binds claims on simulated nodes, and the reference's scheduler waits for that.
        kubectl("create", "-f", "-", stdin=WORK.partition("---")[0])
        plane.wait("the Deployment is complete", lambda: plane.rolled_out("web", 2), WAIT_S)
        assert programs[SCHEDULER].complaints() == []


def test_the_references_controllers_beside_our_scheduler(tmp_path: Path) -> None:
    """A claim that waits for its Pod takes both: ours chooses the node and keeps the volume, theirs binds."""
    with running(tmp_path, *SIMULATED, *NO_CONTROLLERS, real=(MANAGER,)) as (plane, programs, kubectl):
        kubectl("create", "-f", "-", stdin=LATE)
        kubectl("wait", "--for=condition=ready", "pod/far", "--timeout=29s")
        assert (plane.get("pods", "far") or {})["spec"]["nodeName"] == "sim-2"
        assert (plane.get("persistentvolumeclaims", "far") or {})["status"]["phase"] == "Bound"
        assert programs[MANAGER].complaints() == []


def test_both_over_a_node_that_runs_processes(tmp_path: Path) -> None:
    """Our kubelet does what they decide; claims without a class get folders, which it makes for their binder."""
    with running(tmp_path, *NO_CONTROLLERS, *NO_SCHEDULER, real=(MANAGER, SCHEDULER)) as (plane, programs, kubectl):
        works(plane, kubectl)
        assert [program.complaints() for program in programs.values()] == [[], []]
        kubectl("delete", "pvc", "--all")
        plane.wait("the folders are gone", lambda: not any((plane.data_dir / "volumes").iterdir()), WAIT_S)


def test_they_go_on_when_the_server_was_killed_and_is_back(tmp_path: Path) -> None:
    """Their watches break and their Leases get old; nothing that was acknowledged is lost to them."""
    with running(tmp_path, *SIMULATED, *NO_CONTROLLERS, *NO_SCHEDULER, real=(MANAGER, SCHEDULER)) as (plane, _, kubectl):
        kubectl("create", "deployment", "web", "--image=x", "--replicas=3")
        plane.wait("the Deployment is complete", lambda: plane.rolled_out("web", 3), WAIT_S)
        plane.kill()
        plane.start()  # at the port that it had
        kubectl("scale", "deploy/web", "--replicas=5")
        plane.wait("the Deployment is complete again", lambda: plane.rolled_out("web", 5), WAIT_S)
