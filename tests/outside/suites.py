"""The suites: which source package each comes from, what it needs, and how it is told where the etcd is.

Nothing of them is kept in this project: the source packages come from the registry through pip, into the virtual
environment's folder, and each suite runs in an environment of its own, with the versions that it was written for.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import attrs


@attrs.frozen
class Suite:
    """The tests of a source package."""

    package: str
    needs: tuple[str, ...]
    """What its tests need, in versions that work with them and with this Python."""
    endpoint: str
    """The environment variable that names the etcd's URL."""
    short: tuple[str, ...]
    """A part of it that takes seconds."""

    @property
    def name(self) -> str:
        """The package, without its version."""
        return self.package.partition("==")[0]

    def prepared(self, cache: Path) -> Prepared:
        """Fetch the source package and make its environment, unless both are there.

        Raises:
            subprocess.CalledProcessError: pip cannot have them.
        """
        return Prepared(self, *unpacked(self.package, self.needs, cache))


@attrs.frozen
class Prepared:
    """A suite that can be run."""

    suite: Suite
    source: Path
    python: Path


def unpacked(package: str, needs: tuple[str, ...], cache: Path) -> tuple[Path, Path]:
    """A source package's folder, and the Python that has it and what its tests need; both are fetched unless they are there.

    Raises:
        subprocess.CalledProcessError: pip cannot have them.
    """
    folder = cache / package.replace("==", "-")
    python = folder / "venv" / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        name = package.partition("==")[0]
        _run(*pip, "download", "--no-deps", "--no-binary", name, "--dest", str(folder), package)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        _run(sys.executable, "-m", "venv", str(folder / "venv"))
        _run(str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", str(archive), *needs)
        (folder / "ready").touch()
    (source,) = (path.parent for path in folder.glob("*/PKG-INFO"))
    return source, python


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)


PYTHON_ETCD3 = Suite(
    "etcd3==0.12.0",
    ("grpcio", "protobuf<3.21", "six", "tenacity<7", "mock", "hypothesis<5.41", "pytest<8", "pytest-timeout"),
    "PYTHON_ETCD_HTTP_URL",
    ("tests", "-k", "transaction or sort or lease or Alarms or compact or snapshot or range"),
)
"""python-etcd3, synchronous grpcio: the client that most Python programs use."""

AETCD = Suite(
    "aetcd==1.0.0",
    ("pytest==9.0.3", "pytest-asyncio==1.3.0", "pytest-mock==3.15.1", "pytest-cov==7.1.0", "pytest-timeout"),
    "TEST_ETCD_HTTP_URL",
    ("tests/integration/test_auth.py", "tests/integration/test_maintenance.py", "tests/integration/test_lease.py"),
)
"""aetcd, asyncio grpcio."""

SUITES = (PYTHON_ETCD3, AETCD)
