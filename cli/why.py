"""`reconcile why`: from an object back to the person or the file that made it so."""

from __future__ import annotations

import click

from .causes import about, ask, later, named_with_field, paint, reasons, what, who
from .printing import examples, output_option, show
from .target import Target, target_options


@click.command("why", epilog=examples("reconcile why pod/web-1", "reconcile why deploy/web .spec.replicas"))
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME [.FIELD]")
@output_option("json", "yaml")
@target_options
def command(target: Target, words: tuple[str, ...], output: str | None) -> None:
    """Show why an object (or one of its fields) is as it is: the chain of writes that led to its last change.

    A line for each write: its revision, who made it, what it did, and because of which write before. The first line is a
    person, a client or a file; or it is said that more is not known. Deleted objects can be asked about, too.
    """
    named, field = named_with_field(target, words)
    told = ask(target, "why", field=field, **about(target, named))
    if output:
        show(told, output)
        return
    width = max((len(who(step)) for step in told["steps"]), default=0)
    digits = max((len(step["revision"]) for step in told["steps"]), default=1)
    if told["end"]:
        click.echo(f"({told['end']})")
    before = None
    for step in told["steps"]:
        by = paint(who(step).ljust(width), "cyan")
        ends = ", ".join(part for part in (reasons(step), later(step, before)) if part)
        click.echo(f"rev {step['revision']:>{digits}}  {by}  {what(step)}   {paint(ends, 'bright_black')}")
        before = step
