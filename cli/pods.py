"""Which pods a command line means: a pod's name, or KIND/NAME of something that pods belong to."""

from __future__ import annotations

import click

from reconcile.errors import Tree

from .errors import CommandError
from .target import Named, Target


def pods_of(target: Target, what: tuple[str, ...], selector: str, everything: bool) -> list[Tree]:
    """The pods that the command line means."""
    resource = target.resolve("pods")
    if selector or (everything and not what):
        return target.items(resource, labelSelector=selector)
    if not what:
        raise CommandError("name a pod, a deployment (`deploy/web`), or say --selector or --all")
    words = list(what) if "/" in what[0] or len(what) > 1 else ["pod", what[0]]
    found: list[Tree] = []
    for named in target.named(words):
        tree = target.read(target.path(named.resource, named.name))
        if named.resource.kind == "Pod":
            found.append(tree)
            continue
        members = target.items(resource, labelSelector=selector_of(named, tree))
        newest = sorted(members, key=lambda pod: pod["metadata"].get("creationTimestamp", ""), reverse=True)
        found += newest if everything else newest[:1]
        if len(members) > 1 and not everything:
            click.echo(f"{named.title} has {len(members)} pods, using {newest[0]['metadata']['name']}; --all shows all", err=True)
    return found


def pod_of(target: Target, what: str) -> Tree:
    """The one pod that a command line means: of several that belong together, one that is ready.

    Raises:
        CommandError: there is none.
    """
    (named,) = target.named([what] if "/" in what else ["pod", what])
    tree = target.read(target.path(named.resource, named.name))
    if named.resource.kind == "Pod":
        return tree
    members = target.items(target.resolve("pods"), labelSelector=selector_of(named, tree))
    if not members:
        raise CommandError(f"{named.title} has no pods; see `reconcile describe {what}`")
    return max(members, key=_readiness)


def _readiness(pod: Tree) -> tuple[bool, str]:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp"), pod["metadata"].get("creationTimestamp", "")


def selector_of(named: Named, tree: Tree) -> str:
    """The label selector of what a command line names."""
    selector = tree.get("spec", {}).get("selector") or {}
    labels = selector.get("matchLabels", selector if named.resource.kind == "Service" else {})
    if not labels:
        raise CommandError(f"{named.title} selects no pods")
    return ",".join(f"{key}={value}" for key, value in labels.items())
