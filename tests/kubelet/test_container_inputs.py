"""What a container is given: environment, volumes, mounts, expansions; and atomic changes of files."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import attrs
import pytest

from reconcile.clock import timestamp
from reconcile.errors import NotFoundError, Tree
from reconcile.resources.kubelet.api_access import api_environment
from reconcile.resources.kubelet.atomic import Projection, write_atomically
from reconcile.resources.kubelet.environment import SourceKind, environment, service_links
from reconcile.resources.kubelet.errors import PodConfigError, UnsafePathError
from reconcile.resources.kubelet.expansion import expand
from reconcile.resources.kubelet.mounts import link_relative, mounts_of
from reconcile.resources.kubelet.volumes import PodVolumes, sources_of
from reconcile.runtime.client.kubeconfig import load

ADDRESSES = {"podIP": "127.9.0.1", "hostIP": "127.0.0.1"}


@attrs.define
class Objects:
    """ConfigMaps, Secrets and Services in a dict."""

    trees: dict[tuple[str, str], Tree] = attrs.field(factory=dict)
    links: list[Tree] = attrs.field(factory=list)
    token_lasts_s: float | None = None
    granted: int = 0

    async def claimed(self, namespace: str, name: str) -> tuple[Path | None, str]:
        return None, f'persistentvolumeclaim "{name}" not found'

    async def source(self, kind: SourceKind, namespace: str, name: str) -> Tree | None:
        return self.trees.get((kind, name))

    async def services(self, namespace: str) -> Sequence[Tree]:
        return self.links

    async def token(self, pod: Tree, audience: str, lasts_s: int) -> tuple[str, str]:
        if self.token_lasts_s is None:
            raise NotFoundError('serviceaccounts "default" not found')
        self.granted += 1
        return f"{pod['metadata']['name']} for {audience or 'the API'}, {self.granted}", timestamp(self.token_lasts_s)

    def put(self, kind: SourceKind, name: str, data: dict[str, str]) -> None:
        if kind == "Secret":
            data = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.trees[kind, name] = {"metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(container: Tree, volumes: Sequence[Tree] = ()) -> Tree:
    meta = {"name": "p", "namespace": "default", "uid": "u1", "labels": {"app": "web"}}
    return {"metadata": meta, "spec": {"nodeName": "n", "containers": [container], "volumes": list(volumes)}}


async def env_of(container: Tree, objects: Objects | None = None, **given: str) -> dict[str, str]:
    return await environment(
        pod({"name": "c", **container}), {"name": "c", **container}, objects or Objects(), given=given, addresses=ADDRESSES,
        allocatable={"cpu": "2", "memory": "1Gi"},
    )  # fmt: skip  # one field a word reads better packed


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)-$(B)", "1-$(B)"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$A ${A} $", "$A ${A} $"), ("$(A", "$(A"), ("", "")],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    """Shell syntax is left to the shell; what is not known is left as it stands."""
    assert expand(text, {"A": "1"}) == expanded


async def test_later_variables_win_and_see_earlier_ones() -> None:
    """envFrom, then env in order; a later one may use the ones before, and none after."""
    objects = Objects()
    objects.put("ConfigMap", "settings", {"A": "from map", "B": "map", "not a name=": "x"})
    env = [{"name": "A", "value": "own"}, {"name": "C", "value": "$(A) $(B) $(X_B) $(D) $(PORT)"}, {"name": "D", "value": "late"}]
    sources = [{"configMapRef": {"name": "settings"}}, {"prefix": "X_", "configMapRef": {"name": "settings"}}]
    result = await env_of({"envFrom": sources, "env": env}, objects, PORT="80", A="given")
    assert result["A"] == "own"
    assert result["C"] == "own map map $(D) 80"
    assert "not a name=" not in result


async def test_values_come_from_secrets_fields_and_resources() -> None:
    """The downward API: what a pod knows of itself."""
    objects = Objects()
    objects.put("Secret", "keys", {"token": "s3cret"})
    env = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "0"}}},
    ]
    result = await env_of({"env": env, "resources": {"limits": {"cpu": "250m"}}}, objects)
    wanted = {"TOKEN": "s3cret", "IP": "127.9.0.1", "APP": "web", "CPU": "250", "MEMORY": str(1024**3)}
    assert {name: result[name] for name in wanted} == wanted


async def test_limits_that_a_container_leaves_out_are_its_pods() -> None:
    """Before those of the node: the Pod's are what all of its containers share."""
    wanted = {name: {"resource": f"limits.{name}"} for name in ("cpu", "memory")}
    container: Tree = {
        "name": "c",
        "env": [{"name": name, "valueFrom": {"resourceFieldRef": ref}} for name, ref in wanted.items()],
    }
    tree = pod(container)
    tree["spec"]["resources"] = {"limits": {"memory": "64Mi"}}
    made = await environment(
        tree, container, Objects(), given={}, addresses=ADDRESSES, allocatable={"cpu": "2", "memory": "1Gi"}
    )  # fmt: skip
    assert (made["cpu"], made["memory"]) == ("2", "67108864")


