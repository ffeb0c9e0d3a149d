"""What `reconcile up` loads before its API answers: counted, because time on a shared machine says little.

Every module and every class that attrs compiles before the API answers is time that everybody waits for at every start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MODULES_MAX, CLASSES_MAX = 745, 175
ADVICE = (
    "Import it in the function that needs it, if few runs do (see `cli/main.py`), or after the API listens. "
    "`python -X importtime -m reconcile.cli up FOLDER` tells who imports what. Raise the bound only if every start needs it."
)
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
import reconcile.cli.main, reconcile.cli.up
from reconcile.cli.running import Session, UpSettings

def classes(cls=object):
    for sub in type.__subclasses__(cls):
        yield sub
        yield from classes(sub)

class Counting(Session):
    def _note_address(self, url):
        made = {c for c in classes() if isinstance(vars(c).get("__attrs_attrs__"), tuple)}
        ours = sorted(f"{c.__module__}.{c.__qualname__}" for c in made if c.__module__.startswith("reconcile."))
        print(json.dumps([sorted(sys.modules), ours]))
        super()._note_address(url)

async def main():
    root = Path(sys.argv[1])
    async with Counting(UpSettings(folder=root / "folder", data_dir=root / "state")):
        pass

asyncio.run(main())
"""


def test_the_api_answers_before_much_is_loaded(tmp_path: Path) -> None:
    """A start of half a second is the promise; what nobody asked for must not be in it."""
    (tmp_path / "folder").mkdir()
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules, classes = json.loads(done.stdout)
    assert len(modules) <= MODULES_MAX, f"{len(modules)} modules are loaded before the API answers. {ADVICE}\n{modules}"
    assert len(classes) <= CLASSES_MAX, f"attrs made {len(classes)} classes before the API answered. {ADVICE}\n{classes}"
