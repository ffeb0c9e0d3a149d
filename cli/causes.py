"""How the commands that explain name an object, ask the server, and say who did what when."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import click

from reconcile.clock import parse_timestamp
from reconcile.errors import NotFoundError, Tree

from .errors import CommandError
from .history import one_object
from .printing import colours, duration
from .target import Named, Target

_CHANGES_SHOWN = 3
_NOT_SERVED = ("could not find the requested resource", "404 page not found")  # of a path below a group, and of any other
_VALUE_CHARACTERS = 30
_WHAT = {"ADDED": "created", "MODIFIED": "changed", "DELETED": "deleted", "UNKNOWN": "(compacted)"}


def named_with_field(target: Target, words: Sequence[str]) -> tuple[Named, str]:
    """`deploy/web .spec.replicas`, or `deploy web`: the object, and the field if one is named.

    Raises:
        CommandError: they name no object, or several.
    """
    fields = [word for word in words if word.startswith(".")]
    if len(fields) > 1:
        raise CommandError(f"name one field, not {len(fields)}: {', '.join(fields)}")
    return one_object(target, tuple(word for word in words if not word.startswith("."))), fields[0] if fields else ""


def ask(target: Target, question: str, **query: str) -> Tree:
    """What the server answers.

    Raises:
        CommandError: the server is another one, which keeps no causes.
    """
    try:
        return target.read(f"/explain/{question}", **query)
    except NotFoundError as error:
        if error.message and not any(words in error.message for words in _NOT_SERVED):
            raise
        raise CommandError("this server keeps no causes; it is a feature of `reconcile up`") from error


def about(target: Target, named: Named) -> dict[str, str]:
    """The query that names an object."""
    resource = named.resource
    query = {"resource": resource.qualified, "name": named.name}
    return {**query, "namespace": target.namespace} if resource.namespaced else query


def title(step: Tree) -> str:
    """`pods/web-1`, with the namespace in front where it is not `default`."""
    plain = f"{step['resource'].partition('.')[0]}/{step['name']}"
    return f"{step['namespace']}/{plain}" if step.get("namespace") not in ("", None, "default") else plain


def who(step: Tree) -> str:
    """Who wrote: a handler, a client, or a file of the folder."""
    return step.get("by") or "unknown"


def what(step: Tree, changes_max: int = _CHANGES_SHOWN) -> str:
    """`changed deployments/web spec.replicas 2 -> 5 (+3 more)`."""
    if step["type"] == "UNKNOWN":
        return "(compacted)"
    text = f"{_WHAT[step['type']]} {title(step)}"
    shown = sorted(step["changes"], key=lambda change: _weight(change["path"]))
    said = [f"{c['path']} {_value(c['from'])} -> {_value(c['to'])}" for c in shown[:changes_max]]
    more = len(shown) - changes_max
    return " ".join([text, ", ".join(said), *([f"(+{more} more)"] if more > 0 else [])]).rstrip()


def _weight(path: str) -> int:
    """What is wanted says most, then the state in a word, and the times at which something was noted least."""
    if path.endswith("Time") or "annotations" in path:
        return 3
    return 0 if path.startswith(("spec.", "data.")) else 1 if path.count(".") == 1 and "[" not in path else 2


def _value(value: Any) -> str:
    if isinstance(value, dict) and value:
        # Of what came or went as a whole, a condition's status is worth saying.
        text = str(value.get("status", "{...}"))
    elif isinstance(value, list) and value:
        text = "[...]"
    else:
        text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[: _VALUE_CHARACTERS - 3]}..."


def seconds(step: Tree) -> float | None:
    """When a step was made; None if nobody knows."""
    return parse_timestamp(step["time"]) if step.get("time") else None


def later(step: Tree, since: Tree | None) -> str:
    """`+12 ms` after another step; how long ago, without one."""
    now_s = seconds(step)
    if now_s is None:
        return "time unknown"
    before_s = seconds(since) if since is not None else None
    if before_s is None:
        return f"{duration(time.time() - now_s)} ago"
    took_ms = 1000 * (now_s - before_s)
    return f"+{took_ms:.0f} ms" if took_ms < 10_000 else f"+{duration(took_ms / 1000)}"


def reasons(step: Tree) -> str:
    """Where a chain begins, or why it went on: `file web.yaml:2`, `because of rev 12 (3 events merged, newest shown)`."""
    if step.get("source"):
        return f"file {step['source']}"
    if step.get("because"):
        merged = f" ({step['merged']} events merged, newest shown)" if step.get("merged", 1) > 1 else ""
        return f"because of rev {step['because']}{merged}"
    if step.get("by") is None:
        return "cause unknown"
    return f"on {step['reason']}" if step.get("reason") not in ("", "change", "request", None) else ""


def paint(text: str, colour: str) -> str:
    """Coloured, where a terminal wants it."""
    return click.style(text, fg=colour) if colours() else text
