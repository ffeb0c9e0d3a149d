"""`reconcile describe`: an object, what belongs to it, and what happened to it, for reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from reconcile.errors import NotFoundError, Tree

from .describing import DESCRIBERS, Lines, generic
from .errors import EXIT_REFUSED, CommandError
from .events import event_table, last_seen
from .printing import examples
from .target import Named, Target, message_of, target_options


@click.command(
    "describe",
    epilog=examples(
        "reconcile describe deploy/web", "reconcile describe pod web-7d4b9c-x2x5q", "reconcile describe pods -l app=web"
    ),
)
@click.argument("what", nargs=-1, metavar="KIND [NAME...] | KIND/NAME...")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", default="", help="Only objects with these labels.")
@click.option("--show-events/--no-events", default=True, help="End with the object's events.  [default: show]")
@target_options
def command(target: Target, what: tuple[str, ...], all_namespaces: bool, selector: str, show_events: bool) -> None:
    """Show an object in full: its state, its conditions, what is wrong with it, and its events."""
    printed, failed = 0, False
    for named in target.named(what):
        try:
            if named.name:
                trees = [target.read(target.path(named.resource, named.name))]
            else:
                trees = target.items(named.resource, all_namespaces=all_namespaces, labelSelector=selector)
        except NotFoundError as error:
            click.echo(message_of(error), err=True)
            failed = True
            continue
        for tree in trees:
            if printed:
                click.echo("\n")
            click.echo(_described(target, named, tree, show_events))
            printed += 1
    if failed:
        raise click.exceptions.Exit(EXIT_REFUSED)
    if not printed:
        click.echo(f"No resources found in {target.namespace} namespace.", err=True)


def _described(target: Target, named: Named, tree: Tree, with_events: bool) -> str:
    lines = Lines()
    metadata = tree["metadata"]
    lines.fact("Name", metadata["name"])
    if metadata.get("namespace"):
        lines.fact("Namespace", metadata["namespace"])
    lines.mapping("Labels", metadata.get("labels"))
    lines.mapping("Annotations", metadata.get("annotations"))
    lines.fact("Created", metadata.get("creationTimestamp"))
    if metadata.get("deletionTimestamp"):
        waits = ", ".join(metadata.get("finalizers") or ()) or "its processes"
        lines.fact("Terminating", f"since {metadata['deletionTimestamp']}, waits for {waits}")
    owner = next((o for o in metadata.get("ownerReferences", ()) if o.get("controller")), None)
    if owner:
        lines.fact("Controlled By", f"{owner['kind']}/{owner['name']}")
    describe: Callable[[Tree, Lines, Callable[..., list[Tree]]], None] = DESCRIBERS.get(named.resource.kind, generic)

    def related(word: str, **query: Any) -> list[Tree]:
        try:
            return target.items(target.resolve(word), **query)
        except CommandError:
            return []

    describe(tree, lines, related)
    if with_events:
        _events(target, tree, lines)
    return str(lines)


def _events(target: Target, tree: Tree, lines: Lines) -> None:
    try:
        resource = target.resolve("events")
    except CommandError:
        return
    metadata = tree["metadata"]
    query = f"involvedObject.name={metadata['name']},involvedObject.uid={metadata.get('uid', '')}"
    found = sorted(target.items(resource, all_namespaces=not metadata.get("namespace"), fieldSelector=query), key=last_seen)
    if not found:
        lines.fact("Events", "<none>")
        return
    lines.text("Events:")
    lines.text("\n".join("  " + line for line in event_table(found).splitlines()))
