"""`reconcile log`: what happened to an object, the newest first, as `git log` tells it; with -p what changed."""

from __future__ import annotations

import difflib
import time
from typing import Any

import click

from reconcile.causality import Cause
from reconcile.clock import parse_timestamp
from reconcile.differences import changes
from reconcile.errors import Tree

from .causes import named_with_field, paint
from .past import revision_of, states
from .printing import as_yaml, duration, examples, output_option, show
from .target import Target, target_options

_VERBS = {"ADDED": "created", "MODIFIED": "changed", "DELETED": "deleted"}


@click.command(
    "log",
    epilog=examples("reconcile log deploy/web", "reconcile log deploy/web .spec -p", "reconcile log rs/web --handler rollout"),
)
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME [.FIELD]")
@click.option("-p", "--patch", is_flag=True, help="Show what each change did, as a diff.")
@click.option("--handler", default="", help="Only what a handler (or client) of that name wrote.")
@click.option("--from", "since", default="", metavar="REV|TIME", help="Only what happened since.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="The newest so many changes.")
@output_option("json", "yaml")
@target_options
def command(
    target: Target, words: tuple[str, ...], patch: bool, handler: str, since: str, limit: int, output: str | None
) -> None:
    """Show the changes of an object, the newest first: revision, who, when, and because of which other revision.

    With a field, only the changes of what is below it. `reconcile history` tells the same as a table, the oldest first.
    """
    named, field = named_with_field(target, words)
    query = {"from": revision_of(target, since)} if since else {}
    found = [
        entry
        for entry in _entries(states(target, named, limit="1000", **query))
        if (not handler or handler in (entry["by"], entry["by"].rpartition("/")[2], entry["by"].partition("/")[0]))
        and (not field or any(f".{path}".startswith(field) for path in entry["paths"]))
    ][-limit:]
    if output:
        show({"kind": "Log", "items": [{k: v for k, v in entry.items() if k not in ("old", "new")} for entry in found]}, output)
        return
    for entry in reversed(found):
        _show(entry, field, patch=patch)


def _entries(told: Tree) -> list[Tree]:
    entries, before = [], told["before"]
    for item in told["items"]:
        now = item["object"] if item["type"] != "DELETED" else None
        cause = Cause.decode(item["cause"])
        entries.append(
            {
                "revision": item["revision"], "time": item["time"], "type": item["type"],
                "by": cause.handler if cause else "unknown", "reason": cause.reason if cause else "",
                "because": str(cause.revision) if cause and cause.revision else "", "source": cause.source if cause else "",
                "merged": cause.merged if cause else 1, "paths": [path for path, _, _ in changes(before or {}, now or {})],
                "old": before, "new": now,
            }
        )  # fmt: skip
        before = now
    return entries


def _show(entry: Tree, field: str, *, patch: bool) -> None:
    age = f"{duration(time.time() - parse_timestamp(entry['time']))} ago" if entry["time"] else "time unknown"
    because = f"because of rev {entry['because']}" if entry["because"] else f"file {entry['source']}" if entry["source"] else ""
    more = f", {entry['merged']} events merged, newest named" if entry["merged"] > 1 else ""
    click.echo(paint(f"rev {entry['revision']}", "yellow") + f"  {entry['by']} {_VERBS[entry['type']]} it, {age}")
    if because:
        click.echo(f"    {because}{more}")
    if patch:
        for line in _diff(_below(entry["old"], field), _below(entry["new"], field)):
            click.echo(f"    {paint(line, {'+': 'green', '-': 'red', '@': 'cyan'}.get(line[:1], 'white'))}")
    elif entry["type"] == "MODIFIED":
        shown = [path for path in entry["paths"] if not field or f".{path}".startswith(field)]
        click.echo(f"    {', '.join(shown[:6])}{f' (+{len(shown) - 6} more)' if len(shown) > 6 else ''}")


def _below(tree: Tree | None, field: str) -> Any:
    value: Any = tree
    for name in field.strip(".").split(".") if field else ():
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _diff(old: Any, new: Any) -> list[str]:
    return list(difflib.unified_diff(_lines(old), _lines(new), n=2, lineterm=""))[2:]


def _lines(value: Any) -> list[str]:  # Any: a JSON value
    if value is None:
        return []
    if isinstance(value, dict) and "metadata" in value:
        kept = {k: v for k, v in value["metadata"].items() if k not in ("managedFields", "resourceVersion")}
        value = {**value, "metadata": kept}
    if isinstance(value, dict):
        return as_yaml(value).splitlines()
    return as_yaml({"-": value}).splitlines()[1:] if isinstance(value, list) else [str(value)]
