"""Runs the benches: `python -m tests.bench [name...]`, all of them by default.

A bench is a module `bench_<name>.py` beside this one with a `main()` that measures, and prints medians and ratios.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path


def main(names: list[str]) -> int:
    """Run the named benches one after the other, each in this process. Returns the exit code."""
    known = {path.stem.removeprefix("bench_"): path.stem for path in sorted(Path(__file__).parent.glob("bench_*.py"))}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.stderr.write(f"there is no bench {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 2
    for name in names or known:
        sys.stdout.write(f"== {name}\n")
        sys.stdout.flush()
        began = time.perf_counter()
        sys.argv = [f"python -m tests.bench {name}"]  # so that a bench's own options have their defaults
        importlib.import_module(f"tests.bench.{known[name]}").main()
        sys.stdout.write(f"   ({time.perf_counter() - began:.1f} s)\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
