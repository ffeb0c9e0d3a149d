"""What all commands print with: aligned tables, colours where a terminal is, JSON and YAML.

kubectl's habits: three spaces between columns, upper-case headings, `<none>` for nothing, plain text in a pipe.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from reconcile.errors import Tree

_GAP = 3
_GOOD = frozenset({"Running", "Active", "Ready", "Completed", "Succeeded", "True", "Bound", "Normal", "Available", "ok"})
_BAD_WORDS = ("Error", "BackOff", "Failed", "Unknown", "NotReady", "Evicted", "Invalid", "OOM", "False", "ImageNeeds", "Unready")


def colours() -> bool:
    """Whether stdout is a terminal that wants colours (https://no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def colour_of(word: str) -> str | None:
    """The colour of a status word, None for the terminal's own."""
    if word in _GOOD:
        return "green"
    if any(bad in word for bad in _BAD_WORDS):
        return "red"
    if word in ("Pending", "ContainerCreating", "Terminating", "Warning", "PodInitializing", "Progressing") or word.startswith(
        "Init:"
    ):
        return "yellow"
    return None


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, header: bool = True) -> str:
    """Columns aligned as kubectl aligns them. O(cells)."""
    cells = [[_text(value) for value in row] for row in rows]
    lines = ([[heading.upper() for heading in headings]] if header else []) + cells
    if not lines:
        return ""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    paint = colours()
    out = []
    for number, line in enumerate(lines):
        padded = []
        for i, cell in enumerate(line):
            last = i == len(line) - 1
            text = cell if last else cell.ljust(widths[i] + _GAP)
            colour = colour_of(cell) if paint and not (header and number == 0) else None
            padded.append(click.style(text, fg=colour) if colour else text)
        out.append("".join(padded).rstrip())
    return "\n".join(out)


def _text(value: Any) -> str:
    if value is None or value == "":
        return "<none>"
    return str(value).replace("\n", "\\n")


def show(tree: Tree | list[Tree], output: str) -> None:
    """Print an object (or a list) as JSON or YAML, without the server's managedFields."""
    tree = _list_of(tree) if isinstance(tree, list) else tidy(tree)
    if output == "json":
        click.echo(json.dumps(tree, indent=4))
        return
    click.echo(as_yaml(tree), nl=False)


def as_yaml(tree: Tree) -> str:
    """A tree as YAML."""
    import yaml  # 20 ms that only YAML output pays

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(tree, Dumper=dumper, sort_keys=True, default_flow_style=False, allow_unicode=True)
    return text


def _list_of(items: list[Tree]) -> Tree:
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [tidy(item) for item in items]}


def tidy(tree: Tree) -> Tree:
    """An object without its managedFields."""
    if "managedFields" not in tree.get("metadata", {}):
        return tree
    metadata = {key: value for key, value in tree["metadata"].items() if key != "managedFields"}
    return {**tree, "metadata": metadata}


def output_option(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The `--output` option with the given formats."""
    return click.option("-o", "--output", type=click.Choice(formats), default=None, help="How to print.", show_choices=True)


def examples(*lines: str) -> str:
    """Examples for a command's help text, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def duration(seconds: float) -> str:
    """A span of time as kubectl writes it: `5s`, `3m12s`, `4h5m`, `3d`.

    Source: k8s.io/apimachinery/pkg/util/duration HumanDuration
    """
    whole = int(seconds)
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"
