"""What kill -9 of the control plane at random moments during rollouts costs: `python -m tests.bench kills`.

The scene is that of tests/faults, shorter; what it prints is the time from the next start to the completed rollout.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.rollout_under_fire import Fire

KILLS = 20


def main() -> None:
    """Run once and print."""
    with tempfile.TemporaryDirectory() as folder:
        fire = Fire(Path(folder), seed=1)
        fire.run(KILLS)
    sys.stdout.write(fire.report())


if __name__ == "__main__":
    main()
