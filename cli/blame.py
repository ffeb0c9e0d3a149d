"""`reconcile blame`: who set each field of an object, and when."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click

from reconcile.causality import Cause
from reconcile.clock import parse_timestamp
from reconcile.differences import changes
from reconcile.errors import Tree

from .causes import named_with_field
from .past import states
from .printing import duration, examples, output_option, show, table
from .target import Target, target_options

_VALUE_CHARACTERS = 50


@click.command(
    "blame",
    epilog=examples("reconcile blame deploy/web", "reconcile blame deploy/web .spec"),
)
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME [.FIELD]")
@output_option("json", "yaml")
@target_options
def command(target: Target, words: tuple[str, ...], output: str | None) -> None:
    """Show for each field of an object who set it to what it is, at which revision, because of which other, and when.

    What was set before history begins is told as such.
    """
    named, field = named_with_field(target, words)
    told = states(target, named)
    found = [line for line in blamed(told) if f".{line['path']}".startswith(field)]
    if output:
        show({"kind": "Blame", "items": found}, output)
        return
    now_s = time.time()
    rows = [
        [
            line["revision"] or "older", duration(now_s - parse_timestamp(line["time"])) if line["time"] else "-",
            line["by"] or "unknown", f"rev {line['because']}" if line["because"] else line["source"] or "-",
            f"{line['path']}: {_shown(line['value'])}",
        ]
        for line in found
    ]  # fmt: skip
    click.echo(table(["Revision", "Age", "Who", "Because", "Field"], rows))


def blamed(told: Tree) -> list[Tree]:
    """Each field of the newest state with the change that made it so."""
    origin: dict[str, Tree] = {}
    state: Tree | None = told["before"]
    for path, _ in _leaves(state or {}):
        origin[path] = {"revision": "", "time": None, "by": None, "because": "", "source": ""}
    for item in told["items"]:
        now = item["object"] if item["type"] != "DELETED" else None
        cause = Cause.decode(item["cause"])
        who = {
            "revision": item["revision"], "time": item["time"], "by": cause.handler if cause else None,
            "because": str(cause.revision) if cause and cause.revision else "", "source": cause.source if cause else "",
        }  # fmt: skip
        for path, _, new in changes(state or {}, now or {}):
            for deeper, _ in _leaves(new, path):
                origin[deeper] = who
        state = now
    return [{"path": path, "value": value, **origin[path]} for path, value in _leaves(state or {}) if path in origin]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree with their paths, as `changes` writes these."""
    for where, _, leaf in changes({}, value, tuple(path.split(".")) if path else ()) if isinstance(value, dict | list) else ():
        if isinstance(leaf, dict) and leaf:
            yield from _leaves(leaf, where)
        else:
            yield where, leaf
    if not isinstance(value, dict | list):
        yield path, value


def _shown(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[: _VALUE_CHARACTERS - 3]}..."
