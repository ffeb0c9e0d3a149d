"""Python controllers in the watched folder: loaded, reloaded, and contained when they fail."""

from __future__ import annotations

import shutil
import urllib.request

from tests.e2e.conftest import SAMPLES
from tests.plane import Plane

COUNTER = """\
from reconcile import Resource, kind, on, struct, field
from reconcile.resources.core import ConfigMap

@struct
class TallySpec:
    start: int = 0

@kind("example.com", "v1")
class Tally(Resource):
    spec: TallySpec = field(factory=TallySpec)

@on.reconcile(Tally)
def tally(tally: Tally):
    yield ConfigMap(name=f"{tally.name}-tally", data={"value": str(tally.spec.start + 1)})
"""
TALLY = "apiVersion: example.com/v1\nkind: Tally\nmetadata: {name: one}\nspec: {start: 4}\n"


def value(plane: Plane, name: str = "one") -> str:
    tree = plane.get("configmaps", f"{name}-tally")
    return "" if tree is None else str(tree["data"]["value"])


def page(plane: Plane) -> str:
    service = plane.get("services", "home")
    if service is None or not service["spec"].get("clusterIP"):
        return ""
    try:
        with urllib.request.urlopen(f"http://{service['spec']['clusterIP']}/", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_the_website_sample_runs_when_dropped_in_and_follows_its_files(live: Plane) -> None:
    """The third thing a newcomer does."""
    for name in ("website.py", "site.yaml"):
        shutil.copy(SAMPLES / "website" / name, live.folder / name)
    live.wait("the site runs", lambda: live.rolled_out("home", 2))
    live.wait("the page is served", lambda: "kind of our own" in page(live))
    assert "home" in live.cli("get", "site")
    assert "html" in live.cli("explain", "website.spec")
    site = live.folder / "site.yaml"
    site.write_text(site.read_text().replace("kind of our own", "changed file"))
    live.wait("the page follows the file", lambda: "changed file" in page(live))
    site.write_text(site.read_text().replace("spec:\n", "spec:\n  replicas: 1\n"))
    live.wait("it scales", lambda: live.rolled_out("home", 1))
    site.write_text(site.read_text().replace("replicas: 1", "replicas: 99"))
    problem = live.wait("the kind's own bounds are kept", lambda: live.problem_of("site.yaml"))
    assert "replicas" in problem["message"]
    assert problem["line"] == 6
    site.unlink()
    live.wait("all that it made goes with the site", lambda: live.gone("deployments", "home") and live.gone("services", "home"))
    live.wait("its processes too", lambda: not [c for c in live.containers() if c.pod.startswith("home-")])


def test_an_edited_program_is_reloaded(live: Plane) -> None:
    """Edit, save, see: the loop in which controllers are written."""
    program = live.folder / "tally.py"
    program.write_text(COUNTER)
    (live.folder / "tally.yaml").write_text(TALLY)
    live.wait("it runs", lambda: value(live) == "5")
    program.write_text(COUNTER.replace("start + 1", "start + 2"))
    live.wait("the edit is live", lambda: value(live) == "6")
    program.write_text(
        COUNTER.replace("start: int = 0", "start: int = 0\n    step: int = 10").replace("+ 1", "+ tally.spec.step")
    )
    live.wait("so is a change of the kind", lambda: value(live) == "14")
    (live.folder / "tally.yaml").write_text(TALLY.replace("{start: 4}", "{start: 4, step: 1}"))
    live.wait("and its new field", lambda: value(live) == "5")
    (live.folder / "tally.yaml").unlink()
    live.wait("what it made goes with its object", lambda: value(live) == "")


def test_an_exception_is_shown_with_its_traceback_and_hurts_nothing_else(live: Plane) -> None:
    """One broken handler must not stop the others, nor delete what it had made before."""
    (live.folder / "tally.yaml").write_text(TALLY)
    program = live.folder / "tally.py"
    program.write_text(COUNTER)
    live.wait("it runs", lambda: value(live) == "5")
    program.write_text(COUNTER.replace("    yield", '    raise ValueError("no luck with %s" % tally.name)\n    yield'))
    live.wait_line("ValueError: no luck with one")
    live.wait_line(r'File ".*tally\.py", line 14, in tally')
    log = live.data_dir / "control-plane.log"
    live.wait("the log file has it for later", lambda: "ValueError: no luck with one" in log.read_text())
    (live.folder / "other.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: meanwhile}\n")
    live.wait("other files are applied", lambda: live.get("configmaps", "meanwhile"))
    assert value(live) == "5", "what the handler had made is kept"
    program.write_text(COUNTER.replace("start + 1", "start + 3"))
    live.wait("the mended handler runs", lambda: value(live) == "7")


def test_a_program_that_cannot_be_loaded_is_told_and_its_last_version_runs_on(live: Plane) -> None:
    """Half-typed programs are the normal case in a watched folder."""
    (live.folder / "tally.yaml").write_text(TALLY)
    program = live.folder / "tally.py"
    program.write_text(COUNTER)
    live.wait("it runs", lambda: value(live) == "5")
    program.write_text(COUNTER.replace("def tally(tally: Tally):", "def tally(tally: Tally:"))
    problem = live.wait("the syntax error is told", lambda: live.problem_of("tally.py"))
    assert problem["line"] == 13
    assert "not valid Python" in problem["message"]
    (live.folder / "two.yaml").write_text(TALLY.replace("name: one", "name: two"))
    live.wait("the last good version runs on", lambda: value(live, "two") == "5")

    program.write_text(COUNTER + "\nundefined_name\n")
    live.wait("an exception at load is told", lambda: "NameError" in str(live.problem_of("tally.py")))
    problem = live.problem_of("tally.py") or {}
    assert problem["line"] == 16
    assert "Traceback" in problem["traceback"]
    assert "tally.py:16" in live.cli("status", code=1)

    program.write_text(COUNTER.replace("(tally: Tally)", "(tally: Tally, nonsense)"))
    live.wait("a parameter that nobody provides is told", lambda: "nonsense" in str(live.problem_of("tally.py")))
    program.write_text(COUNTER)
    live.wait("nothing is wrong any more", lambda: not live.problems())
    (live.folder / "three.yaml").write_text(TALLY.replace("name: one", "name: three"))
    live.wait("and it runs", lambda: value(live, "three") == "5")