async def test_a_missing_key_says_which_unless_it_is_optional() -> None:
    """CreateContainerConfigError must name what to create."""
    objects = Objects()
    objects.put("ConfigMap", "settings", {"a": "1"})
    wanted: Tree = {"name": "settings", "key": "b"}
    with pytest.raises(PodConfigError, match="couldn't find key b in ConfigMap default/settings") as caught:
        await env_of({"env": [{"name": "B", "valueFrom": {"configMapKeyRef": wanted}}]}, objects)
    assert caught.value.reason == "CreateContainerConfigError"
    wanted["optional"] = True
    assert await env_of({"env": [{"name": "B", "valueFrom": {"configMapKeyRef": wanted}}]}, objects) == {}


def test_service_links_name_host_and_ports() -> None:
    """Docker's old convention, still on by default."""
    spec = {"clusterIP": "127.9.1.1", "ports": [{"port": 80, "name": "http"}, {"port": 443}]}
    links = service_links(
        [{"metadata": {"name": "my-web"}, "spec": spec}, {"metadata": {"name": "x"}, "spec": {"clusterIP": "None"}}]
    )
    assert links["MY_WEB_SERVICE_HOST"] == "127.9.1.1"
    assert links["MY_WEB_SERVICE_PORT"] == links["MY_WEB_SERVICE_PORT_HTTP"] == "80"
    assert links["MY_WEB_PORT_443_TCP"] == "tcp://127.9.1.1:443"
    assert not any(name.startswith("X_") for name in links)


def test_files_change_as_one(tmp_path: Path) -> None:
    """A reader that opens two files never sees one old and one new: the swap is one rename."""
    assert write_atomically(tmp_path, {"a": Projection(b"1"), "d/b": Projection(b"1", 0o600)}, "v1")
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "..data") == "..v1"
    assert not write_atomically(tmp_path, {"a": Projection(b"1"), "d/b": Projection(b"1", 0o600)}, "v2")
    assert write_atomically(tmp_path, {"a": Projection(b"2")}, "v3")
    assert (tmp_path / "a").read_bytes() == b"2"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["..data", "..v3", "a"]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "..data", "a/../../b", ""])
def test_a_volume_file_cannot_leave_its_volume(tmp_path: Path, path: str) -> None:
    """A ConfigMap's author is not the machine's owner."""
    with pytest.raises(UnsafePathError):
        write_atomically(tmp_path / "v", {path: Projection(b"x")}, "v1")


async def test_volumes_hold_what_their_sources_say(tmp_path: Path) -> None:
    """Items choose and rename keys; a projected volume gathers several sources; modes are kept."""
    objects = Objects()
    objects.put("ConfigMap", "settings", {"a": "A", "b": "B"})
    objects.put("Secret", "keys", {"token": "T"})
    fields = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    volumes = [
        {"name": "one", "configMap": {"name": "settings", "items": [{"key": "a", "path": "x/renamed", "mode": 0o400}]}},
        {"name": "all", "projected": {"sources": [{"secret": {"name": "keys"}}, {"downwardAPI": {"items": fields}}]}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "absent", "secret": {"secretName": "none", "optional": True}},
    ]
    numbers = count()
    made = PodVolumes(tmp_path, objects, lambda: str(next(numbers)), lambda: 0.0)
    assert await made.prepare(pod({"name": "c"}, volumes), ADDRESSES, {})
    assert (made.paths["one"] / "x/renamed").read_text() == "A"
    assert (made.paths["one"] / "x/renamed").stat().st_mode & 0o777 == 0o400
    assert (made.paths["all"] / "token").read_text() == "T"
    assert (made.paths["all"] / "labels").read_text() == 'app="web"'
    assert made.paths["scratch"].is_dir()
    assert not await made.prepare(pod({"name": "c"}, volumes), ADDRESSES, {})


async def test_a_volume_that_cannot_be_had_says_why(tmp_path: Path) -> None:
    """FailedMount with the volume's name and what is missing."""
    made = PodVolumes(tmp_path, Objects(), lambda: "v", lambda: 0.0)
    for volume, message in (
        ({"name": "v", "configMap": {"name": "no"}}, 'configmap "no" not found'),
        ({"name": "v", "hostPath": {"path": str(tmp_path / "no"), "type": "Directory"}}, "is not a Directory"),
        ({"name": "v", "nfs": {"server": "x"}}, "cannot provide a nfs volume"),
    ):
        with pytest.raises(PodConfigError, match=message):
            await made.prepare(pod({"name": "c"}, [volume]), ADDRESSES, {})


