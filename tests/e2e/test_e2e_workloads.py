"""Jobs and StatefulSets as processes: work runs once, and data is found again, whatever happens."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.plane import Plane, Tree

WORK = """
import os, pathlib, time
time.sleep(1)
pathlib.Path(os.environ["SAID"], os.environ["JOB_COMPLETION_INDEX"]).open("a").write("x")
"""


def job(said: Path, **spec: object) -> Tree:
    container = {"name": "main", "command": ["python3", "-c", WORK], "env": [{"name": "SAID", "value": str(said)}]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": {**spec, "template": template}}


def test_a_job_in_the_folder_runs_each_index_once_across_a_kill(tmp_path: Path) -> None:
    """Work that ran twice is paid twice; work that is lost is not done."""
    said = tmp_path / "said"
    said.mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "job.yaml").write_text(yaml.safe_dump(job(said, completions=4, parallelism=2, completionMode="Indexed")))
    plane = Plane(folder, tmp_path / "state")
    try:
        across_a_kill(plane.start(), said)
    finally:
        plane.bury()


def across_a_kill(plane: Plane, said: Path) -> None:
    plane.wait("two run", lambda: len(plane.containers()) >= 2)
    plane.kill()
    plane.start()

    def complete() -> Tree | None:
        tree = plane.get("jobs", "work")
        done = {c["type"] for c in (tree or {}).get("status", {}).get("conditions", ()) if c["status"] == "True"}
        return tree if "Complete" in done else None

    tree = plane.wait("the Job is complete", complete, 30.0)
    assert (tree["status"]["succeeded"], tree["status"].get("failed", 0)) == (4, 0)
    assert {file.name: file.read_text() for file in said.iterdir()} == {"0": "x", "1": "x", "2": "x", "3": "x"}


COUNT = """
import os, pathlib, time
file = pathlib.Path(os.environ["VOLUME_DATA"], "starts")
file.open("a").write("x")
print(len(file.read_text()), flush=True)
time.sleep(600)
"""


def test_a_member_of_a_stateful_set_finds_its_data_again(tmp_path: Path) -> None:
    """Its Pod is deleted and made again under its name; the claim and what lies there stay."""
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    container = {"name": "main", "command": ["python3", "-c", COUNT], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = {
        "metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }  # fmt: skip
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "db"}}, "template": template, "volumeClaimTemplates": [claim]}
    folder = tmp_path / "folder"
    folder.mkdir()
    tree = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}
    (folder / "db.yaml").write_text(yaml.safe_dump(tree))
    plane = Plane(folder, tmp_path / "state")
    try:
        plane.start()
        plane.wait("it counts its first start", lambda: plane.run("logs", "db-0").stdout == "1\n", 30.0)
        plane.cli("delete", "pod", "db-0")
        plane.wait("it counts its second start", lambda: plane.run("logs", "db-0").stdout == "2\n", 30.0)
        assert [claim["status"]["phase"] for claim in plane.objects("persistentvolumeclaims")] == ["Bound"]
    finally:
        plane.bury()
