"""`reconcile replay`: today's handler on the past."""

from __future__ import annotations

import click

from .causes import about, ask, named_with_field, what
from .errors import CommandError
from .past import revision_of
from .printing import examples, output_option, show
from .target import Target, target_options


@click.command(
    "replay",
    epilog=examples("reconcile replay rollout deploy/web", "reconcile replay greet greeting/hello --at 42"),
)
@click.argument("handler")
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--at", "at", default="", metavar="REV|TIME", help="The state to run it on [default: as it is now].")
@output_option("json", "yaml")
@target_options
def command(target: Target, handler: str, words: tuple[str, ...], at: str, output: str | None) -> None:
    """Run a handler, as it is today, on an object as it was at a revision, and show what it would write.

    It runs on a copy, so nothing is written. What the handler does outside of the API, it does.
    """
    named, field = named_with_field(target, words)
    if field:
        raise CommandError(f"a handler runs on a whole object: leave {field} out")
    revision = revision_of(target, at) if at else ""
    told = ask(target, "replay", handler=handler, revision=revision, **about(target, named))
    if output:
        show(told, output)
        return
    click.echo(f"{told['by']} ({told['where']}) on {named.title} as of revision {told['revision']}:")
    for attempt in told["attempts"]:
        click.echo(f"  {attempt['outcome']}{': ' + attempt['message'] if attempt['message'] else ''}")
    if not told["attempts"]:
        click.echo("  it was not run: its filters leave the object out")
    for step in told["writes"]:
        click.echo(f"  would have {what(step, 8)}")
    if not told["writes"]:
        click.echo("  would write nothing")
    if told["end"]:
        click.echo(f"({told['end']})")
