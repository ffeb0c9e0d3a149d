"""A rollout while the control plane is killed at random moments; what must hold, and a report of what was seen.

Writers write through the API all the time and note what was acknowledged. After each kill the next control plane must know
all of it; at no moment may a container run twice; in the end the rollout is complete and nothing else runs.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path

import yaml

from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.kubeconfig import load
from tests.plane import Plane, RefusedError, Tree, UnreachableError, copies, wait_until

REPLICAS = 4
KILL_AFTER_S_MAX = 1.2
AGAIN_AFTER_S_MAX = 1.5
AGAIN = 0.4
DEPLOYMENT = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: fire}}
spec:
  replicas: {REPLICAS}
  revisionHistoryLimit: 3
  selector: {{matchLabels: {{app: fire}}}}
  template:
    metadata: {{labels: {{app: fire}}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: main
          command: [sh, -c, "sleep 600 & echo serving; wait"]
          env: [{{name: VERSION, value: "0"}}]
"""


class Writer(threading.Thread):
    """Creates, changes and deletes ConfigMaps; `expected` has the revision of each acknowledged write, None for a deletion."""

    def __init__(self, kubeconfig: Path, first: int) -> None:
        super().__init__(daemon=True)
        self._client = BlockingClient(load(kubeconfig), timeout_s=5)
        self._first = first
        self._over = threading.Event()
        self.expected: dict[str, str | None] = {}
        self.acknowledged = 0

    def run(self) -> None:
        number = self._first
        while not self._over.is_set():
            name, number = f"ack-{number}", number + 1
            path = f"/api/v1/namespaces/default/configmaps/{name}"
            tree: Tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": "1"}}
            try:
                self._note(name, self._client.ask("POST", path.rpartition("/")[0], None, tree))
                if number % 3 == 0:
                    merge = {"Content-Type": "application/merge-patch+json"}
                    self._note(name, self._client.ask("PATCH", path, None, {"data": {"n": "2"}}, merge))
                if number % 5 == 0:
                    self._client.ask("DELETE", path)
                    self._note(name, None)
            except (UnreachableError, RefusedError, ValueError):
                # Not acknowledged: it may have happened or not.
                self.expected.pop(name, None)
                break
        self._client.close()

    def _note(self, name: str, tree: Tree | None) -> None:
        self.expected[name] = None if tree is None else tree["metadata"]["resourceVersion"]
        self.acknowledged += 1

    def end(self) -> None:
        self._over.set()
        self.join(20)
        assert not self.is_alive()


