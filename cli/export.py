"""`reconcile export app.py`: what a cluster needs to run an operator: definitions, rights, and the Deployment itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import CommandError
from .printing import examples

if TYPE_CHECKING:
    from reconcile.permissions import Permissions

Tree = dict[str, Any]  # Any: a manifest
_PARTS = ("crds", "rbac", "deployment")
_PORT, _WEBHOOKS_PORT = 8080, 9443
_SOURCES_BYTES_MAX = 900_000


@click.command(
    "export",
    epilog=examples(
        "reconcile export app.py | kubectl apply -f -",
        "reconcile export app.py --only crds",
        "reconcile export app.py --only rbac --observed rights.json",
        "reconcile export app.py -n shop --namespaced --image registry.example.com/shop:1",
    ),
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-m", "--module", "modules", multiple=True, help="A module to import, instead of files.")
@click.option("--only", multiple=True, type=click.Choice(_PARTS), help="Only this part; may be given several times.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where the operator runs.")
@click.option("--namespaced", is_flag=True, help="Handle objects of that namespace alone: a Role, no ClusterRole.")
@click.option("--image", default="", help="An image with reconcile-toolkit in it [default: python, which installs it first].")
@click.option("--replicas", type=click.IntRange(min=1), default=1, show_default=True, help="More than one elects a leader.")
@click.option(
    "--observed",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rights that were seen to be used (`run --observe`, `pytest --observe`); may be given several times.",
)
@click.option("--shard", is_flag=True, help="Replicas elect no leader, but share the objects.")
def command(
    files: tuple[Path, ...], modules: tuple[str, ...], only: tuple[str, ...], namespace: str, namespaced: bool, image: str,
    replicas: int, observed: tuple[Path, ...], shard: bool,
) -> None:  # fmt: skip
    """Print the manifests of the operator that FILES declare.

    The CustomResourceDefinitions of its kinds; a ServiceAccount with the least rights, derived from its handlers and their
    source; and a Deployment that runs it, with probes. Rights that cannot be derived are told in comments.
    """
    import yaml

    from .programs import Programs, operators_of

    operators = operators_of(Programs(files, modules).load())
    name = next((op.domain for op in operators if op.handlers), operators[0].domain).replace(".", "-")
    wanted = only or _PARTS
    notes, manifests = [], []
    if "crds" in wanted:
        from reconcile.crd import definitions_of

        def converter(resource: str) -> Tree:
            service = {"namespace": namespace, "name": name, "port": _WEBHOOKS_PORT, "path": f"/convert/{resource}"}
            return {"service": service}  # the operator puts itself here, with its authority, when it begins

        manifests += definitions_of([cls for op in operators for cls in op.kinds], converter)
    if "rbac" in wanted:
        from reconcile.permissions import permissions_of

        permissions = permissions_of(operators, lease=name)
        notes = permissions.notes
        if observed:
            notes += _compared(permissions, observed)
        manifests += _rights(name, namespace, permissions.rules(), namespaced=namespaced, shard=shard)
    if "deployment" in wanted:
        from reconcile.permissions import resources_converted

        run = ["--shard"] if shard else []
        run += [*(f"/app/{file.name}" for file in files), *(word for module in modules for word in ("-m", module))]
        admits = any(h.trigger in ("mutate", "validate") for op in operators for h in op.handlers)
        if admits or resources_converted(operators):
            run += ["--webhooks", f"{name}.{namespace}.svc:{_WEBHOOKS_PORT}"]
            manifests.append(_service(name, namespace))
        manifests += _deployment(name, namespace, run, files, namespaced=namespaced, image=image, replicas=replicas)
    for note in notes:
        click.echo(f"# {note}")
    yaml.safe_dump_all(manifests, sys.stdout, sort_keys=False, width=130)


def _compared(declared: Permissions, files: tuple[Path, ...]) -> list[str]:
    """Add what was seen to what is declared; in words, what either has and the other has not."""
    import json

    from reconcile.permissions import Permissions, beyond, permissions_from

    seen = Permissions()
    for file in files:
        try:
            found = permissions_from(json.loads(file.read_bytes()))
        except ValueError as error:
            raise CommandError(f"{file}: {error}") from error
        for (group, resource), verbs in found.verbs.items():
            if group != "coordination.k8s.io":  # the Lease's rights are known
                seen.grant(group, resource, *verbs)
    more = [f"seen but not declared, and granted: {line}" for line in beyond(seen, declared)]
    compared = Permissions({key: verbs for key, verbs in declared.verbs.items() if key[0] != "coordination.k8s.io"})
    unseen = [f"declared but never seen, and granted all the same: {line}" for line in beyond(compared, seen)]
    for (group, resource), verbs in seen.verbs.items():
        declared.grant(group, resource, *verbs)
    return [*more, *unseen]


def _rights(name: str, namespace: str, rules: list[Tree], *, namespaced: bool, shard: bool) -> list[Tree]:
    """Cluster-wide what it handles; in its own namespace the Lease, which is named like it (or Leases, that are named anew)."""
    lease = [rule for rule in rules if rule["apiGroups"] == ["coordination.k8s.io"]]
    others = [rule for rule in rules if rule not in lease]
    leases: Tree = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    lease_rules = [
        {**leases, "verbs": ["create"]},
        {**leases, "resourceNames": [name], "verbs": ["get", "update"]},
    ]
    if shard:
        lease_rules = [{**leases, "verbs": ["get", "list", "create", "update", "delete"]}]
    made = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}]
    if namespaced:
        return [*made, *_role(name, namespace, [*others, *lease_rules], cluster=False)]
    return [
        *made,
        *_role(name, namespace, others, cluster=True),
        *_role(f"{name}-lease", namespace, lease_rules, cluster=False, account=name),
    ]


def _role(name: str, namespace: str, rules: list[Tree], *, cluster: bool, account: str = "") -> list[Tree]:
    kind = "ClusterRole" if cluster else "Role"
    group = "rbac.authorization.k8s.io"
    meta: Tree = {"name": name} if cluster else {"name": name, "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": account or name, "namespace": namespace}
    return [
        {"apiVersion": f"{group}/v1", "kind": kind, "metadata": dict(meta), "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": f"{kind}Binding",
            "metadata": dict(meta),
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [subject],
        },
    ]


def _deployment(
    name: str, namespace: str, run: list[str], files: tuple[Path, ...], *, namespaced: bool, image: str, replicas: int
) -> list[Tree]:
    options = ["--listen", f":{_PORT}", "--elect-name", name, *(["-n", namespace] if namespaced else [])]
    argv = ["reconcile", "run", *run, *options]
    command = (
        argv
        if image
        else [
            "sh",
            "-c",
            "pip install -q --target /tmp/site reconcile-toolkit && exec python -m reconcile.cli " + _shell(argv[1:]),
        ]
    )
    container: Tree = {
        "name": "operator",
        "image": image or f"python:{sys.version_info.major}.{sys.version_info.minor}-slim",
        "command": command,
        "ports": [{"name": "health", "containerPort": _PORT}],
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "health"}, "initialDelaySeconds": 30, "periodSeconds": 10},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    if not image:
        container["env"] = [{"name": "PYTHONPATH", "value": "/tmp/site"}]  # noqa: S108 - of the container
    labels = {"app.kubernetes.io/name": name}
    spec: Tree = {
        "serviceAccountName": name,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
    }
    manifests: list[Tree] = []
    if files:
        manifests.append(_sources(name, namespace, files))
        container["volumeMounts"] = [{"name": "app", "mountPath": "/app"}]
        spec["volumes"] = [{"name": "app", "configMap": {"name": name}}]
    template = {"metadata": {"labels": labels}, "spec": spec}
    return [
        *manifests,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        },
    ]


def _service(name: str, namespace: str) -> Tree:
    """How the API server reaches the operator's webhooks."""
    port = {"name": "webhooks", "port": _WEBHOOKS_PORT, "targetPort": _WEBHOOKS_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app.kubernetes.io/name": name}, "ports": [port]},
    }


def _sources(name: str, namespace: str, files: tuple[Path, ...]) -> Tree:
    data = {file.name: file.read_text() for file in files}
    if len(data) < len(files):
        raise CommandError("two files have the same name; put them into an image, and export with -m")
    if sum(map(len, data.values())) > _SOURCES_BYTES_MAX:
        raise CommandError("the files are too large for a ConfigMap; put them into an image, and export with -m and --image")
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def _shell(words: list[str]) -> str:
    import shlex

    return shlex.join(words)
