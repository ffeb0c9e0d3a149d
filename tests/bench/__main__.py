"""Runs the benches: `python -m tests.bench [name...]`, all of them by default.

A bench is a script `bench_<name>.py` beside this one that measures, and prints medians and ratios. Each runs in a process of
its own, so that none measures what another one left behind.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path


def main(names: list[str]) -> int:
    """Run the named benches one after the other. Returns the exit code: 1 if one failed."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(Path(__file__).parent.glob("bench_*.py"))}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.stderr.write(f"there is no bench {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 2
    failed = False
    for name in names or known:
        sys.stdout.write(f"== {name}\n")
        sys.stdout.flush()
        began = time.perf_counter()
        failed |= subprocess.run([sys.executable, "-m", f"tests.bench.{known[name].stem}"], check=False).returncode != 0
        sys.stdout.write(f"   ({time.perf_counter() - began:.1f} s)\n\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
