"""Kubernetes' own conformance program against `reconcile up`: every test of its list that needs no container of its own.

    python -m tests.clients.conformance [--jobs N] [PATTERN ...]

The program, `e2e.test` of Kubernetes 1.36, is the one that RECONCILE_TEST_E2E names, or the one on PATH; no registry that Python
packages come from has it. Which tests are run, and on what nodes, `conformance.tsv` says: most on three simulated ones, those of
Jobs with processes, so that containers end. For these RECONCILE_TEST_AGNHOST names the program of the image that their Pods run;
without it they are left out, and that is told. Each of N runs (4) has a control plane of its own. PATTERNs choose tests by a part
of their name.

Exit code 1 says that a test ended otherwise than `FAILS` has it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from reconcile.conditions import is_true
from reconcile.errors import Tree
from tests.outside.running import read
from tests.plane import Plane

LIST = Path(__file__).with_suffix(".tsv")
SHORT_HISTORY = ("--history-keep", "1m/0")
"""A list goes on after its revision was compacted away: the reference server compacts every five minutes."""
OPTIONS: Mapping[str, tuple[str, ...]] = {"simulated": ("--simulate", "3", *SHORT_HISTORY), "processes": SHORT_HISTORY}
FAILS: Mapping[str, str] = {}
"""Tests that do not pass, each with its reason."""
_READY_S_MAX = 30.0
_ALONE = "RECONCILE_CONFORMANCE_ALONE"


@attrs.frozen
class Listed:
    """One test of the list: what nodes it needs, the file that it is in, its full name."""

    nodes: str
    file: str
    name: str


def listed(text: str) -> list[Listed]:
    """The tests that a list names, a line each: nodes, file, name, with tabs between."""
    return [Listed(*line.split("\t")) for line in text.splitlines() if line and not line.startswith("#")]


def batches(tests: Iterable[Listed], count: int) -> list[list[Listed]]:
    """The tests in at most `count` heaps for each kind of nodes; neighbours, which often take long alike, come into others."""
    made = []
    for nodes in OPTIONS:
        wanted = [test for test in tests if test.nodes == nodes]
        made += [heap for heap in (wanted[at::count] for at in range(count)) if heap]
    return made


def surprises(tests: Sequence[Listed], ended: Mapping[str, str], fails: Mapping[str, str]) -> list[str]:
    """What is otherwise than recorded, a line each."""
    found = []
    for test in tests:
        end, why = ended.get(test.name, "not run"), fails.get(test.name)
        if end != "passed" and why is None:
            found.append(f"{test.name}: {end}")
        elif end == "passed" and why is not None:
            found.append(f"{test.name}: passes, though it {why}")
    return found


def outcomes(program: str, tests: Sequence[Listed], folder: Path, images: Sequence[str]) -> dict[str, str]:
    """How each test ended that was run: "passed" or "failed".

    Raises:
        RuntimeError: the program told nothing.
    """
    (folder / "objects").mkdir(parents=True)
    nodes = tests[0].nodes
    options = [*OPTIONS[nodes], *(images if nodes == "processes" else ())]
    plane = Plane(folder / "objects", folder / "state", "--allow-empty", *options)
    report, kubeconfig = folder / "report.xml", plane.data_dir / "kubeconfig"
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    command = [
        program, f"--kubeconfig={kubeconfig}", f"--kubectl-path={kubectl}", "--provider=skeleton", "--ginkgo.no-color",
        f"--ginkgo.focus={'|'.join(re.escape(f'{test.name} [Conformance]') for test in tests)}",
        f"--ginkgo.junit-report={report}",
        "--ginkgo.timeout=2h",
    ]  # fmt: skip
    try:
        plane.start()
        plane.wait("a node is ready", lambda: any(map(_is_ready, plane.objects("nodes", namespace=""))), _READY_S_MAX)
        with (folder / "output.txt").open("w") as output:
            subprocess.run(
                command, check=False, stdout=output, stderr=output, cwd=folder, env={**os.environ, "HOME": str(folder)}
            )
    finally:
        plane.bury()
    if not report.exists():
        raise RuntimeError(f"{program} told nothing; see {folder / 'output.txt'}")
    wanted = {test.name for test in tests}
    return {name: end for test, end in read(report).items() if (name := _name(test)) in wanted and end != "skipped"}


def _is_ready(node: Tree) -> bool:
    return is_true(node["status"].get("conditions"), "Ready")


def _name(told: str) -> str:
    """The name as it is listed: without the word for the kind of node, and without labels."""
    return told.partition("[It] ")[2].partition(" [Conformance]")[0]


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; the exit code says whether all ends as recorded."""
    if _ALONE not in os.environ and (alone := _with_a_richer_shell()):
        return subprocess.run(
            [*alone, sys.executable, "-m", "tests.clients.conformance", *arguments], check=False, env={**os.environ, _ALONE: "1"}
        ).returncode
    jobs = int(arguments[arguments.index("--jobs") + 1]) if "--jobs" in arguments else 4
    patterns = [word for word in arguments if not word.startswith("--") and word != str(jobs)]
    program = os.environ.get("RECONCILE_TEST_E2E") or shutil.which("e2e.test")
    if program is None:
        print("there is no e2e.test on PATH, and RECONCILE_TEST_E2E names none")
        return 2
    tests = [test for test in listed(LIST.read_text()) if not patterns or any(pattern in test.name for pattern in patterns)]
    folder, began = Path(tempfile.mkdtemp(prefix="conformance-")), time.monotonic()
    images = _images(os.environ.get("RECONCILE_TEST_AGNHOST", ""), folder)
    if not images:
        left = sum(test.nodes == "processes" for test in tests)
        print(f"{left} tests are left out: RECONCILE_TEST_AGNHOST names no program for their Pods")
        tests = [test for test in tests if test.nodes != "processes"]
    ended: dict[str, str] = {}
    heaps = batches(tests, jobs)
    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(outcomes, program, heap, folder / str(at), images) for at, heap in enumerate(heaps)]
        for at, run in enumerate(runs):
            try:
                ended.update(run.result())
            except (AssertionError, RuntimeError, OSError) as error:  # the others have something to say all the same
                print(f"heap {at} of {len(runs)} was not run to its end: {error}")
    found = surprises(tests, ended, FAILS)
    counts = ", ".join(f"{count} {end}" for end, count in sorted(Counter(ended.values()).items(), reverse=True))
    print(f"{len(tests)} tests of the list: {counts}, {time.monotonic() - began:.0f} s{f'; see {folder}' if found else ''}")
    for line in found:
        print(f"  DIFFERENT {line}")
    return 1 if found else 0


