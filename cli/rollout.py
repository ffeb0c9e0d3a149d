"""`reconcile rollout`: follow it, look back, go back, do it again."""

from __future__ import annotations

import time

import click

from reconcile.clock import timestamp
from reconcile.errors import Tree

from .errors import CommandError, TimedOut
from .printing import examples, output_option, show, table
from .scene import rollout_of
from .target import FIELD_MANAGER, Named, Target, target_options

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_MERGE = "application/merge-patch+json"


@click.group(
    "rollout",
    epilog=examples(
        "reconcile rollout status deploy/web", "reconcile rollout undo deploy/web", "reconcile rollout history deploy/web"
    ),
)
def command() -> None:
    """Follow a Deployment's rollout, undo it, restart it, or show its history."""


def _deployment(target: Target, what: tuple[str, ...]) -> tuple[Named, str, Tree]:
    """The one Deployment that is named, its path, and its present state."""
    words = what if len(what) > 1 or "/" in what[0] else ("deployment", *what)
    found = target.named(words)
    if len(found) != 1 or not found[0].name:
        raise CommandError("name one deployment, for example deploy/web")
    named = found[0]
    if named.resource.kind != "Deployment":
        raise CommandError(f"{named.title}: rollouts are for Deployments")
    path = target.path(named.resource, named.name)
    return named, path, target.read(path)


@command.command("status")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("-w/-W", "--watch/--no-watch", "follow", default=True, help="Follow it to its end.  [default: watch]")
@click.option("--timeout", "timeout_s", type=float, default=0.0, help="Seconds to follow it [default: no limit].")
@target_options
def status(target: Target, what: tuple[str, ...], follow: bool, timeout_s: float) -> None:
    """Follow a rollout until it is complete; exit code 1 if it is stuck, 4 if it took too long."""
    named, _, tree = _deployment(target, what)
    deadline = time.monotonic() + timeout_s if timeout_s else None
    told = ""
    while True:
        line = _progress_line(named, tree)
        if line != told:
            click.echo(line)
            told = line
        now = rollout_of(tree)
        if now.done or not follow:
            return
        if _deadline_exceeded(tree):
            raise CommandError(
                f'deployment "{named.name}" exceeded its progress deadline; go back with `reconcile rollout undo {named.title}`'
            )
        tree = _next_state(target, named, tree, deadline)


def _next_state(target: Target, named: Named, tree: Tree, deadline: float | None) -> Tree:
    """The next state that the server tells of."""
    while True:
        left_s = 30.0 if deadline is None else deadline - time.monotonic()
        if left_s <= 0:
            raise TimedOut(f"{named.title}: not complete in time: {_progress_line(named, tree)}")
        events = target.watch(
            target.path(named.resource), resourceVersion=str(tree["metadata"]["resourceVersion"]),
            fieldSelector=f"metadata.name={named.name}", timeoutSeconds=str(max(1, min(30, int(left_s + 0.999)))),
        )  # fmt: skip
        for event in events:
            if event["type"] == "DELETED":
                raise CommandError(f"{named.title} was deleted")
            if event["type"] == "MODIFIED":
                found: Tree = event["object"]
                return found


def _progress_line(named: Named, tree: Tree) -> str:
    """As kubectl words it."""
    now = rollout_of(tree)
    if now.done:
        return f'deployment "{named.name}" successfully rolled out'
    waiting = f'Waiting for deployment "{named.name}" rollout to finish: '
    if tree.get("status", {}).get("observedGeneration", 0) < tree["metadata"].get("generation", 0):
        return "Waiting for deployment spec update to be observed..."
    if now.updated < now.wanted:
        return f"{waiting}{now.updated} out of {now.wanted} new replicas have been updated..."
    if now.old:
        return f"{waiting}{now.old} old replicas are pending termination..."
    return f"{waiting}{now.available} of {now.updated} updated replicas are available..."


def _deadline_exceeded(tree: Tree) -> bool:
    return any(c.get("reason") == "ProgressDeadlineExceeded" for c in tree.get("status", {}).get("conditions", ()))


