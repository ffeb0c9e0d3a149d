"""One real control plane for the whole folder: `reconcile up` with simulated nodes, on a folder that declares one kind.

Its Deployments become Running Pods without processes. Every test works in a namespace of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.kubectl import Kubectl
from tests.foreign import a_plane
from tests.plane import Plane

GADGET = '''
"""A kind for kopf's life cycle: declared here, handled by an operator that is not ours."""

from __future__ import annotations

from typing import Any

from reconcile import Column, Resource, field, kind, struct


@struct
class GadgetSpec:
    """What is wanted."""

    size: int = field(default=1, minimum=0)
    colour: str = ""


@struct
class GadgetStatus:
    """Whatever an operator keeps there."""

    phase: str = ""
    ticks: int = 0
    kopf: dict[str, Any] | None = field(default=None, preserve_unknown=True)
    made: dict[str, Any] | None = field(default=None, preserve_unknown=True)


@kind("toys.example.com", "v1", short_names=("gad",), columns=(Column("Size", ".spec.size", "integer"),))
class Gadget(Resource):
    """A thing to play with."""

    spec: GadgetSpec = field(factory=GadgetSpec)
    status: GadgetStatus = field(factory=GadgetStatus)
'''
ROOT_CA = "kube-root-ca.crt"
_NUMBERS = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With xdist, one worker runs all of these: they share a control plane. No client here is ours."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("conformance"))
            item.add_marker(pytest.mark.outside)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """The control plane that all clients speak to."""
    root = tmp_path_factory.mktemp("conformance")
    (root / "folder").mkdir()
    (root / "folder" / "gadget.py").write_text(GADGET)
    plane = a_plane(root / "folder", root / "state", "--simulate", "2")
    try:
        plane.start()
        plane.wait("both nodes are there", lambda: len(plane.objects("nodes", namespace="")) == 2)
        plane.wait_line("ready: everything runs")
        plane.forget_connection()  # which remembers what was served when it was made
        yield plane
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        plane.bury()


@pytest.fixture
def kubeconfig(plane: Plane) -> str:
    """The kubeconfig that `up` wrote, as any client takes it."""
    return str(plane.data_dir / "kubeconfig")


@pytest.fixture
def namespace(plane: Plane) -> str:
    """A fresh namespace, with what every namespace gets. It is left behind: what it holds can disturb nobody."""
    name = f"t{next(_NUMBERS)}"
    plane.api.ask("POST", "/api/v1/namespaces", None, {"metadata": {"name": name}})
    plane.wait("the authority is published", lambda: plane.get("configmaps", ROOT_CA, name))
    return name


@pytest.fixture
def kubectl(kubeconfig: str, namespace: str, tmp_path: Path) -> Kubectl:
    """The real kubectl in a namespace of its own."""
    return Kubectl(kubeconfig, namespace, tmp_path)
