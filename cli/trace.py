"""`reconcile trace`: all that one write led to."""

from __future__ import annotations

import click

from reconcile.errors import Tree

from .causes import about, ask, later, named_with_field, paint, reasons, seconds, what, who
from .errors import CommandError
from .printing import examples, output_option, show
from .target import Target, target_options


@click.command("trace", epilog=examples("reconcile trace deploy/web", "reconcile trace 42", "reconcile trace 42 --depth 3"))
@click.argument("words", nargs=-1, required=True, metavar="REVISION|KIND/NAME")
@click.option("--depth", type=click.IntRange(0), default=0, help="Show so many levels only [default: all].")
@output_option("json", "yaml")
@target_options
def command(target: Target, words: tuple[str, ...], depth: int, output: str | None) -> None:
    """Show all that one write led to, as a tree: revisions, who made each, and how long after its cause.

    Of an object, the write is the last one that a person, a client or a file made.
    """
    if len(words) == 1 and words[0].isdecimal():
        told = ask(target, "trace", revision=words[0])
    else:
        named, field = named_with_field(target, words)
        if field:
            raise CommandError(f"a trace is of a whole write: leave {field} out, or ask `reconcile why`")
        told = ask(target, "trace", **about(target, named))
    if output:
        show(told, output)
        return
    _show(told, depth)


def _show(told: Tree, depth: int) -> None:
    last_s = first_s = seconds(told["tree"])
    waiting: list[tuple[Tree, Tree | None, str, str]] = [(told["tree"], None, "", "")]
    hidden = 0
    while waiting:
        node, parent, indent, branch = waiting.pop()
        _line(node, parent, indent + branch)
        at_s = seconds(node)
        last_s = max(last_s or 0.0, at_s) if at_s is not None else last_s
        inner = indent + {"├─ ": "│  ", "└─ ": "   "}.get(branch, "")
        below = node["led to"]
        if depth and len(inner) // 3 + (branch != "") > depth:
            hidden += len(below)
            continue
        for number, child in enumerate(reversed(below)):
            waiting.append((child, node, inner, "└─ " if number == 0 else "├─ "))
    took = f", {1000 * (last_s - first_s):.0f} ms" if last_s is not None and first_s is not None else ""
    idle = told["wroteNothing"]
    click.echo(f"{told['writes']} writes{took}; {idle} attempt{'' if idle == 1 else 's'} wrote nothing")
    if told["leftOut"] or hidden:
        click.echo(f"({told['leftOut'] + hidden} more are not shown)")
    if told["end"]:
        click.echo(f"({told['end']})")


def _line(node: Tree, parent: Tree | None, prefix: str) -> None:
    ends = later(node, parent) if parent is not None else ", ".join(p for p in (reasons(node), later(node, None)) if p)
    if parent is not None and node.get("merged", 1) > 1:
        ends += f", {node['merged']} events merged"
    click.echo(f"{prefix}rev {node['revision']}  {paint(who(node), 'cyan')}  {what(node)}   {paint(ends, 'bright_black')}")
