"""The real `reconcile` command as processes: what the end-to-end tests, the faults and the benches drive.

Nothing here reaches into the control plane: it is started, spoken to over HTTPS and by the command line, killed, and its
containers are counted by what the kernel says of them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.errors import RefusedError, UnreachableError
from reconcile.runtime.client.kubeconfig import load

Tree = dict[str, Any]  # Any: a decoded JSON object
T = TypeVar("T")
COMMAND = (sys.executable, "-m", "reconcile.cli")
_MARK = "RECONCILE_CONTAINER"
_POLL_S = 0.02


def wait_until(what: str, condition: Callable[[], T | None], timeout_s: float = 15.0, told: Callable[[], str] = str) -> T:
    """Ask `condition` until it says something true, and return that; fails with `what` and what `told` tells."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what} (last answer: {answer!r})\n{told()}"
        time.sleep(_POLL_S)


def keeping_compiled(folder: Path) -> dict[str, str]:
    """For a Plane's `env`: Python keeps what it compiles, as it does for users, whatever this process was told; in `folder`."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder)}


class Container(NamedTuple):
    """A process that a kubelet started, or a descendant of one; `mark` is `<sandbox>/<container>/<attempt>`."""

    pid: int
    ppid: int
    mark: str
    pod: str
    argv: tuple[str, ...]

    @property
    def name(self) -> str:
        """`<pod>/<container>`: of these there is one copy at most."""
        return f"{self.pod}/{self.mark.split('/')[1]}"


def marked_processes(home: Path) -> list[Container]:
    """The living container processes of the control plane that was started with this HOME, as the kernel has them."""
    ours = f"HOME={home}".encode()
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
            if ours not in environ:
                continue
            fields = Path(f"/proc/{number}/stat").read_bytes().rsplit(b") ", 1)[1].split()
            argv = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue  # it ended while we looked
        env = dict(entry.decode(errors="replace").partition("=")[::2] for entry in environ)
        if _MARK in env and fields[0] not in (b"Z", b"X"):
            found.append(Container(int(number), int(fields[1]), env[_MARK], env.get("POD_NAME", ""), tuple(argv)))
    return found


def copies(found: list[Container]) -> dict[str, list[Container]]:
    """The first processes of each container (children of a shim, not of one another), by `<pod>/<container>`."""
    pids = {container.pid for container in found}
    by_name: dict[str, list[Container]] = {}
    for container in found:
        if container.ppid not in pids:
            by_name.setdefault(container.name, []).append(container)
    return by_name


class Plane:
    """One control plane on a folder. `start` it, speak to it (`cli`, `api`), end it (`stop`, `kill`)."""

    def __init__(self, folder: Path, data_dir: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.folder, self.data_dir, self.options = folder, data_dir, options
        self.log = data_dir.with_name(data_dir.name + ".out")
        # A home of its own keeps the user's files out of it, and marks its containers: they inherit HOME.
        self.home = data_dir.with_name(data_dir.name + ".home")
        self.home.mkdir(parents=True, exist_ok=True)
        dropped = ("KUBECONFIG", "RECONCILE_HOME", "XDG_STATE_HOME")
        kept = {key: value for key, value in os.environ.items() if key not in dropped}
        self.env = {**kept, "HOME": str(self.home), "NO_COLOR": "1", **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._api: BlockingClient | None = None

    # Life

    def start(self, *options: str, listening: bool = True) -> Self:
        """Run `up`; with `listening`, wait until its API does."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", str(self.folder), "--data-dir", str(self.data_dir), "--plain", *self.options, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env, start_new_session=True,
            )  # fmt: skip
        if listening:
            self.wait_listening()
        return self

    def wait_listening(self, timeout_s: float = 20.0) -> None:
        """Wait until the API of the process that was started answers."""
        self.forget_connection()
        self.wait("the API listens", lambda: self.ended or self.run_file.get("pid") == self.pid, timeout_s)
        assert not self.ended, f"`up` ended with {self.process and self.process.returncode}:\n{self.said()}"

    @property
    def pid(self) -> int:
        """The control plane's process."""
        assert self.process is not None, "it was never started"
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether the control plane's process is gone."""
        return self.process is None or self.process.poll() is not None

    @property
    def run_file(self) -> Tree:
        """What `up` says of itself; empty where it does not run (or was killed while it wrote)."""
        try:
            tree = json.loads((self.data_dir / "up.json").read_text())
        except (OSError, ValueError):
            return {}
        return tree if isinstance(tree, dict) else {}

    def stop(self, timeout_s: float = 40.0) -> int:
        """End it as Ctrl-C does. Returns the exit code."""
        self.forget_connection()
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """kill -9: nothing gets a chance to say good-bye."""
        self.forget_connection()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def bury(self) -> None:
        """Stop everything whatever state it is in, containers of a killed control plane too."""
        self.forget_connection()
        if not self.ended:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for container in self.containers():
            try:
                os.kill(container.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    # What it says

    def said(self) -> str:
        """Everything that `up` printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def lines(self, pattern: str) -> list[str]:
        """The printed lines in which the pattern is found."""
        return [line for line in self.said().splitlines() if re.search(pattern, line)]

    def wait(self, what: str, condition: Callable[[], T | None], timeout_s: float = 15.0) -> T:
        """`wait_until`, telling the last lines of `up` when it was in vain."""
        return wait_until(what, condition, timeout_s, lambda: "\n".join(self.said().splitlines()[-30:]))

    def wait_line(self, pattern: str, timeout_s: float = 15.0) -> str:
        """Wait for a printed line in which the pattern is found."""
        return self.wait(f"a line with {pattern!r}", lambda: self.lines(pattern), timeout_s)[-1]

    # The command line

    def run(self, *arguments: str, stdin: str = "", timeout_s: float = 40.0) -> subprocess.CompletedProcess[str]:
        """Run a `reconcile` command against it."""
        env = {**self.env, "RECONCILE_HOME": str(self.data_dir)}
        return subprocess.run(
            [*COMMAND, *arguments], check=False, capture_output=True, text=True, input=stdin, env=env, timeout=timeout_s
        )

    def cli(self, *arguments: str, code: int = 0, stdin: str = "") -> str:
        """Run a command that must end with `code`. Returns its output; stderr where it has to fail."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == code, f"reconcile {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr + done.stdout if code else done.stdout

    # The API

    @property
    def api(self) -> BlockingClient:
        """A connection to the API."""
        if self._api is None:
            self._api = BlockingClient(load(self.data_dir / "kubeconfig"))
        return self._api

    def forget_connection(self) -> None:
        """Close the connection: the server changes."""
        if self._api is not None:
            self._api.close()
            self._api = None

    def get(self, kind: str, name: str, namespace: str = "default") -> Tree | None:
        """An object, or None."""
        try:
            return self.api.ask("GET", self._path(kind, namespace, name))
        except RefusedError as error:
            if error.code == 404:
                return None
            raise

    def objects(self, kind: str, labels: str = "", namespace: str = "default") -> list[Tree]:
        """All objects of a kind that have the labels."""
        query = {"labelSelector": labels} if labels else {}
        found: list[Tree] = self.api.ask("GET", self._path(kind, namespace), query).get("items") or []
        return found

    def patch(self, kind: str, name: str, change: Tree, namespace: str = "default") -> Tree:
        """Apply a merge patch. Returns what the server acknowledged."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self.api.ask("PATCH", self._path(kind, namespace, name), None, change, headers)

    def create(self, kind: str, tree: Tree, namespace: str = "default") -> Tree:
        """Create an object. Returns what the server acknowledged."""
        return self.api.ask("POST", self._path(kind, namespace), None, tree)

    def _path(self, kind: str, namespace: str, name: str = "") -> str:
        return self.api.path(self.api.find(kind), namespace, name)

    def gone(self, kind: str, name: str) -> bool:
        """Whether there is no such object."""
        return self.get(kind, name) is None

    def problems(self) -> list[Tree]:
        """What is wrong with the folder's files, as the Folder object has it."""
        found: list[Tree] = []
        for folder in self.objects("folders.reconcile.dev", namespace=""):
            found += folder.get("status", {}).get("problems") or []
        return found

    def problem_of(self, file: str) -> Tree | None:
        """What is wrong with a file, or None."""
        return next((problem for problem in self.problems() if problem["file"] == file), None)

    def rolled_out(self, name: str, replicas: int | None = None) -> bool:
        """Whether a Deployment is complete, as `kubectl rollout status` sees it."""
        tree = self.get("deployments", name)
        if tree is None:
            return False
        wanted, status = tree["spec"]["replicas"], tree.get("status", {})
        seen = status.get("observedGeneration", 0) >= tree["metadata"]["generation"]
        counts = [status.get(count, 0) for count in ("replicas", "updatedReplicas", "availableReplicas")]
        return seen and counts == [wanted] * 3 and replicas in (None, wanted)

    def containers(self) -> list[Container]:
        """The living processes of its containers."""
        return marked_processes(self.home)


def alive(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b") ", 1)[1][:1] not in b"ZX"
    except OSError:
        return False


__all__ = [
    "COMMAND", "Container", "Plane", "RefusedError", "UnreachableError", "alive", "copies", "marked_processes", "wait_until",
]  # fmt: skip
