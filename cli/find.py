"""`reconcile find`: which objects were so, and when."""

from __future__ import annotations

import time

import click

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree

from .causes import ask
from .errors import CommandError
from .past import revision_of
from .printing import duration, examples, output_option, show, table
from .target import Target, target_options


@click.command(
    "find",
    epilog=examples(
        "reconcile find pods status.phase=Failed",
        "reconcile find deployments -l app=web spec.replicas=0 --from 1h",
        "reconcile find pods spec.nodeName=node-3 --at 2026-11-27T03:00:00Z",
    ),
)
@click.argument("kind")
@click.argument("fields", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("-l", "--selector", default="", help="Only objects with these labels, such as app=web,tier!=db.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("--at", "moment", default="", metavar="REV|TIME", help="That were so at one moment.")
@click.option("--from", "since", default="", metavar="REV|TIME", help="Search from here on [default: where history begins].")
@click.option("--to", "until", default="", metavar="REV|TIME", help="Search up to here [default: now].")
@output_option("json", "yaml", "name")
@target_options
def command(
    target: Target, kind: str, fields: tuple[str, ...], selector: str, all_namespaces: bool, moment: str, since: str, until: str,
    output: str | None,
) -> None:  # fmt: skip
    """Search history: which objects of a kind had these labels and field values, from when to when, and who made them so.

    FIELD is a path, such as spec.replicas; `=`, `==` and `!=` compare with its value as text, where nothing is empty. Objects
    that are gone by now are found, too.
    """
    if moment and (since or until):
        raise CommandError("--at names one moment, --from and --to a time; give one or the other")
    resource = target.resolve(kind)
    query = {"resource": resource.qualified, "labels": selector, "fields": ",".join(field.removeprefix(".") for field in fields)}
    if resource.namespaced and not all_namespaces:
        query["namespace"] = target.namespace
    for name, text in (("from", moment or since), ("to", moment or until)):
        if text:
            query[name] = revision_of(target, text)
    told = ask(target, "find", **query)
    if output in ("json", "yaml"):
        show(told, output)
        return
    if output == "name":
        for name in dict.fromkeys(f"{resource.qualified}/{item['name']}" for item in told["items"]):
            click.echo(name)
        return
    _print(told, namespaces=all_namespaces and resource.namespaced)


def _print(told: Tree, *, namespaces: bool) -> None:
    if not told["items"]:
        click.echo(f"nothing was so between revision {told['first']} and {told['last']}", err=True)
        return
    now = time.time()
    rows = [
        [
            *([item["namespace"]] if namespaces else []), item["name"], _when(item["from"], f"before {told['first']}", now),
            _when(item["to"], "still" , now), (item["from"] or {}).get("by") or "unknown",
        ]
        for item in told["items"]
    ]  # fmt: skip
    click.echo(table([*(["Namespace"] if namespaces else []), "Name", "From", "To", "Made so by"], rows))
    if told["more"]:
        click.echo(f"... and more; these are the first {len(rows)}. Narrow it with --from, or more fields.", err=True)


def _when(at: Tree | None, otherwise: str, now: float) -> str:
    if at is None:
        return otherwise
    age = f" ({duration(now - parse_timestamp(at['time']))} ago)" if at["time"] else ""
    return f"rev {at['revision']}{age}" + (", deleted" if at["type"] == "DELETED" else "")
