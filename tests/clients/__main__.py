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
from collections.abc import Mapping
from pathlib import Path

from tests.clients.binaries import CACHE
from tests.clients.running import outcomes
from tests.clients.suites import SUITES, ClientSuite


def surprises(suite: ClientSuite, ended: dict[str, str], *, short: bool) -> list[str]:
    """What is otherwise than it is recorded, a line each."""
    found = []
    for name, end in sorted(ended.items()):
        known = reason(suite, name)
        if end == "failed" and not known:
            found.append(f"{name} fails")
        elif end == "passed" and known and not _matched(suite.races, name):
            found.append(f"{name} passes, though it {known}")
    if not short and len(ended) < suite.count:
        found.append(f"{len(ended)} tests were run, and not {suite.count}")
    if not any(end == "passed" for end in ended.values()):
        found.append("no test passed")
    return found


def reason(suite: ClientSuite, name: str) -> str:
    """Why a test is recorded not to pass; empty: it is not."""
    return _matched(suite.fails, name) or _matched(suite.races, name)


def _matched(reasons: Mapping[str, str], name: str) -> str:
    return next((why for pattern, why in reasons.items() if fnmatch.fnmatchcase(name, pattern)), "")


def summary(suite: ClientSuite, ended: dict[str, str]) -> str:
    """How many tests ended how; failures that have a reason are told apart."""
    ends = ["failed as recorded" if end == "failed" and reason(suite, name) else end for name, end in ended.items()]
    return ", ".join(f"{count} {end}" for end, count in sorted(Counter(ends).items(), reverse=True))


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
        print(f"{suite.package}: {summary(suite, ended)}, {time.monotonic() - began:.0f} s{f'; see {folder}' if found else ''}")
        for line in found:
            print(f"  DIFFERENT {line}")
        worse += len(found)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
