"""`reconcile events`: what happened lately, oldest first."""

from __future__ import annotations

import time

import click

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree

from .printing import duration, examples, output_option, show, table
from .target import Target, target_options


@click.command(
    "events",
    epilog=examples("reconcile events", "reconcile events --for deploy/web", "reconcile events -w --types Warning"),
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("--for", "about", default="", metavar="KIND/NAME", help="Only those about one object.")
@click.option("--types", default="", help="Only these types: Normal, Warning.")
@click.option("-w", "--watch", "follow", is_flag=True, help="Go on as they come.")
@click.option("--no-headers", is_flag=True, help="Leave the headings out.")
@output_option("json", "yaml")
@target_options
def command(
    target: Target, all_namespaces: bool, about: str, types: str, follow: bool, no_headers: bool, output: str | None
) -> None:
    """List what happened lately."""
    resource = target.resolve("events")
    wanted = {word.strip().capitalize() for word in types.split(",") if word.strip()}
    query = {}
    if about:
        (named,) = target.named([about])
        query["fieldSelector"] = f"involvedObject.kind={named.resource.kind},involvedObject.name={named.name}"
    found = target.items(resource, all_namespaces=all_namespaces, **query)
    found = sorted((event for event in found if not wanted or event.get("type") in wanted), key=last_seen)
    if output:
        show(found, output)
    elif found:
        click.echo(event_table(found, all_namespaces, header=not no_headers))
    elif not follow:
        click.echo("No events found.", err=True)
    if follow:
        path = target.path(resource, all_namespaces=all_namespaces)
        revision = str(target.read(path, limit="1")["metadata"].get("resourceVersion", ""))
        for change in target.watch(path, resourceVersion=revision, **query):
            event = change["object"]
            if change["type"] in ("ADDED", "MODIFIED") and (not wanted or event.get("type") in wanted):
                if output:
                    show(event, output)
                else:
                    click.echo(event_table([event], all_namespaces, header=False))


def last_seen(event: Tree) -> str:
    """When it happened last (RFC 3339, comparable as text)."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def event_table(events: list[Tree], namespaced: bool = False, *, header: bool = True) -> str:
    """Events as kubectl prints them: when, type, reason, about what, message."""
    now = time.time()
    rows = []
    for event in events:
        seen = last_seen(event)
        age = duration(now - parse_timestamp(seen)) if seen else "<unknown>"
        count = event.get("count") or 1
        if count > 1 and event.get("firstTimestamp"):
            age += f" (x{count} over {duration(now - parse_timestamp(event['firstTimestamp']))})"
        about = event.get("involvedObject", {})
        row = [
            age,
            event.get("type"),
            event.get("reason"),
            f"{about.get('kind', '').lower()}/{about.get('name', '')}",
            event.get("message"),
        ]
        rows.append([event["metadata"].get("namespace", ""), *row] if namespaced else row)
    headings = ["Last Seen", "Type", "Reason", "Object", "Message"]
    return table(["Namespace", *headings] if namespaced else headings, rows, header=header)
