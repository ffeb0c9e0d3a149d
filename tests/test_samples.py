"""Every sample runs to readiness with the real command, does what its README says first, and is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.runtime.sync.programs import load_program
from reconcile.testing import round_trips
from tests.plane import Plane

SAMPLES = Path(__file__).parents[1] / "samples"
FOLDERS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())


@pytest.mark.xdist_group("samples")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_sample_runs_to_readiness_and_stops(name: str, tmp_path: Path) -> None:
    """A sample that does not run is the first thing that a newcomer sees of us."""
    plane = Plane(SAMPLES / name, tmp_path / "state", "--wait", "--timeout", "20")
    try:
        plane.start()
        plane.wait_line("ready: everything runs", 25.0)
        plane.wait("status says so too", lambda: "all is well" in plane.run("status").stdout)  # a Job's next Pod may just begin
        pods = plane.wait("it has Pods", lambda: plane.objects("pods"))
        # Work that ends may be over, or not begun.
        assert plane.containers() or all(pod["status"]["phase"] in ("Pending", "Succeeded") for pod in pods)
        assert plane.stop() == 0
        assert plane.containers() == []
        assert not plane.lines("Traceback|problem ")
    finally:
        plane.bury()


_GREETER = SAMPLES / "versions" / "greeter.py"
_KINDS = load_program(_GREETER.parent, _GREETER.name, _GREETER.read_bytes()).operators[0].kinds
_GREETERS = {cls.__kind__.version: cls for cls in _KINDS if cls.__kind__.kind == "Greeter"}
test_the_versions_of_a_sample_lose_nothing = round_trips(
    _GREETERS["v1"], examples=[_GREETERS["v1beta1"].of(name="a", spec={"greeting": "Good morning, Vietnam"})]
)


@pytest.mark.xdist_group("samples")
def test_the_sample_with_versions_shows_each_object_in_each(tmp_path: Path) -> None:
    """As its README says."""
    plane = Plane(SAMPLES / "versions", tmp_path / "state", "--wait", "--timeout", "20")
    try:
        plane.start()
        plane.wait_line("ready: everything runs", 25.0)
        shown = [plane.run("get", f"greeters.{version}.example.com", "old", "-o", "yaml").stdout for version in ("v1beta1", "v1")]
        assert "greeting: Good morning, Vietnam" in shown[0]
        assert "word: Good morning" in shown[1]
        assert "example.com/every-s: '2'" in plane.run("get", "greeters.v1beta1.example.com", "new", "-o", "yaml").stdout
        assert plane.stop() == 0
        assert not plane.lines("Traceback|problem ")
    finally:
        plane.bury()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_sample_has_a_readme_that_names_its_command(name: str) -> None:
    """Copy, paste, run."""
    assert f"reconcile up samples/{name}" in (SAMPLES / name / "README.md").read_text()
