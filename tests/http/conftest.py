"""A served API with kinds that stand in for the built-in ones: runtime knows none of those, so these tests need none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from reconcile import Column, Hooks, Resource, Scale, field, kind, struct
from reconcile.clock import Clock
from reconcile.errors import Tree
from reconcile.kinds import Kind, kind_of
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http import Address, Credentials, HttpServer, HttpSettings
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import Access, tree_of, write
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store


@struct
class NamespaceStatus:
    phase: str = ""


@kind(
    "", "v1", namespaced=False, short_names=("ns",), builtin=True, has_generation=False,
    columns=(Column("Status", ".status.phase"), Column("Age", ".metadata.creationTimestamp", "date")),
)  # fmt: skip
class Namespace(Resource):
    """A space for names."""

    status: NamespaceStatus = field(factory=NamespaceStatus)


@kind(
    "", "v1", plural="configmaps", short_names=("cm",), builtin=True, has_generation=False,
    columns=(
        Column("Data", cell=lambda tree, _: len(tree.get("data") or {})), Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)  # fmt: skip
class ConfigMap(Resource):
    """Configuration as text."""

    data: dict[str, str] = field(factory=dict)
    immutable: bool | None = None


@struct
class Env:
    name: str
    value: str = ""


@struct
class Container:
    name: str
    image: str = ""
    env: list[Env] = field(factory=list, merge_key="name", merge_strategy="merge", list_type="map", list_map_keys=("name",))


@struct
class PodSpec:
    containers: list[Container] = field(
        factory=list, merge_key="name", merge_strategy="merge", list_type="map", list_map_keys=("name",)
    )
    node_name: str = ""


@struct
class PodTemplate:
    metadata: dict[str, Any] = field(factory=dict, preserve_unknown=True)
    spec: PodSpec = field(factory=PodSpec)


@struct
class DeploymentSpec:
    selector: dict[str, Any] = field(factory=dict, preserve_unknown=True)
    template: PodTemplate = field(factory=PodTemplate)
    replicas: int | None = field(default=None, doc="How many pods are wanted.", server_default=1, minimum=0)
    paused: bool | None = None


@struct
class DeploymentStatus:
    replicas: int = 0
    ready_replicas: int = 0


@kind(
    "apps", "v1", short_names=("deploy",), categories=("all",), builtin=True, scale=Scale(),
    columns=(
        Column("Ready", cell=lambda t, _: f"{t.get('status', {}).get('readyReplicas', 0)}/{t['spec'].get('replicas', 0)}"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Images", ".spec.template.spec.containers[*].image", priority=1),
    ),
)  # fmt: skip
class Deployment(Resource):
    """Deployment enables declarative updates for Pods and ReplicaSets."""

    spec: DeploymentSpec
    status: DeploymentStatus = field(factory=DeploymentStatus)


def bind(tree: Tree, body: Tree) -> Tree:
    return {**tree, "spec": {**tree["spec"], "nodeName": body["target"]["name"]}}


@kind("", "v1", short_names=("po",), builtin=True, selectable=("spec.nodeName",), hooks=Hooks(actions={"binding": bind}))
class Pod(Resource):
    """A group of processes."""

    spec: PodSpec


@struct
class WebSiteSpec:
    domain: str = field(default="", pattern="^[a-z.]*$", doc="Where it is reached.")
    pages: int = field(default=1, minimum=0)


@kind(
    "example.com",
    "v1",
    short_names=("ws",),
    columns=(Column("Domain", ".spec.domain"), Column("Pages", ".spec.pages", "integer")),
)
class WebSite(Resource):
    """A small web site."""

    spec: WebSiteSpec = field(factory=WebSiteSpec)


KINDS = (Namespace, ConfigMap, Deployment, Pod, WebSite)


@attrs.define
class Site:
    """One served API, and ways to reach it."""

    api: ApiServer
    server: HttpServer
    address: Address
    access: Access
    client: HttpClient
    kubeconfig: Path

    def kind(self, name: str) -> Kind:
        return next(k for k in self.api.kinds() if k.kind == name)


Serve = Callable[..., AbstractAsyncContextManager[Site]]


async def follow(tree: Tree, options: Any) -> AsyncIterator[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for line in range(int(options.get("tailLines", 2))):
            yield f"{tree['metadata']['name']} says {line}\n".encode()

    return chunks()


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials.load_or_make(tmp_path_factory.mktemp("pki"), SystemClock().now())


@pytest.fixture
def serve(tmp_path: Path, credentials: Credentials) -> Serve:
    """Start a server: over TLS with a token, or (tls=False) in the open."""

    @asynccontextmanager
    async def served(*, tls: bool = True, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Site]:
        clock = clock or SystemClock()
        async with await Store.open(":memory:", clock) as store:
            api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
            for cls in KINDS:
                api.serve(kind_of(cls))
            api.add_reader(kind_of(Pod), "log", follow)
            await api.create(kind_of(Namespace), {"metadata": {"name": "default"}})
            server = HttpServer(api, HttpSettings(credentials=credentials if tls else None, **settings))
            address = await server.start()
            access = Access(address.url, ca=credentials.ca_pem if tls else b"", token=credentials.token if tls else "")
            write(tmp_path / "kubeconfig", tree_of(access))
            access = access._replace(source=str(tmp_path / "kubeconfig"))
            client = HttpClient(access, clock)
            try:
                yield Site(api, server, address, access, client, tmp_path / "kubeconfig")
            finally:
                await client.close()
                await server.stop()

    return served
