"""`reconcile run`: an operator as a process of its own, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.plane import COMMAND, Plane
from tests.running.conftest import Run, Running

APP = '''
from reconcile import Column, Operator, Resource, field, kind, struct
from reconcile.resources.core import ConfigMap

app = Operator("{kind}.example.com")


@struct
class Spec:
    text: str
    times: int = field(default=1, minimum=1)


@struct
class Status:
    said: str = ""


@kind("example.com", "v1", columns=(Column("Text", ".spec.text"),))
class {kind_name}(Resource):
    """Something to be said."""

    spec: Spec
    status: Status = field(factory=Status)


@app.on.startup()
def begins(log):
    log.info("startup")


@app.on.cleanup()
async def ends(log):
    log.info("cleanup")


@app.on.probe()
def fine():
    return "fine"


@app.on.reconcile({kind_name})
def say(it: {kind_name}, log):
    log.info("{word} %s", it.spec.text)
    it.status.said = it.spec.text * it.spec.times
    yield ConfigMap(name=it.name, data={{"text": it.status.said}})


@say.cleanup
def gone(it: {kind_name}, log):
    log.info("cleaned up")
'''


def write(path: Path, kind: str, word: str = "saying") -> str:
    path.write_text(APP.format(kind=kind, kind_name=kind.capitalize(), word=word))
    return str(path)


def say(plane: Plane, kind: str, name: str, text: str) -> None:
    plane.forget_connection()  # which remembers what is served
    body = {"apiVersion": "example.com/v1", "kind": kind.capitalize(), "metadata": {"name": name}, "spec": {"text": text}}
    plane.create(f"{kind}s.example.com" if not kind.endswith("y") else f"{kind[:-1]}ies.example.com", body)


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_an_operator_registers_its_kinds_works_and_stops_gracefully(plane: Plane, run: Run, tmp_path: Path) -> None:
    """Unchanged from the folder to a process of its own."""
    running = run(write(tmp_path / "app.py", "word"), "--crds", "--listen", "127.0.0.1:0")
    said = running.wait("running: 4 handlers of word.example.com")
    url = next(part for part in said.split() if part.startswith("http://127.0.0.1")).rstrip(":")
    say(plane, "word", "a", "hello")
    plane.wait("its child", lambda: (plane.get("configmaps", "a") or {}).get("data") == {"text": "hello"})
    plane.wait("its status", lambda: (plane.get("words.example.com", "a") or {}).get("status") == {"said": "hello"})
    assert "Text" in json.dumps(plane.get("customresourcedefinitions", "words.example.com", ""))
    assert fetch(f"{url}/livez") == (200, '{"fine": "fine"}')
    assert fetch(f"{url}/readyz") == (200, '{"ready": true, "role": "leader"}')
    code, metrics = fetch(f"{url}/metrics")
    assert code == 200
    assert 'reconcile_cache_objects{kind="words.example.com"} 1' in metrics
    plane.api.ask("DELETE", "/apis/example.com/v1/namespaces/default/words/a")
    plane.wait("cleaned up and gone", lambda: plane.gone("words.example.com", "a"))
    assert running.end() == 0
    said = running.said()
    assert said.index("startup") < said.index("saying hello") < said.index("cleaned up") < said.index("[INFO    ] cleanup")
    assert "[default/a] saying hello" in said
    assert said.rstrip().endswith("stopped")


def test_an_operator_waits_for_a_kind_that_is_not_served_yet(plane: Plane, run: Run, tmp_path: Path) -> None:
    """Whoever installs the definitions may be slower."""
    file = write(tmp_path / "app.py", "late")
    running = run(file)
    running.wait("lates.example.com is not served by")
    other = run(write(tmp_path / "late.py", "late"), "--crds")
    other.wait("running")
    assert other.end(signal.SIGINT) == 0
    say(plane, "late", "l", "at last")
    running.wait("saying at last")
    assert running.end() == 0


def test_with_dev_a_saved_file_is_live_and_a_broken_one_hurts_nobody(plane: Plane, run: Run, tmp_path: Path) -> None:
    """The loop of writing a controller: save, look."""
    file = tmp_path / "app.py"
    running = run(write(file, "draft"), "--crds", "--dev")
    running.wait("running")
    say(plane, "draft", "d", "one")
    running.wait("saying one")
    file.write_text("def broken(:\n")
    running.wait("not valid Python")
    plane.patch("drafts.example.com", "d", {"spec": {"text": "two"}})
    running.wait("saying two")
    write(file, "draft", "shouting")
    running.wait("app.py is loaded again")
    running.wait("shouting two")
    assert running.end() == 0


def test_of_two_replicas_one_works_and_the_other_takes_over(plane: Plane, run: Run, tmp_path: Path) -> None:
    """A rolling update of the operator itself: no gap, and never two at once."""
    file = write(tmp_path / "app.py", "vote")
    first = run(file, "--crds", "--elect")
    first.wait("leading")
    second = run(file, "--crds", "--elect", "--listen", "127.0.0.1:0")
    said = second.wait("standing by")
    url = next(part for part in said.split() if part.startswith("http://127.0.0.1")).rstrip(":")
    assert fetch(f"{url}/readyz") == (200, '{"ready": true, "role": "standby"}')
    say(plane, "vote", "v", "one")
    first.wait("saying one")
    assert first.end() == 0
    second.wait("leading")
    plane.patch("votes.example.com", "v", {"spec": {"text": "two"}})
    second.wait("saying two")
    assert "saying one" in second.said() or "saying two" in second.said()
    assert "saying two" not in first.said()
    assert second.end() == 0


def test_replicas_share_the_objects_and_take_over_what_one_leaves(plane: Plane, run: Run, tmp_path: Path) -> None:
    """As many objects as one process cannot do; and a rolling update of the operator, too."""
    file = write(tmp_path / "app.py", "part")
    replicas = [run(file, "--crds", "--shard", "--listen", "127.0.0.1:0")]
    replicas[0].wait("member")
    replicas.append(run(file, "--shard", "--listen", "127.0.0.1:0"))
    urls = [next(part for part in r.wait("startup").split() if part.startswith("http://127.0.0.1")).rstrip(":") for r in replicas]
    for number in range(12):
        say(plane, "part", f"p{number}", f"word{number}.")
    assert fetch(f"{urls[1]}/readyz") == (200, '{"ready": true, "role": "member"}')

    def shares() -> list[int]:
        found = []
        for url in urls:
            sample = 'reconcile_shard_objects{kind="parts.example.com"} '
            found += [int(line.split()[1]) for line in fetch(f"{url}/metrics")[1].splitlines() if line.startswith(sample)]
        return found

    plane.wait("both have a share", lambda: sum(shares()) == 12 and all(shares()))
    plane.wait("all is said", lambda: all((plane.get("parts.example.com", f"p{n}") or {}).get("status") for n in range(12)))
    assert replicas[0].end() == 0
    for number in range(12):
        plane.patch("parts.example.com", f"p{number}", {"spec": {"text": f"again{number}."}})
    for number in range(12):
        replicas[1].wait(f"saying again{number}.")
    assert replicas[1].end() == 0
    said = _run(file, "--elect", "--shard", env={"KUBECONFIG": str(plane.data_dir / "kubeconfig")})
    assert "give one of the two" in said.stderr


def _run(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST")}
    return subprocess.run(
        [*COMMAND, "run", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=40,
        env={**kept, **(env or {})},
        cwd=cwd,
    )


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("x = 1\n", 1, "app.py declares no kind and no handler; `from reconcile import on`"),
        ("import reconcile\n\ndef f(:\n", 1, "app.py:3:"),
        ("import reconcile\n\n1 / 0\n", 1, "app.py:3: ZeroDivisionError"),
        ("from reconcile import on\n\n@on.startup()\ndef no(): raise ValueError('not today')\n", 1, "not today"),
    ],
)
def test_a_program_that_cannot_run_says_which_line(plane: Plane, tmp_path: Path, source: str, code: int, said: str) -> None:
    """Before anything of the cluster is touched."""
    (tmp_path / "app.py").write_text(source)
    done = _run(str(tmp_path / "app.py"), env={"KUBECONFIG": str(plane.data_dir / "kubeconfig")})
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_without_a_cluster_it_says_how_to_get_one(tmp_path: Path) -> None:
    """The first thing that a new user meets."""
    file = write(tmp_path / "app.py", "alone")
    done = _run(file, env={"HOME": str(tmp_path), "RECONCILE_HOME": str(tmp_path / "none")})
    assert done.returncode == 3
    assert "start a control plane with `reconcile up FOLDER`" in done.stderr
    assert _run(file, "--listen", "nonsense", env={"KUBECONFIG": "/nowhere"}).returncode == 3
    assert _run("--dev", "-m", "json").returncode == 1


def test_a_module_is_run_by_its_name_with_all_that_it_imports(plane: Plane, run: Run, tmp_path: Path) -> None:
    """Bigger operators are packages."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("from . import orders\n")
    (package / "orders.py").write_text("from reconcile import on\n\n@on.startup()\ndef begin(log): log.info('the shop opens')\n")
    env: dict[str, Any] = {**plane.env, "KUBECONFIG": str(plane.data_dir / "kubeconfig")}
    process = subprocess.Popen(
        [sys.executable, "-m", "reconcile.cli", "run", "-m", "shop"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("the shop opens" in line for line in lines)
        assert any("running: 1 handlers of orders.reconcile.local" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_the_log_as_json_names_the_object_and_the_handler(plane: Plane, run: Run, tmp_path: Path) -> None:
    """For whoever collects it."""
    running = run(write(tmp_path / "app.py", "note"), "--crds", "--log-format", "json")
    running.wait("running: 4 handlers")
    say(plane, "note", "n", "hear")
    running.wait("saying hear")
    assert running.end() == 0
    told = [json.loads(line) for line in running.said().splitlines()]
    line = next(line for line in told if line["message"] == "saying hear")
    assert (line["object"], line["handler"], line["level"]) == ("default/n", "say", "info")


def test_an_operator_outlives_a_control_plane_that_is_killed(tmp_path: Path) -> None:
    """It comes back by itself when the API does, sees what it missed, and still leads: its lease is where it was."""
    (tmp_path / "folder").mkdir()
    plane = Plane(tmp_path / "folder", tmp_path / "state", "--simulate", "1")
    try:
        plane.start()
        running = Running(plane, tmp_path / "log", write(tmp_path / "app.py", "hardy"), "--crds", "--elect")
        try:
            running.wait("leading")
            say(plane, "hardy", "h", "one")
            running.wait("saying one")
            plane.kill()
            plane.start()
            plane.patch("hardies.example.com", "h", {"spec": {"text": "two"}})
            running.wait("saying two", 40.0)
            assert running.end() == 0
        finally:
            running.process.kill()
            running.process.wait()
    finally:
        plane.bury()