def _history(target: Target, tree: Tree) -> dict[int, Tree]:
    """The Deployment's ReplicaSets by revision."""
    uid = tree["metadata"]["uid"]
    labels = ",".join(f"{k}={v}" for k, v in (tree["spec"].get("selector", {}).get("matchLabels") or {}).items())
    found = target.items(target.resolve("replicasets.apps"), labelSelector=labels)
    return {
        int(rs["metadata"].get("annotations", {}).get(REVISION, 0)): rs
        for rs in found
        if any(owner.get("uid") == uid and owner.get("controller") for owner in rs["metadata"].get("ownerReferences", ()))
    }


@command.command("history")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--revision", type=int, default=0, help="Show this revision's pod template.")
@output_option("json", "yaml")
@target_options
def history(target: Target, what: tuple[str, ...], revision: int, output: str | None) -> None:
    """List the revisions that `undo` can go back to."""
    named, _, tree = _deployment(target, what)
    found = _history(target, tree)
    if revision:
        if revision not in found:
            raise CommandError(
                f"unable to find the specified revision: {revision}; there are {', '.join(map(str, sorted(found)))}"
            )
        show(_template(found[revision]), output or "yaml")
        return
    if output:
        show([found[number] for number in sorted(found)], output)
        return
    rows = []
    for number in sorted(found):
        replicas = found[number].get("status", {}).get("replicas", 0)
        cause = found[number]["metadata"].get("annotations", {}).get(CHANGE_CAUSE)
        rows.append([number, found[number]["metadata"]["name"], replicas, cause])
    click.echo(named.title)
    click.echo(table(["Revision", "ReplicaSet", "Pods", "Change-cause"], rows))


def _template(replica_set: Tree) -> Tree:
    """A ReplicaSet's pod template without what the Deployment controller added."""
    template = replica_set["spec"]["template"]
    metadata = template.get("metadata", {})
    labels = {key: value for key, value in metadata.get("labels", {}).items() if key != "pod-template-hash"}
    return {**template, "metadata": {**metadata, "labels": labels}}


@command.command("undo")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--to-revision", type=int, default=0, help="Which [default: the one before the present one].")
@target_options
def undo(target: Target, what: tuple[str, ...], to_revision: int) -> None:
    """Go back to an earlier revision. If a watched file declares the Deployment, change the file too: it wins when it changes."""
    named, path, tree = _deployment(target, what)
    if tree["spec"].get("paused"):
        raise CommandError(f"{named.title} is paused; resume it first: `reconcile rollout resume {named.title}`")
    found = _history(target, tree)
    earlier = sorted(found)[:-1]
    if not to_revision and not earlier:
        raise CommandError(f"no rollout history found for {named.title}")
    number = to_revision or earlier[-1]
    if number not in found:
        raise CommandError(
            f"unable to find specified revision {number} in history; there are {', '.join(map(str, sorted(found)))}"
        )
    template = _template(found[number])
    if template == tree["spec"]["template"]:
        click.echo(f"{named.title} skipped rollback (current template already matches revision {number})")
        return
    body = [{"op": "replace", "path": "/spec/template", "value": template}]
    target.write("PATCH", path, body, content_type="application/json-patch+json", fieldManager=FIELD_MANAGER)
    click.echo(f"{named.title} rolled back to revision {number}")


@command.command("restart")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@target_options
def restart(target: Target, what: tuple[str, ...]) -> None:
    """Replace all pods, one after the other."""
    named, path, _ = _deployment(target, what)
    annotations = {RESTARTED_AT: timestamp(time.time())}
    body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    target.write("PATCH", path, body, content_type=_MERGE, fieldManager=FIELD_MANAGER)
    click.echo(f"{named.title} restarted")


@command.command("pause")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@target_options
def pause(target: Target, what: tuple[str, ...]) -> None:
    """Hold the rollout where it is; changes are collected until `resume`."""
    _set_paused(target, what, True)


@command.command("resume")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@target_options
def resume(target: Target, what: tuple[str, ...]) -> None:
    """Go on with a paused rollout."""
    _set_paused(target, what, False)


def _set_paused(target: Target, what: tuple[str, ...], paused: bool) -> None:
    named, path, tree = _deployment(target, what)
    if bool(tree["spec"].get("paused")) == paused:
        raise CommandError(f"{named.title} is {'already' if paused else 'not'} paused")
    target.write("PATCH", path, {"spec": {"paused": paused}}, content_type=_MERGE, fieldManager=FIELD_MANAGER)
    click.echo(f"{named.title} {'paused' if paused else 'resumed'}")