def _with_a_richer_shell() -> list[str]:
    """What runs a command where /bin/sh is bash: containers of the tests say `[[`, which their image's shell knows and dash not.

    Nothing of it reaches the machine. Empty where it is not possible or not needed; two tests of Jobs may fail then.
    """
    bash = shutil.which("bash")
    if bash is None or Path("/bin/sh").resolve() == Path(bash).resolve():
        return []
    made = ["unshare", "--map-root-user", "--mount", bash, "-c", f'mount --bind {bash} /bin/sh && exec "$@"', "alone"]
    return made if subprocess.run([*made, "true"], check=False, capture_output=True).returncode == 0 else []


def _images(agnhost: str, folder: Path) -> tuple[str, ...]:
    """What stands for the images that the tests name, as options of `up`; nothing where there is no agnhost."""
    if not agnhost:
        return ()
    script = folder / "agnhost"
    script.write_text(f'#!/bin/sh\n[ $# = 0 ] && set -- pause\nexec {agnhost} "$@"\n')
    script.chmod(0o755)
    # busybox runs its arguments, and ends well where there are none.
    images = {"e2e-test-images/agnhost": str(script), "e2e-test-images/busybox": "env", "pause": f"{script} pause"}
    return tuple(word for name, run in images.items() for word in ("--image", f"registry.k8s.io/{name}={run}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
