"""Runs one suite against a control plane of its own, in a network and with mounts of its own where the kernel allows it.

Suites take fixed ports (80, 8001) and write where an image would have a folder; nothing of that reaches the machine.

`python -m tests.clients.running FOLDER SOURCE -- COMMAND ...` is what runs inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.people import write_kubeconfig
from tests.clients.suites import STANDINS, ClientSuite
from tests.outside.running import raise_loopback, read
from tests.plane import Plane

ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "--map-root-user", "--net", "--mount"]
_ALONE = "RECONCILE_CLIENTS_ALONE"
_TEST_S_MAX = 90
_SHARE = Path("/usr/share")
_PAGES = _SHARE / "nginx" / "html"
IMAGES = {
    "nginx": f"{sys.executable} -m http.server 80 --bind $(POD_IP) --directory {_PAGES}",
    "gcr.io/google_containers/pause": "sleep infinity",
    "busybox": "env",  # it runs the arguments that it gets
}
"""What stands for the images that the suites name."""
SYSTEM_POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "metrics-server", "labels": {"k8s-app": "metrics-server"}},
    "spec": {"containers": [{"name": "a", "image": "gcr.io/google_containers/pause"}]},
}  # fmt: skip
"""Every cluster that the suites know has some Pod in kube-system."""


def outcomes(suite: ClientSuite, cache: Path, folder: Path, *, short: bool) -> dict[str, str]:
    """How each test of the suite ended: "passed", "failed" or "skipped".

    Raises:
        subprocess.CalledProcessError: pip cannot have the suite.
        RuntimeError: it was not run.
    """
    source, python = suite.prepared(cache)
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.xml"
    ini = next(path for path in map(source.joinpath, ("pytest.ini", "pyproject.toml", "setup.cfg")) if path.exists())
    command = [
        str(python.with_name("pytest")), "-c", str(ini), f"--rootdir={source}", "-q", "-p", "no:cacheprovider",
        f"--timeout={_TEST_S_MAX}", f"--junitxml={report}", *suite.options, *(suite.short if short else suite.tests),
    ]  # fmt: skip
    alone = ALONE if subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode == 0 else []
    inside = [*alone, sys.executable, "-m", "tests.clients.running", str(folder), str(source), "--", *command]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **({_ALONE: "1"} if alone else {})}
    with (folder / "output.txt").open("w") as output:
        subprocess.run(inside, check=False, stdout=output, stderr=output, cwd=ROOT, env=env)
    if not report.exists():
        raise RuntimeError(f"{suite.name} told nothing; see {folder / 'output.txt'}")
    return read(report)


def _lay_pages(folder: Path) -> None:
    """Lay a writable layer over the folder that nginx images have their pages in; only this process tree sees it.

    Raises:
        subprocess.CalledProcessError: the kernel allows no such mount here.
    """
    layer = folder / "layer"
    layer.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", layer], check=True)
    for name in ("upper", "work"):
        (layer / name).mkdir()
    options = f"lowerdir={_SHARE},upperdir={layer / 'upper'},workdir={layer / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, _SHARE], check=True)
    _PAGES.mkdir(parents=True, exist_ok=True)
    (_PAGES / "index.html").write_text("<h1>Welcome to nginx!</h1>\n")


def main(folder: Path, source: Path, command: list[str]) -> int:
    """Start the control plane, run the command while it serves, and give the command's exit code."""
    if _ALONE in os.environ:
        raise_loopback()
        try:
            _lay_pages(folder)
        except subprocess.CalledProcessError as error:
            print(f"no pages for nginx: {error}; tests that forward ports to it will fail")
    (folder / "objects").mkdir()
    images = [word for name, run in IMAGES.items() for word in ("--image", f"{name}={run}")]
    plane = Plane(folder / "objects", folder / "state", "--allow-empty", *images)
    try:
        plane.start()
        home = folder / "home"
        (home / ".kube").mkdir(parents=True)
        kubeconfig = write_kubeconfig(plane, home / ".kube" / "config")
        plane.create("pods", SYSTEM_POD, "kube-system")
        plane.wait("kube-system has its Pod", lambda: _runs(plane, "metrics-server", "kube-system"))
        plane.wait("the default account is there", lambda: plane.get("serviceaccounts", "default"))
        return subprocess.run(command, check=False, cwd=source, env=_environment(home, kubeconfig)).returncode
    finally:
        plane.bury()


def _runs(plane: Plane, name: str, namespace: str) -> bool:
    pod = plane.get("pods", name, namespace)
    return pod is not None and pod.get("status", {}).get("phase") == "Running"


def _environment(home: Path, kubeconfig: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    path = os.pathsep.join((str(Path(kubectl).parent), kept.get("PATH", "")))
    return {
        **kept, "HOME": str(home), "TMPDIR": str(_made(home / "tmp")), "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(home / "cache"), "PATH": path, "PYTHONPATH": os.pathsep.join((str(STANDINS), ".")),
    }  # fmt: skip


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:]))
