"""`reconcile trace`, `why`, `why-not`, `blame` and `replay` on samples/hello: the main loop's five steps, as they happened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import saying_hello
from tests.plane import Plane, Tree


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One of its own: the history that is asked for is not that of other tests' changes."""
    with saying_hello(tmp_path_factory.mktemp("explained")) as plane:
        yield plane


def created(plane: Plane) -> str:
    """The revision at which the folder's Deployment was made."""
    first = json.loads(plane.cli("history", "deploy/web", "--limit", "1000", "-o", "json"))["items"][0]
    assert first["type"] == "ADDED"
    return str(first["revision"])


def below(node: Tree, **wanted: str) -> Tree:
    """The first node directly below another that is as wanted."""
    for child in node["led to"]:
        if all(child[name] == value for name, value in wanted.items()):
            return dict(child)
    raise AssertionError(f"nothing below revision {node['revision']} is {wanted}: {node['led to']}")


def test_the_five_steps_of_the_main_loop_are_traced(hello: Plane) -> None:
    """File -> Deployment -> ReplicaSet -> Pod -> bound -> Running: each step because of the one before."""
    told = json.loads(hello.cli("trace", created(hello), "-o", "json"))
    root = told["tree"]
    assert (root["by"], root["source"], root["type"]) == ("sync", "web.yaml:2", "ADDED")
    replicaset = below(root, by="deployment-controller/rollout", type="ADDED", resource="replicasets.apps")
    pod = below(replicaset, by="replicaset-controller/replicas", type="ADDED", resource="pods")
    bound = below(pod, by="default-scheduler/bind", resource="pods", name=pod["name"])
    assert "spec.nodeName" in {change["path"] for change in bound["changes"]}
    running = bound
    phases: list[str] = []
    while not phases:
        running = next(n for n in running["led to"] if n["name"] == pod["name"] and n["by"].endswith("/run"))
        phases = [change["to"] for change in running["changes"] if change["path"] == "status.phase"]
    assert phases == ["Running"]
    times = [node["time"] for node in (root, replicaset, pod, bound, running)]
    assert times == sorted(times)

    lines = hello.cli("trace", root["revision"]).splitlines()
    assert re.match(rf"rev {root['revision']}  sync  created deployments/web   file web.yaml:2, \d+", lines[0])
    assert any(
        re.search(rf"─ rev {pod['revision']}  replicaset-controller/replicas  created pods/.*\+\d+ ms", line) for line in lines
    )
    assert re.match(r"\d+ writes, \d+ ms; \d+ attempts? wrote nothing", next(line for line in lines if " writes" in line))


def test_why_leads_from_a_pod_back_to_the_file(hello: Plane) -> None:
    """The other way round, and a field of the Deployment leads to the line of the file."""
    told = json.loads(hello.cli("trace", created(hello), "-o", "json"))
    replicaset = below(told["tree"], type="ADDED", resource="replicasets.apps")
    pod = below(replicaset, type="ADDED", resource="pods")
    lines = hello.cli("why", f"pod/{pod['name']}").splitlines()
    assert "sync" in lines[0]
    assert "file web.yaml:2" in lines[0]
    assert [line.split()[2] for line in lines[:4]] == [
        "sync", "deployment-controller/rollout", "replicaset-controller/replicas", "default-scheduler/bind",
    ]  # fmt: skip
    assert all("because of rev" in line and " ms" in line for line in lines[1:4])
    field = hello.cli("why", "deploy/web", ".spec.selector")
    assert re.match(r"rev \d+ +sync +created deployments/web +file web.yaml:2, ", field)


def test_why_not_blame_and_replay_say_what_they_know(hello: Plane) -> None:
    """Each answers at once on a running cluster, and replay changes nothing."""
    said = hello.cli("why-not", "deploy/web", ".spec.paused")
    assert said.startswith(".spec.paused is not set, at revision ")
    assert "deployment-controller/rollout   deployment_controller.py:" in said
    blamed = json.loads(hello.cli("blame", "deploy/web", ".spec.selector", "-o", "json"))["items"]
    assert [(line["path"], line["value"], line["by"], line["source"]) for line in blamed] == [
        ("spec.selector.matchLabels.app", "web", "sync", "web.yaml:2")
    ]
    revision = created(hello)
    replayed = hello.cli("replay", "rollout", "deploy/web", "--at", revision)
    assert f"on deployment.apps/web as of revision {revision}:" in replayed
    assert "would have created replicasets/web-" in replayed
    now = json.loads(hello.cli("replay", "rollout", "deploy/web", "-o", "json"))
    assert (now["kind"], now["by"]) == ("Replay", "deployment-controller/rollout")


