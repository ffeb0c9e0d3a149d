"""A cold `reconcile up` of twenty one-process pods, and what the control plane costs then: `python -m tests.bench up`.

Printed: seconds from the command to all pods Running (as the kernel and the API see it) beside those of other supervisors
of the same twenty processes; memory (RSS) and idle CPU of the control plane; the wall time of `reconcile get pods`.
"""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.plane import Plane, keeping_compiled

PODS, RUNS, GETS, IDLE_S = 20, 5, 10, 10.0
TARGETS = {"up": 1.5, "rss": 100.0, "idle": 1.0, "get": 150.0}


def write_pods(folder: Path) -> None:
    """Twenty files with one Pod each."""
    folder.mkdir()
    for number in range(PODS):
        (folder / f"pod-{number:02}.yaml").write_text(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number:02}}}\n"
            "spec: {containers: [{name: main, command: [sleep, '600']}]}\n"
        )


def sleeps(parent: int) -> int:
    """How many `sleep 600` run below a process."""
    try:
        below = psutil.Process(parent).children(recursive=True)
        return sum(1 for process in below if process.cmdline()[:1] == ["sleep"])
    except psutil.Error:
        return 0


def timed(start: Callable[[Path], subprocess.Popen[bytes]]) -> float:
    """Seconds from `start` to twenty running sleeps."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = start(Path(folder))
        try:
            while sleeps(process.pid) < PODS:
                assert process.poll() is None, "it ended"
                assert time.perf_counter() - began < 30, "it does not run"
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def with_popen(folder: Path) -> subprocess.Popen[bytes]:
    """The least that Python can do: twenty times subprocess.Popen, and wait."""
    code = f"import subprocess\nfor p in [subprocess.Popen(['sleep', '600']) for _ in range({PODS})]: p.wait()"
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder)


def with_honcho(folder: Path) -> subprocess.Popen[bytes]:
    """honcho start, of a Procfile of twenty lines."""
    (folder / "Procfile").write_text("".join(f"p{number}: exec sleep 600\n" for number in range(PODS)))
    return subprocess.Popen([sys.executable, "-m", "honcho", "start"], cwd=folder, stdout=subprocess.DEVNULL)


def with_supervisord(folder: Path) -> subprocess.Popen[bytes]:
    """supervisord -n, of twenty programs."""
    programs = "".join(f"[program:p{number}]\ncommand=sleep 600\n" for number in range(PODS))
    (folder / "supervisord.conf").write_text(f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n{programs}")
    command = [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-c", "supervisord.conf"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cold_up(root: Path) -> tuple[float, float, Plane]:
    """A first `up` on an empty state: (seconds to twenty processes, seconds to twenty pods Running, the plane)."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    write_pods(root / "pods")
    plane = Plane(root / "pods", root / "state", env=keeping_compiled(root.parent / "compiled"))
    began = time.perf_counter()
    plane.start(listening=False)
    processes_s = 0.0
    while not plane.lines("ready: everything runs"):
        assert not plane.ended, plane.said()
        assert time.perf_counter() - began < 30, plane.said()
        if not processes_s and len(plane.containers()) >= PODS:
            processes_s = time.perf_counter() - began
        time.sleep(0.005)
    # The line tells itself when it was printed, but from the start of the session: the process's start is ours to add.
    running_s = time.perf_counter() - began
    plane.wait_listening()
    return processes_s or running_s, running_s, plane


def say(what: str, value: float, unit: str, target: float) -> None:
    """One figure beside its target."""
    verdict = "ok" if value < target else "MISSED"
    sys.stdout.write(f"  {what:46} {value:8.2f} {unit:3} (target < {target:g} {unit}: {verdict}, ratio {value / target:.2f})\n")


def main() -> None:
    """Measure everything and print."""
    root = Path(tempfile.mkdtemp(prefix="bench-up-"))
    ups: list[float] = []
    kernel: list[float] = []
    plane: Plane | None = None
    try:
        for _ in range(RUNS):
            if plane is not None:
                plane.bury()
            processes_s, running_s, plane = cold_up(root / "up")
            kernel.append(processes_s)
            ups.append(running_s)
        assert plane is not None
        up_s = statistics.median(ups)
        say(f"cold up, {PODS} pods Running (median of {RUNS})", up_s, "s", TARGETS["up"])
        sys.stdout.write(f"  {'  all processes there':46} {statistics.median(kernel):8.2f} s\n")
        rivals = {"plain subprocess.Popen": with_popen}
        rivals |= {"honcho": with_honcho} if importlib.util.find_spec("honcho") else {}
        rivals |= {"supervisord": with_supervisord} if importlib.util.find_spec("supervisor") else {}
        for name, start in rivals.items():
            other_s = statistics.median(timed(start) for _ in range(RUNS))
            sys.stdout.write(f"  {f'  {name}, processes there':46} {other_s:8.2f} s   (ours / theirs {up_s / other_s:.1f})\n")
        control = psutil.Process(plane.pid)
        time.sleep(2.0)
        before = control.cpu_times()
        time.sleep(IDLE_S)
        after = control.cpu_times()
        say("RSS of the control plane", control.memory_info().rss / 2**20, "MB", TARGETS["rss"])
        used_s = after.user + after.system - before.user - before.system
        say(f"CPU while idle ({IDLE_S:g} s)", used_s / IDLE_S * 100, "%", TARGETS["idle"])
        gets = []
        for _ in range(GETS):
            began = time.perf_counter()
            assert plane.cli("get", "pods").count("Running") == PODS
            gets.append((time.perf_counter() - began) * 1000)
        say(f"reconcile get pods (median of {GETS})", statistics.median(gets), "ms", TARGETS["get"])
    finally:
        if plane is not None:
            plane.bury()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
