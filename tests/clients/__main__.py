"""`python -m tests.clients [--short] [--optional] [PACKAGE ...]`: runs the suites, and fails where a test ends otherwise than is
recorded for it in `suites`.

With `--optional` a registry that does not have the packages is told, and is no failure.
"""

from __future__ import annotations

import fnmatch
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.clients.binaries import CACHE
from tests.clients.running import outcomes
from tests.clients.suites import SUITES, ClientSuite


def surprises(suite: ClientSuite, ended: dict[str, str], *, short: bool) -> list[str]:
    """What is otherwise than it is recorded, a line each."""
    found = []
    for name, end in sorted(ended.items()):
        known = next((why for pattern, why in suite.fails.items() if fnmatch.fnmatchcase(name, pattern)), "")
        if end == "failed" and not known:
            found.append(f"{name} fails")
        elif end == "passed" and known:
            found.append(f"{name} passes, though it {known}")
    if not short and len(ended) < suite.count:
        found.append(f"{len(ended)} tests were run, and not {suite.count}")
    if not any(end == "passed" for end in ended.values()):
        found.append("no test passed")
    return found


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; the exit code says whether all ends as recorded."""
    short = "--short" in arguments
    names = [name for name in arguments if not name.startswith("--")]
    worse = 0
    for suite in SUITES:
        if names and suite.name not in names:
            continue
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix=f"clients-{suite.name}-"))
        try:
            ended = outcomes(suite, CACHE, folder, short=short)
        except subprocess.CalledProcessError as error:
            print(f"{suite.package}: cannot be had: {(error.stderr.strip() or str(error)).splitlines()[-1]}")
            if "--optional" in arguments:
                continue
            return 2
        found = surprises(suite, ended, short=short)
        counts = ", ".join(f"{count} {end}" for end, count in sorted(Counter(ended.values()).items(), reverse=True))
        print(f"{suite.package}: {counts}, {time.monotonic() - began:.0f} s{f'; see {folder}' if found else ''}")
        for line in found:
            print(f"  DIFFERENT {line}")
        worse += len(found)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
