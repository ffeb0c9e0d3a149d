"""`reconcile why-not`: why something has not happened to an object: every handler that watches it, and its last attempt."""

from __future__ import annotations

import json
import time

import click

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree

from .causes import about, ask, named_with_field, paint
from .printing import duration, examples, output_option, show, table
from .target import Target, run_of, target_options


@click.command("why-not", epilog=examples("reconcile why-not pod/web-1 .spec.nodeName", "reconcile why-not deploy/web"))
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME [.FIELD]")
@output_option("json", "yaml")
@target_options
def command(target: Target, words: tuple[str, ...], output: str | None) -> None:
    """Show why something has not happened to an object: the handlers that watch it, and what came of their last attempts.

    Below that stands what the object says itself: its conditions that are not true, and its newest Events.
    """
    named, field = named_with_field(target, words)
    told = ask(target, "why-not", field=field, **about(target, named))
    if output:
        show(told, output)
        return
    if field:
        value = "not set" if told["value"] is None else json.dumps(told["value"])
        click.echo(f"{field} is {value}, at revision {told['revision']}")
    _show_handlers(told["handlers"])
    if off := (run_of(target) or {}).get("off"):
        click.echo(f"left to other programs, whose attempts are not known here: {', '.join(off)}")
    for condition in told["conditions"]:
        reason = f" ({condition['reason']})" if condition.get("reason") else ""
        message = f": {condition['message']}" if condition.get("message") else ""
        click.echo(f"{paint('condition', 'yellow')} {condition['type']} is False{reason}{message}")
    for event in told["events"]:
        colour = "yellow" if event["type"] == "Warning" else "green"
        age = f"{duration(time.time() - parse_timestamp(event['time']))} ago  " if event["time"] else ""
        times = f" (x{event['count']})" if (event.get("count") or 1) > 1 else ""
        click.echo(f"{paint('event', colour)} {age}{event['reason']}: {event['message']}{times}")


def _show_handlers(handlers: list[Tree]) -> None:
    # A handler of events acts on what it hears, in its own time: it makes no attempts that could be told.
    acting = [handler for handler in handlers if handler["trigger"] != "event"]
    hearing = sorted({f"{handler['by']} ({handler['where']})" for handler in handlers if handler["trigger"] == "event"})
    if acting:
        headings = ["Handler", "Where", "Attempt", "Because", "Outcome", "Wrote", "Next try"]
        click.echo(table(headings, [_row(handler) for handler in acting]))
    if hearing:
        click.echo(f"hear of it: {', '.join(hearing)}")
    if not handlers:
        click.echo("no handler watches it")


def _row(handler: Tree) -> list[str]:
    last = handler["last"]
    if last is None:
        return [handler["by"], handler["where"], "-", "-", "not run since the start", "-", "-"]
    because = f"rev {last['because']} ({last['reason']})" if last["because"] else last["reason"]
    outcome = f"{last['outcome']}: {last['message']}" if last["message"] else last["outcome"]
    again = f"in {duration(max(0.0, parse_timestamp(last['retryAt']) - time.time()))}" if last["retryAt"] else "on a change"
    return [handler["by"], handler["where"], str(last["number"]), because, outcome, _wrote(last["wrote"]), again]


def _wrote(revisions: list[str]) -> str:
    return "nothing" if not revisions else "rev " + ", ".join(revisions[:4]) + ("..." if len(revisions) > 4 else "")