def test_log_tells_the_newest_first_and_what_each_change_did(hello: Plane) -> None:
    """As `git log -p` does; by handler, and by field."""
    revision = created(hello)
    entries = json.loads(hello.cli("log", "deploy/web", "--limit", "1000", "-o", "json"))["items"]
    assert (entries[0]["revision"], entries[0]["by"], entries[0]["source"]) == (revision, "sync", "web.yaml:2")
    lines = hello.cli("log", "deploy/web", "--limit", "1000").splitlines()
    told = [int(line.split()[1]) for line in lines if line.startswith("rev ")]
    assert told == sorted(told, reverse=True)
    status = hello.cli("log", "deploy/web", ".status", "-p", "--handler", "rollout", "--limit", "1000")
    assert re.search(r"rev \d+  deployment-controller/rollout changed it, .* ago\n    because of rev \d+", status)
    assert re.search(r"^    \+availableReplicas: \d$", status, re.MULTILINE)
    assert hello.cli("log", "deploy/web", "--handler", "nobody") == ""


def test_wrong_questions_are_answered_with_a_reason(hello: Plane) -> None:
    """Nothing is guessed."""
    assert "no handler called 'nobody' is for deployments.apps; there are: deployment-controller/rollout" in hello.cli(
        "replay", "nobody", "deploy/web", code=1
    )
    assert "is not there yet" in hello.cli("trace", "99999999", code=1)
    assert "a trace is of a whole write" in hello.cli("trace", "deploy/web", ".spec", code=1)
    assert "not found" in hello.cli("why", "deploy/nothing", code=1)
    assert "name one object" in hello.cli("why", "deploy", code=1)


def test_what_was_so_once_is_found_and_compared(hello: Plane) -> None:
    """find, and diff --at, on what really ran."""
    born = created(hello)
    said = hello.cli("find", "pods", "status.phase=Running").splitlines()
    assert said[0].split()[:3] == ["NAME", "FROM", "TO"]
    assert any(line.startswith("web-") and line.rstrip().endswith("/run") for line in said[1:])
    assert hello.cli("find", "pods", ".status.phase=Pending", "-o", "name").startswith("pods/web-")
    found = json.loads(hello.cli("find", "deploy", "-l", "none=such", "-A", "-o", "json"))
    assert found["items"] == []
    assert hello.run("find", "pods", "status.phase=Failed").stderr.startswith("nothing was so between revision")
    assert "one or the other" in hello.cli("find", "pods", "--at", "1m", "--from", "2", code=1)
    once = json.loads(hello.cli("find", "deploy", "metadata.name=web", "--at", born, "-o", "json"))
    assert [item["name"] for item in once["items"]] == ["web"]
    since = hello.cli("diff", "deploy/web", "--from", born, code=1)
    assert hello.cli("diff", "deploy/web", "--at", born, code=1) == since
    assert "+status:" in since
    assert hello.cli("diff", "deploy/web", "--at", born, "--at", born) == ""
    assert "instead of --from and --to" in hello.cli("diff", "deploy/web", "--at", born, "--to", born, code=2)


def test_an_incident_is_exported_from_what_really_ran(hello: Plane, tmp_path: Path) -> None:
    """The folder's Deployment: a file made it, and all else was controllers' doing."""
    born = int(created(hello))
    said = hello.cli("incident", "deploy/web", "--from", str(born - 1), "-o", str(tmp_path / "plan.json"))
    assert said.startswith(f"{tmp_path / 'plan.json'}: 0 objects, ")
    told = json.loads((tmp_path / "plan.json").read_text())
    assert (told["kind"], told["about"]["name"], told["steps"][0]["do"], told["steps"][0]["by"]) == (
        "Incident", "web", "apply", "sync",
    )  # fmt: skip
    assert "status" not in told["steps"][0]["object"]
    assert json.loads(hello.cli("incident", "deploy/web"))["kind"] == "Incident"
    assert "was not there" in hello.cli("incident", "deploy/none", code=1)
