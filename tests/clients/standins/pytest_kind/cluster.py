"""What tests ask of their cluster: where its kubeconfig is, and kubectl on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any


class KindCluster:
    """The control plane that KUBECONFIG names; it is neither created nor deleted here."""

    def __init__(self, name: str, image: str | None = None) -> None:
        self.name = name
        self.kubeconfig_path = Path(os.environ["KUBECONFIG"])
        self.kubectl_path = Path(shutil.which("kubectl") or "kubectl")

    def create(self) -> None:
        """It is there."""

    def delete(self) -> None:
        """Whoever started it ends it."""

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """The output of kubectl on this cluster."""
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig_path)}
        return str(subprocess.check_output([self.kubectl_path, *arguments], encoding="utf-8", env=env, **options))