async def test_a_token_is_kept_until_most_of_its_life_is_over(tmp_path: Path) -> None:
    """Each look at the volume would otherwise cost a signature, and change the files under the program that reads them."""
    now, objects = [1000.0], Objects(token_lasts_s=4600.0)
    numbers = count()
    made = PodVolumes(tmp_path, objects, lambda: str(next(numbers)), lambda: now[0])
    assert not made.due_at
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"serviceAccountToken": {"path": "vault/token", "expirationSeconds": 3600, "audience": "vault"}},
    ]
    volumes = [{"name": "v", "projected": {"sources": sources}}]
    assert await made.prepare(pod({"name": "c"}, volumes), ADDRESSES, {})
    file = made.paths["v"] / "token"
    assert (file.read_text(), (made.paths["v"] / "vault/token").read_text()) == ("p for the API, 1", "p for vault, 2")
    due_at = made.due_at or 0.0
    assert due_at == 1000 + 3600 * 0.8
    now[0] = due_at - 1
    assert not await made.prepare(pod({"name": "c"}, volumes), ADDRESSES, {})
    now[0], objects.token_lasts_s = due_at, due_at + 3600
    assert await made.prepare(pod({"name": "c"}, volumes), ADDRESSES, {})
    assert file.read_text() == "p for the API, 3"
    assert made.due_at == now[0] + 3600 * 0.8


async def test_a_token_that_cannot_be_had_is_said_to_be_missing(tmp_path: Path) -> None:
    """A program without its token fails in ways that are harder to understand."""
    made = PodVolumes(tmp_path, Objects(), lambda: "v", lambda: 0.0)
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    with pytest.raises(PodConfigError, match='failed to fetch token: serviceaccounts "default" not found'):
        await made.prepare(pod({"name": "c"}, [volume]), ADDRESSES, {})


def test_a_container_finds_the_api_by_variables_and_a_kubeconfig(tmp_path: Path) -> None:
    """Nothing can be mounted where clients look first; `load` is how ours reads what others read as well."""
    volume = tmp_path / "v"
    write_atomically(volume, {"token": Projection(b"T"), "ca.crt": Projection(b"CA")}, "v1")
    mount = {"name": "access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount/", "readOnly": True}
    found = api_environment({"volumeMounts": [mount]}, "ns", ("127.0.0.1", 6443), {"access": volume}, tmp_path)
    assert (found["KUBERNETES_SERVICE_HOST"], found["KUBERNETES_SERVICE_PORT"]) == ("127.0.0.1", "6443")
    access = load(environ={"KUBECONFIG": found["KUBECONFIG"]})
    assert (access.server, access.namespace, access.bearer(), access.ca) == ("https://127.0.0.1:6443", "ns", "T", b"CA")
    write_atomically(volume, {"token": Projection(b"newer"), "ca.crt": Projection(b"CA")}, "v2")
    assert access.bearer() == "newer"
    assert "KUBECONFIG" not in api_environment({}, "ns", ("::1", 6443), {}, tmp_path)


def test_every_source_of_a_pod_is_known() -> None:
    """What is not listed here is not watched, and its changes are missed."""
    container: Tree = {
        "name": "c", "envFrom": [{"secretRef": {"name": "s1"}}],
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m1", "key": "k"}}}],
    }  # fmt: skip  # one field a word reads better packed
    volumes = [
        {"name": "v", "secret": {"secretName": "s2"}},
        {"name": "w", "projected": {"sources": [{"configMap": {"name": "m2"}}]}},
    ]
    found = set(sources_of(pod(container, volumes)["spec"]))
    assert found == {("Secret", "s1"), ("ConfigMap", "m1"), ("Secret", "s2"), ("ConfigMap", "m2")}


def test_absolute_mount_paths_are_pointed_at_the_volume(tmp_path: Path) -> None:
    """Nothing can be mounted there; whole paths are rewritten, look-alikes are not."""
    files, cache = tmp_path / "files", tmp_path / "cache"
    files.mkdir()
    container = {
        "volumeMounts": [
            {"name": "files", "mountPath": "/etc/app"}, {"name": "cache", "mountPath": "/etc/app/cache/"},
            {"name": "files", "mountPath": "local"},
        ]
    }  # fmt: skip  # one a column
    own = tmp_path / "pod"
    mounts = mounts_of(container, {"files": files, "cache": cache}, own / "root", {})
    assert mounts.rewritten("--config=/etc/app/x.yaml") == f"--config={files}/x.yaml"
    assert mounts.rewritten("cat /etc/app/cache/y '/etc/app'") == f"cat {cache}/y '{files}'"
    assert mounts.rewritten("/etc/application /srv/etc/app /etc/app.bak") == "/etc/application /srv/etc/app /etc/app.bak"
    assert mounts.variables["VOLUME_FILES"] == str(files)
    assert (own / "root/etc/app").resolve() == files
    assert link_relative(mounts, str(own), own) == []
    assert (own / "local").resolve() == files
    assert link_relative(mounts, str(tmp_path / "elsewhere"), own) == ["local"]
