"""`reconcile diff`: what is different in an object between two revisions."""

from __future__ import annotations

import difflib

import click

from reconcile.errors import ApiError, NotFoundError, Tree

from .errors import CommandError, NoControlPlane
from .history import one_object
from .past import object_at, revision_of, states
from .printing import as_yaml, colours, examples
from .target import Named, Target, target_options

EXIT_DIFFERENT = 1
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


class Trouble(CommandError):
    """There is no saying whether there is a difference; exit code 1 would say that there is one."""

    exit_code = 2


@click.command(
    "diff",
    epilog=examples(
        "reconcile diff deploy/web", "reconcile diff deploy/web --at 10m", "reconcile diff cm/settings --at 120 --at 180"
    ),
)
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--from", "since", default="", metavar="REV|TIME", help="The old state [default: before its last change].")
@click.option("--to", "until", default="", metavar="REV|TIME", help="The new state [default: as it is now].")
@click.option("--at", "moments", multiple=True, metavar="REV|TIME", help="As --from; given twice, as --from and --to.")
@click.option("-U", "--unified", "around", type=click.IntRange(0), default=3, show_default=True, help="Lines of context.")
@target_options
def command(target: Target, what: tuple[str, ...], since: str, until: str, moments: tuple[str, ...], around: int) -> None:
    """Show what is different in an object between two revisions, as `diff -u` shows it.

    REV|TIME is a revision (a number), an age (10m) or a time (2026-11-27T03:00:00Z). Exit codes are diff's: 0 no difference,
    1 some, 2 trouble. Managed fields and the resourceVersion are left out: they always differ.
    """
    if moments:
        if since or until or len(moments) > 2:
            raise Trouble("--at says it once or twice, instead of --from and --to")
        since, until = moments[0], moments[1] if len(moments) > 1 else ""
    try:
        different = _show(target, what, since, until, around)
    except NoControlPlane:
        raise
    except CommandError as error:
        raise Trouble(error.message) from error
    except ApiError as error:
        raise Trouble(error.message) from error
    if different:
        raise click.exceptions.Exit(EXIT_DIFFERENT)


def _show(target: Target, what: tuple[str, ...], since: str, until: str, around: int) -> bool:
    named = one_object(target, what)
    to = revision_of(target, until) if until else ""
    start = revision_of(target, since) if since else _before_last_change(target, named, to)
    old, new = _state(target, named, start), _state(target, named, to)
    if old is None and new is None:
        raise CommandError(f"{named.title} was there neither at revision {start} nor {_at(to)}")
    lines = difflib.unified_diff(
        _lines(old), _lines(new), f"{named.title} {_at(start)}", f"{named.title} {_at(to)}", n=around, lineterm=""
    )
    paint, different = colours(), False
    for number, line in enumerate(lines):
        different = True
        colour = _COLOURS.get(line[:1]) if number > 1 else None
        click.echo(click.style(line, fg=colour, bold=number < 2) if paint else line)
    return different


def _before_last_change(target: Target, named: Named, to: str) -> str:
    """The revision before the object's last change (up to `to`)."""
    last = states(target, named, limit="1", **({"to": to} if to else {}))["items"][-1]
    return str(int(last["revision"]) - 1)


def _state(target: Target, named: Named, revision: str) -> Tree | None:
    try:
        return object_at(target, named, revision) if revision else target.read(target.path(named.resource, named.name))
    except NotFoundError:
        return None


def _lines(tree: Tree | None) -> list[str]:
    if tree is None:
        return []
    metadata = {key: value for key, value in tree["metadata"].items() if key not in ("managedFields", "resourceVersion")}
    return as_yaml({**tree, "metadata": metadata}).splitlines()


def _at(revision: str) -> str:
    return f"at revision {revision}" if revision else "now"
