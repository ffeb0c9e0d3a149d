"""`reconcile history`: a line for each change of an object."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from reconcile.causality import Cause
from reconcile.clock import parse_timestamp
from reconcile.differences import changes
from reconcile.errors import Tree

from .errors import CommandError
from .past import revision_of, states
from .printing import duration, examples, output_option, show, table, tidy
from .target import Named, Target, target_options

_CHANGES_SHOWN = 3
_VALUE_CHARACTERS = 30


@click.command(
    "history",
    epilog=examples(
        "reconcile history deploy/web", "reconcile history pod web-1 --from 10m", "reconcile history cm/settings -o yaml"
    ),
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--from", "since", default="", metavar="REV|TIME", help="Only what happened since: a revision, an age, a time.")
@click.option("--to", "until", default="", metavar="REV|TIME", help="Only what happened until then.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="The newest so many changes.")
@output_option("json", "yaml", "wide")
@target_options
def command(target: Target, what: tuple[str, ...], since: str, until: str, limit: int, output: str | None) -> None:
    """Show what happened to an object: at which revision, when, who did it, and what changed. Deleted objects too.

    `reconcile get KIND/NAME --at REVISION` shows it as it was, `reconcile diff KIND/NAME --from REVISION` what is different.
    """
    named = one_object(target, what)
    query = {"limit": str(limit)}
    if since:
        query["from"] = revision_of(target, since)
    if until:
        query["to"] = revision_of(target, until)
    told = states(target, named, **query)
    if output in ("json", "yaml"):
        show(_as_document(told), output)
        return
    click.echo(table(["Revision", "Age", "Who", "What", "Changed"], _rows(told, wide=output == "wide")))


def one_object(target: Target, what: tuple[str, ...]) -> Named:
    """The one object that a command line names.

    Raises:
        CommandError: it names none, or several.
    """
    named = target.named(what)
    if len(named) != 1 or not named[0].name:
        raise CommandError("name one object, for example deploy/web")
    return named[0]


def _rows(told: Tree, *, wide: bool) -> list[list[object]]:
    now_s, before, rows = time.time(), told["before"], list[list[object]]()
    for item in told["items"]:
        who, because = _who(item)
        when = item["time"] if wide else duration(now_s - parse_timestamp(item["time"])) if item["time"] else "<unknown>"
        changed = " ".join(_changed(item, before, None if wide else _CHANGES_SHOWN))
        rows.append([item["revision"], when, f"{who} ({because})" if because else who, _VERBS[item["type"]], changed or "-"])
        before = item["object"] if item["type"] != "DELETED" else None
    return rows


_VERBS = {"ADDED": "created", "MODIFIED": "changed", "DELETED": "deleted"}


def _who(item: Tree) -> tuple[str, str]:
    """Who made a change, and what woke them: the handler and the revision that it saw, or the client's name."""
    found = Cause.decode(item["cause"])
    if found is None:
        return "<unknown>", ""
    return found.handler, f"from {found.revision}" if found.revision else ""


def _changed(item: Tree, before: Tree | None, count_max: int | None) -> list[str]:
    if item["type"] != "MODIFIED" or before is None:
        return []
    ordered = sorted(changes(before, item["object"]), key=lambda change: _weight(change[0]))
    found = [f"{path}: {_value(old)}→{_value(new)}" for path, old, new in ordered]
    if count_max is None or len(found) <= count_max:
        return [", ".join(found)]
    return [", ".join(found[:count_max]), f"(+{len(found) - count_max} more)"]


def _weight(path: str) -> int:
    """What is wanted says most, and the times at which something was noted least."""
    return 2 if path.endswith("Time") else 0 if path.startswith(("spec.", "data.")) else 1


def _value(value: Any) -> str:
    text = "∅" if value is None else value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[: _VALUE_CHARACTERS - 1]}…"


def _as_document(told: Tree) -> Tree:
    """As the server tells it, with what changed spelled out."""
    before, items = told["before"], []
    for item in told["items"]:
        changed: list[Tree] = []
        if item["type"] == "MODIFIED" and before is not None:
            changed = [{"path": path, "from": old, "to": new} for path, old, new in changes(before, item["object"])]
        shown = tidy(item["object"]) if item["object"] else None
        items.append({**item, "object": shown, "changes": changed})
        before = item["object"] if item["type"] != "DELETED" else None
    return {**told, "before": tidy(told["before"]) if told["before"] else None, "items": items}
