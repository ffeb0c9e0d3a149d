"""`python -m tests.outside [--short] [--optional] [PACKAGE ...]`: runs the suites, and fails where ours differs from a real etcd.

With `--optional` a registry that does not have the packages is told, and is no failure.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.outside.running import outcomes
from tests.outside.suites import SUITES, Suite

CACHE = Path(sys.prefix) / "outside"


def differences(ours: dict[str, str], real: dict[str, str]) -> list[str]:
    """The tests that end otherwise against ours than against a real etcd, a line each."""
    names = sorted(set(ours) | set(real))
    ends = [(name, ours.get(name, "absent"), real.get(name, "absent")) for name in names]
    return [f"{name}: {one} on ours, {other} on a real etcd" for name, one, other in ends if one != other]


def compared(suite: Suite, *, short: bool) -> tuple[dict[str, str], dict[str, str]]:
    """How a suite ends against ours and against a real etcd, both at a time."""
    prepared = suite.prepared(CACHE)
    folder = Path(tempfile.mkdtemp(prefix=f"outside-{suite.name}-"))
    with ThreadPoolExecutor(2) as both:
        ours, real = both.map(lambda server: outcomes(prepared, server, folder / server, short=short), ("ours", "real"))
    return ours, real


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; the exit code says whether ours passes what a real etcd passes."""
    short = "--short" in arguments
    names = [name for name in arguments if not name.startswith("--")]
    worse = 0
    for suite in SUITES:
        if names and suite.name not in names:
            continue
        began = time.monotonic()
        try:
            ours, real = compared(suite, short=short)
        except subprocess.CalledProcessError as error:
            print(f"{suite.package}: cannot be had: {error.stderr.strip().splitlines()[-1]}")
            if "--optional" in arguments:
                continue
            return 2
        counts = ", ".join(f"{count} {end}" for end, count in sorted(Counter(ours.values()).items(), reverse=True))
        print(f"{suite.package}: {counts} on ours, {time.monotonic() - began:.0f} s")
        for name in sorted(name for name, end in ours.items() if end == "failed" == real.get(name)):
            print(f"  fails on both: {name}")
        found = differences(ours, real)
        for line in found:
            print(f"  DIFFERENT {line}")
        worse += len(found)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
