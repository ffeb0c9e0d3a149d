"""`reconcile incident`: what happened around an object, as a file that the simulation lives through again."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .causes import about, ask
from .errors import CommandError
from .history import one_object
from .past import revision_of
from .printing import examples
from .target import Target, target_options


@click.command(
    "incident",
    epilog=examples(
        "reconcile incident website/shop -o plan.json",
        "reconcile incident website/shop --from 2h --to 1h -o plan.json",
        "reconcile sim app.py --plan plan.json",
    ),
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--from", "since", default="", metavar="REV|TIME", help="Where it begins [default: 20,000 revisions ago].")
@click.option("--to", "until", default="", metavar="REV|TIME", help="Where it ends [default: now].")
@click.option("-o", "--output", default="-", type=click.Path(dir_okay=False, allow_dash=True), help="The file [default: stdout].")
@target_options
def command(target: Target, what: tuple[str, ...], since: str, until: str, output: str) -> None:
    """Export what people did to an object, what led to it, and where operators were started anew.

    `reconcile sim APP.py --plan FILE` lives through it again with your operator, `pytest --plan FILE` runs @converges tests under
    its faults, and `await world.relive(FILE)` does in a test what people did.
    """
    named = one_object(target, what)
    query = about(target, named)
    for name, text in (("from", since), ("to", until)):
        if text:
            query[name] = revision_of(target, text)
    told = ask(target, "incident", **query)
    text = json.dumps(told, indent=1) + "\n"
    if output == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from error
    click.echo(
        f"{output}: {len(told['objects'])} objects, {len(told['steps'])} things that people did, "
        f"{told['plan'] or 'no restart of an operator'}"
    )
