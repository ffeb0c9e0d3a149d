"""Rights that were seen to be used: noted, kept across runs, and compared with what is declared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile import Operator, Resource, kind
from reconcile.client import MERGE_PATCH, Patch
from reconcile.handling import Cluster
from reconcile.permissions import Permissions, beyond, permissions_from, permissions_of, permissions_tree
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.recording import RecordingClient, add_to
from reconcile.runtime.testing.memory import MemoryClient
from reconcile.runtime.testing.virtual import VirtualClock, virtual


@kind("example.com", "v1")
class Site(Resource):
    pass


@kind("example.com", "v1")
class Page(Resource):
    pass


@kind("example.com", "v1")
class Note(Resource):
    pass


def site_operator() -> Operator:
    app = Operator("sites.example.com")
    names = {"Note": Note}

    @app.on.reconcile(Site)
    async def build(site: Site, cluster: Cluster):  # type: ignore[no-untyped-def]  # a generator of children
        yield Page(name=site.name)
        cls = names["Note"]  # of which kind this is, no source says
        await cluster.apply(cls(name="seen"))

    @app.on.delete(Page, optional=True)
    async def never(page: Page) -> None: ...

    return app


@virtual
async def test_what_a_client_is_used_for_is_noted_as_rbac_has_it(clock: VirtualClock) -> None:
    """Subresources are resources of their own, and an apply may create."""
    app, seen = site_operator(), Permissions()
    client = MemoryClient(clock, Site, Page, Note)
    engine = Engine(RecordingClient(client, seen), clock)
    await engine.start(app)
    await client.create(Site.__kind__, {"metadata": {"name": "a"}}, "default")
    await engine.settled()
    await engine.close()
    assert {key: sorted(verbs) for key, verbs in seen.verbs.items()} == {
        ("example.com", "sites"): ["list", "patch", "watch"],
        ("example.com", "pages"): ["create", "list", "patch", "watch"],
        ("example.com", "notes"): ["create", "patch"],
    }
    again = RecordingClient(client, seen)
    await again.patch(Site.__kind__, "a", Patch(MERGE_PATCH, {"status": {}}), "default", subresource="status")
    assert seen.verbs["example.com", "sites/status"] == {"patch"}
    declared = permissions_of([app])
    assert "notes.example.com: create, patch" in beyond(seen, declared)
    assert "pages.example.com: get, delete" in beyond(declared, seen)


def test_several_runs_add_to_one_file_and_another_file_is_refused(tmp_path: Path) -> None:
    """Rights that only a rare path takes are found by many runs."""
    file = tmp_path / "rights.json"
    for verb in ("get", "list", "get"):
        seen = Permissions()
        seen.grant("", "pods", verb)
        add_to(file, seen)
    assert permissions_from(json.loads(file.read_text())).verbs == {("", "pods"): {"get", "list"}}
    with pytest.raises(ValueError, match="no file of observed rights"):
        permissions_from({"kind": "List"})
    with pytest.raises(ValueError, match="cannot be read"):
        permissions_from({"kind": "ObservedRights", "rights": [{"group": ""}]})
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="no file of observed rights"):
        add_to(tmp_path / "other.json", seen)
    assert (tmp_path / "other.json").read_text() == "[]", "what is not ours is left alone"


APP = """
from reconcile import Operator, Resource, kind
from reconcile.resources.core import ConfigMap, Secret

app = Operator("boxes.example.com")
KINDS = {"secret": Secret}


@kind("example.com", "v1", plural="boxes")
class Box(Resource):
    pass


@app.on.reconcile(Box)
async def fill(box: Box, cluster):
    yield ConfigMap(name=box.name)
    await cluster.apply(KINDS["secret"](name=box.name))


@app.on.timer(Box, interval_s=1e6, initial_delay_s=1e6)
async def seldom(box: Box, cluster):
    await cluster.delete(await cluster.get(ConfigMap, "never"))
"""
TEST = """
import pytest
import app


@pytest.mark.apps(app.__file__)
async def test_a_box_is_filled(world):
    await world.apply({"apiVersion": "example.com/v1", "kind": "Box", "metadata": {"name": "b"}})
    await world.settled()
    assert world.find("configmaps/b")
"""


def _command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_tests_say_which_rights_are_used_and_export_says_where_that_differs(tmp_path: Path) -> None:
    """Least privilege that was tried, instead of guessed; what is granted for nothing, or by luck, is told."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_app.py").write_text(TEST)
    done = _command(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "--observe", "rights.json", "test_app.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert permissions_tree(permissions_from(json.loads((tmp_path / "rights.json").read_text())))["rights"]
    done = _command(tmp_path, "reconcile.cli", "export", "app.py", "--only", "rbac", "--observed", "rights.json")
    assert done.returncode == 0, done.stderr
    assert "# seen but not declared, and granted: secrets: create, patch\n" in done.stdout
    assert "# declared but never seen, and granted all the same: configmaps: get, delete\n" in done.stdout
    assert "leases" not in "".join(line for line in done.stdout.splitlines() if line.startswith("#"))
    import yaml

    rules = next(m for m in yaml.safe_load_all(done.stdout) if m["kind"] == "ClusterRole")["rules"]
    assert [rule["verbs"] for rule in rules if "secrets" in rule["resources"]] == [["create", "patch"]]
    (tmp_path / "rights.json").write_text("{}")
    done = _command(tmp_path, "reconcile.cli", "export", "app.py", "--observed", "rights.json")
    assert done.returncode == 1
    assert "no file of observed rights" in done.stderr
