"""Kinds that clients declare, with the clients that declare them: kubectl, and kopf."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plane import Plane, wait_until

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sprockets.parts.example.com}
spec:
  group: parts.example.com
  scope: Namespaced
  names: {plural: sprockets, kind: Sprocket, shortNames: [spr], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Teeth, type: integer, jsonPath: .spec.teeth}
    - {name: Phase, type: string, jsonPath: .status.phase, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        description: A wheel with teeth.
        properties:
          spec:
            type: object
            properties:
              teeth: {type: integer, minimum: 3, default: 12, description: How many it has.}
              replicas: {type: integer, default: 1}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
SPROCKET = "apiVersion: parts.example.com/v1\nkind: Sprocket\nmetadata: {name: a}\nspec: {teeth: 8}\n"
NAME = "sprockets.parts.example.com"


def declare(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=DEFINITION)
    kubectl("wait", "--for=condition=Established", f"crd/{NAME}", "--timeout=5s")


def undeclare(kubectl: Any) -> None:
    """kubectl warns that a namespace (ours, by option) is nothing to a definition."""
    done = kubectl.run("delete", "crd", NAME, "--ignore-not-found", "--timeout=15s")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def declared(kubectl: Any) -> Iterator[None]:
    """The kind, for as long as a test runs."""
    declare(kubectl)
    yield
    undeclare(kubectl)


@pytest.mark.usefixtures("declared")
def test_kubectl_knows_a_declared_kind_at_once(kubectl: Any) -> None:
    """Discovery, documentation and tables are made of the definition."""
    assert "sprockets   spr" in kubectl("api-resources", "--api-group=parts.example.com")
    assert "How many it has." in kubectl("explain", "sprocket.spec.teeth")
    assert kubectl("apply", "-f", "-", stdin=SPROCKET) == "sprocket.parts.example.com/a created\n"
    assert kubectl("apply", "-f", "-", stdin=SPROCKET) == "sprocket.parts.example.com/a unchanged\n"
    lines = [line.split() for line in kubectl("get", "spr", "-o", "wide").splitlines()]
    assert lines == [["NAME", "TEETH", "PHASE"], ["a", "8"]]
    assert "sprocket.parts.example.com/a" in kubectl("get", "all")
    assert "Teeth:" in kubectl("describe", "spr", "a")
    created = kubectl("get", "crd").splitlines()
    assert created[0].split() == ["NAME", "CREATED", "AT"]


@pytest.mark.usefixtures("declared")
def test_kubectl_writes_a_declared_kind_in_every_way(kubectl: Any) -> None:
    """Scale, status, patches and server-side apply work as on built-in kinds; a strategic patch is refused as anywhere."""
    kubectl("create", "-f", "-", stdin=SPROCKET)
    kubectl("scale", "spr/a", "--replicas=3")
    kubectl("patch", "spr", "a", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Fine"}}')
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=SPROCKET.replace("8", "9"))
    kubectl("label", "spr", "a", "tier=x")
    tree = json.loads(kubectl("get", "spr", "-l", "tier=x", "-o", "json"))["items"][0]
    assert (tree["spec"], tree["status"]) == ({"teeth": 9, "replicas": 3}, {"phase": "Fine"})
    assert "unknown format" in kubectl("patch", "spr", "a", "--type=strategic", "-p", '{"spec":{"teeth":4}}', code=1)
    why = "spec.teeth in body should be greater than or equal to 3"
    assert why in kubectl("patch", "spr", "a", "--type=merge", "-p", '{"spec":{"teeth":2}}', code=1)
    assert 'unknown field "spec.tooth"' in kubectl("apply", "-f", "-", stdin=SPROCKET.replace("teeth", "tooth"), code=1)


@pytest.mark.usefixtures("declared")
def test_a_definition_can_be_changed_and_goes_with_its_objects(kubectl: Any) -> None:
    """A new default holds for what is written next; a deleted definition is gone when kubectl returns."""
    kubectl("create", "-f", "-", stdin=SPROCKET)
    kubectl("apply", "-f", "-", stdin=DEFINITION.replace("minimum: 3", "minimum: 2").replace("default: 12", "default: 20"))

    bare = SPROCKET.replace("{teeth: 8}", "{}").replace("name: a", "name: b")

    def changed() -> bool:
        made = kubectl.run("create", "--dry-run=server", "-o", "jsonpath={.spec.teeth}", "-f", "-", stdin=bare)
        return bool(made.stdout == "20")

    wait_until("the new default holds", changed)
    undeclare(kubectl)
    assert "the server doesn't have a resource type" in kubectl(
        "get", "spr", "--cache-dir", str(kubectl.folder / "fresh"), code=1
    )
    declare(kubectl)
    assert not json.loads(kubectl("get", "spr", "-A", "-o", "json"))["items"], "a kind that comes back begins empty"


def test_a_definition_that_is_wrong_is_refused_with_all_its_faults(kubectl: Any) -> None:
    """The author mends them in one go."""
    wrong = DEFINITION.replace("type: integer, minimum: 3", "type: integre, minimum: 3").replace(
        "storage: true", "storage: false"
    )
    said = kubectl("apply", "-f", "-", stdin=wrong, code=1)
    assert 'properties[teeth].type: Unsupported value: "integre"' in said
    assert "must have exactly one version marked as storage version" in said


@pytest.fixture
def operator(plane: Plane, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """`kopf run` for the namespace. Yields its log; it must end well."""
    log = tmp_path / "log"
    argv = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(Path(__file__).with_name("sprockets.py"))]
    with log.open("wb") as out:
        env = {**os.environ, "KUBECONFIG": str(plane.data_dir / "kubeconfig")}
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        yield log
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(10) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def test_kopf_picks_up_a_kind_that_is_declared_while_it_runs(kubectl: Any, operator: Path) -> None:
    """It watches the definitions; creation, status and the finalizer at the end go through the definition's schema."""
    wait_until("kopf waits for the kind", lambda: "sprockets" in operator.read_text(), 15.0, operator.read_text)
    declare(kubectl)
    kubectl("create", "-f", "-", stdin=SPROCKET)
    kubectl("wait", "--for=jsonpath={.status.phase}=Made with 8 teeth", "spr/a", "--timeout=15s")
    assert kubectl("get", "spr", "a", "-o", "jsonpath={.metadata.finalizers}") == '["parts.example.com/kopf"]'
    undeclare(kubectl)
