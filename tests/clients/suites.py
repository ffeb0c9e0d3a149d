"""The suites of clients that test against a server, and which of their tests cannot pass here, each with its reason.

Nothing of them is kept in this project: source packages and what they need come from the registry through pip, into the virtual
environment's folder. lightkube and pykube-ng ship no tests; etcd's clients are in `tests/outside`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.outside.suites import unpacked

STANDINS = Path(__file__).with_name("standins")
_PYTEST = ("pytest<9", "pytest-asyncio<2", "pytest-timeout", "pytest-rerunfailures")


@attrs.frozen
class ClientSuite:
    """The tests of a client's source package.

    `count` is how many there are at least, so that none vanishes unseen; `fails` has patterns of names, and why those fail on any
    server, or on ours; `races` has those of tests that may pass or fail, and on what that depends. Everything else has to pass or
    to be skipped by its own decision.
    """

    package: str
    needs: tuple[str, ...]
    tests: tuple[str, ...]
    short: tuple[str, ...]
    count: int
    fails: Mapping[str, str] = attrs.field(factory=dict)
    races: Mapping[str, str] = attrs.field(factory=dict)
    options: tuple[str, ...] = ()
    copied: Mapping[str, str] = attrs.field(factory=dict)
    """Folders in the source, and which stand-in is copied there."""
    hidden: tuple[str, ...] = ()
    """Folders of the source that would hide what is installed."""
    patched: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    """Files of installed packages, and what is put for what in them, where a package does not run on this machine otherwise."""

    @property
    def name(self) -> str:
        """The package, without its version."""
        return self.package.partition("==")[0]

    def prepared(self, cache: Path) -> tuple[Path, Path]:
        """The folder of its source, and the Python to run it with.

        Raises:
            subprocess.CalledProcessError: pip cannot have them.
        """
        source, python = unpacked(self.package, self.needs, cache)
        for folder, standin in self.copied.items():
            shutil.copytree(STANDINS / standin, source / folder, dirs_exist_ok=True)
        for folder in self.hidden:
            if (source / folder).exists():
                os.rename(source / folder, source / f"{folder}.source")
        (installed,) = python.parents[1].glob("lib/python*/site-packages")
        for name, (before, after) in self.patched.items():
            text = (installed / name).read_text()
            if before not in text and after not in text:
                raise subprocess.CalledProcessError(1, name, "", f"{name} is not what it was when it was patched")
            (installed / name).write_text(text.replace(before, after))
        return source, python


_NOT_SERVED = "asks for apiextensions.k8s.io/v1beta1, which no server has had since Kubernetes 1.22"
_BY_IDENTITY = "compares two objects of the client's class Resource, which has no __eq__: false on any server"
_NO_FILE = "reads a file that the source package lacks"
_NO_POD = "applies a Deployment to the path of a Pod: refused by any server"
_OTHER_PODS = "wants one resource called pods: metrics.k8s.io serves another, as on any cluster with metrics"

KR8S = ClientSuite(
    "kr8s==0.20.15",
    (
        *_PYTEST, "pytest-cov", "trio", "lightkube", "kubernetes<37", "pykube-ng", "kubernetes-asyncio", "kubernetes-validate",
        "httpx-ws<0.8",  # newer ones wrap the errors that its tests expect in groups
    ),
    tests=("kr8s/tests",),
    short=("kr8s/tests/test_api.py", "kr8s/tests/test_auth.py"),
    count=240,
    fails={"*test_api::test_api_resources": _OTHER_PODS},
    races={"*test_api::test_api_timeout": "wants an answer to take longer than 10 us, counted from when its client looks"},
    options=("-p", "pytest_kind.plugin", "--no-cov", "--reruns=2"),
)  # fmt: skip
"""kr8s' whole suite. Its own CI repeats what fails three times, for tests that wait for a while and look; here it is two."""

KUBERNETES = ClientSuite(
    "kubernetes==37.0.2",
    (*_PYTEST, "aiohttp", "aiohttp-retry"),
    tests=("kubernetes/dynamic", "kubernetes/aio/dynamic", "kubernetes/aio/utils/create_from_yaml_test.py"),
    short=("kubernetes/dynamic",),
    count=36,
    fails={
        "*test_client.TestDynamicClient::test_*_custom_resources": _NOT_SERVED,
        "*test_discovery.TestDiscoverer::test_cache_decoder_resource_and_subresource": _BY_IDENTITY,
        "*create_from_yaml_test.CreateFromYamlTest::test_create_from_yaml": _NO_FILE,
        "*client_test.TestDynamicClient::test_server_side_apply_api": _NO_POD,
    },
    copied={"kubernetes/e2e_test": "e2e_test", "kubernetes/aio/e2e_test": "e2e_test"},
)
"""The official client, synchronous and asynchronous: what of its tests ships and speaks to a server."""

KUBERNETES_ASYNCIO = ClientSuite(
    "kubernetes_asyncio==36.1.0",
    _PYTEST,
    tests=("kubernetes_asyncio/dynamic", "kubernetes_asyncio/utils"),
    short=("kubernetes_asyncio/dynamic",),
    count=16,
    fails={
        "*create_from_yaml_test.CreateFromYamlTest::test_create_from_yaml": _NO_FILE,
        "*client_test.TestDynamicClient::test_server_side_apply_api": _NO_POD,
    },
    copied={"kubernetes_asyncio/e2e_test": "e2e_test"},
)

_OSCRYPTO = (r"'\\b(\\d\\.\\d\\.\\d[a-z]*)\\b'", r"'\\b(\\d\\.\\d\\.\\d+[a-z]*)\\b'")
KOPF = ClientSuite(
    "kopf==1.45.2",
    (
        *_PYTEST, "pytest-aiohttp", "pytest-mock", "looptime", "freezegun", "kmock", "certbuilder", "certvalidator", "oscrypto",
        "pykube-ng", "pyyaml", "pyngrok", "astpath", "lxml",
    ),
    tests=("tests/e2e", "examples"),
    short=("tests/e2e", "examples/01-minimal"),
    count=17,
    options=(
        "--only-e2e", "-p", "no:unraisableexception", "-W", "ignore::ResourceWarning",
        "-W", "ignore:There is no current event loop:DeprecationWarning",
    ),
    hidden=("kopf",),
    # oscrypto 1.3.0 cannot read an OpenSSL version whose patch level has two digits.
    patched={f"oscrypto/_openssl/_libcrypto_{way}.py": _OSCRYPTO for way in ("cffi", "ctypes")},
)  # fmt: skip
"""kopf's end-to-end tests: its seventeen examples, run by its own runner. The options silence its harness, no test."""

SUITES = (KUBERNETES, KUBERNETES_ASYNCIO, KR8S, KOPF)