class Fire:
    """The whole scene. `run` raises AssertionError with what was violated."""

    def __init__(self, root: Path, seed: int) -> None:
        folder = root / "folder"
        folder.mkdir()
        (folder / "calm.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: calm}\n")
        self.plane = Plane(folder, root / "state", "--keep")
        self.random = random.Random(seed)
        self.kills = self.acknowledged = self.looks = self.version = 0
        self.rollout_s: list[float] = []

    def run(self, kills: int) -> None:
        """Kill so often; then let it finish and look at everything."""
        plane = self.plane
        try:
            plane.start()
            # Not from the folder: a file wins over what was written by hand whenever the control plane starts.
            plane.create("deployments", yaml.safe_load(DEPLOYMENT))
            self.complete()
            while self.kills < kills:
                self.round()
            self.complete()
            self.tidy()
            assert "Traceback" not in plane.said(), plane.said()[-4000:]
        finally:
            plane.bury()

    def round(self) -> None:
        """Begin a rollout, kill in the middle of it (perhaps again while it starts), and let it finish."""
        plane = self.plane
        writer = Writer(plane.data_dir / "kubeconfig", first=1_000_000 + self.kills * 10_000)
        writer.start()
        self.version += 1
        env = {"name": "VERSION", "value": str(self.version)}
        containers = [{"name": "main", "command": ["sh", "-c", "sleep 600 & echo serving; wait"], "env": [env]}]
        written = plane.patch("deployments", "fire", {"spec": {"template": {"spec": {"containers": containers}}}})
        self.pass_time(self.random.uniform(0, KILL_AFTER_S_MAX))
        self.kill()
        writer.end()
        self.acknowledged += writer.acknowledged + 1
        while self.random.random() < AGAIN:
            plane.start(listening=False)
            self.pass_time(self.random.uniform(0, AGAIN_AFTER_S_MAX))
            self.kill()
        began = time.monotonic()
        plane.start()
        self.check_acknowledged(writer, written)
        self.complete()
        self.rollout_s.append(time.monotonic() - began)

    def kill(self) -> None:
        self.plane.kill()
        self.kills += 1

    def pass_time(self, seconds: float) -> None:
        """Watch the containers until then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(min(0.02, max(0.0, end - time.monotonic())))

    def look(self) -> None:
        """No container runs twice."""
        found = copies(self.plane.containers())
        self.looks += 1
        double = {name: processes for name, processes in found.items() if len(processes) > 1}
        if double:
            # A shell between fork and exec shows its parent's environment: look once more before crying.
            time.sleep(0.01)
            again = copies(self.plane.containers())
            double = {name: again[name] for name in double if len(again.get(name, ())) > 1}
        assert not double, f"run twice: {double}"

    def check_acknowledged(self, writer: Writer, deployment: Tree) -> None:
        """Every write that was acknowledged before the kill is there, at the very revision that was told."""
        plane = self.plane
        there = {tree["metadata"]["name"]: tree["metadata"]["resourceVersion"] for tree in plane.objects("configmaps")}
        for name, revision in writer.expected.items():
            assert there.get(name) == revision, f"{name}: acknowledged {revision}, found {there.get(name)}"
        now = plane.get("deployments", "fire")
        assert now is not None
        assert int(now["metadata"]["resourceVersion"]) >= int(deployment["metadata"]["resourceVersion"])
        assert now["spec"] == deployment["spec"]
        assert now["metadata"]["generation"] == deployment["metadata"]["generation"]
        for name in there:
            if name.startswith("ack-"):
                plane.api.ask("DELETE", f"/api/v1/namespaces/default/configmaps/{name}")

    def complete(self) -> None:
        """The rollout completes: the wanted pods of the newest version, one process each, and nothing else."""
        plane = self.plane

        def done() -> bool:
            self.look()
            if not plane.rolled_out("fire", REPLICAS):
                return False
            pods = {tree["metadata"]["name"] for tree in plane.objects("pods", "app=fire")}
            return len(pods) == REPLICAS and {container.pod for container in plane.containers()} == pods

        plane.wait(f"the rollout to version {self.version} is complete and its pods alone run", done, 40.0)
        for name, (process,) in copies(plane.containers()).items():
            with open(f"/proc/{process.pid}/environ", "rb") as file:
                assert f"VERSION={self.version}".encode() in file.read().split(b"\0"), f"{name} runs an old version"

    def tidy(self) -> None:
        """After the Deployment is deleted nothing is left: no pod, no process, no sandbox."""
        plane = self.plane
        plane.cli("delete", "deployment", "fire")
        plane.wait("all pods are gone", lambda: not plane.objects("pods", "app=fire"), 20.0)
        plane.wait("all processes are gone", lambda: not plane.containers(), 10.0)
        run = plane.data_dir / "run"
        left = wait_until("sandboxes are removed", lambda: [[p.name for p in run.iterdir() if p.is_dir()]] if not any(
            p.is_dir() for p in run.iterdir()) else None, 10.0)  # fmt: skip
        assert left == [[]]
        assert plane.stop() == 0
        assert not [name for name in os.listdir("/proc") if name.isdigit() and shim_of(plane, name)]

    def report(self) -> str:
        """What was seen, for people."""
        slowest, middle = max(self.rollout_s), sorted(self.rollout_s)[len(self.rollout_s) // 2]
        return (
            f"{self.kills} kills, {self.acknowledged} acknowledged writes all there, {self.looks} looks without a second copy, "
            f"{self.version} rollouts completed (start to complete: median {middle:.1f} s, slowest {slowest:.1f} s)\n"
        )


def shim_of(plane: Plane, pid: str) -> bool:
    """Whether a process is a shim, or anything else, that still uses the plane's state folder."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(str(plane.data_dir))
    except OSError:
        return False


def main(root: Path, kills: int, seed: int) -> str:
    """Run once. Returns the report."""
    fire = Fire(root, seed)
    fire.run(kills)
    report = fire.report()
    sys.stdout.write(report)
    return report
