"""`reconcile release KIND/NAME`: let an object go that waits for an operator which will not come back."""

from __future__ import annotations

import click

from reconcile.errors import ApiError

from .errors import CommandError
from .printing import examples
from .target import Named, Target, message_of, target_options

_MERGE = "application/merge-patch+json"


@click.command(
    "release",
    epilog=examples(
        "reconcile release website/shop", "reconcile release website/shop --finalizer shop.example.com/finalizer --yes"
    ),
)
@click.argument("words", nargs=-1, required=True, metavar="KIND/NAME...")
@click.option("--finalizer", "only", multiple=True, help="Take off this one alone; may be given several times.")
@click.option("--force", is_flag=True, help="Also of objects that nobody has asked to delete.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@target_options
def command(target: Target, words: tuple[str, ...], only: tuple[str, ...], force: bool, yes: bool) -> None:
    """Take the finalizers off objects that are being deleted, so that they go.

    A finalizer says that an operator has something to clean up first. Taken off, that is never done: do this when the operator is
    gone for good.
    """
    for named in target.named(words):
        if not named.name:
            raise CommandError(f"{named.resource.plural}: name the objects; all of a kind are never released at once")
        try:
            _release(target, named, only, force=force, yes=yes)
        except ApiError as error:
            raise CommandError(message_of(error)) from error


def _release(target: Target, named: Named, only: tuple[str, ...], *, force: bool, yes: bool) -> None:
    path = target.path(named.resource, named.name)
    tree = target.read(path)
    meta = tree["metadata"]
    held: list[str] = list(meta.get("finalizers") or ())
    taken = [name for name in held if not only or name in only]
    if unknown := [name for name in only if name not in held]:
        raise CommandError(f"{named.title} has no finalizer {unknown[0]!r}; it has: {', '.join(held) or 'none'}")
    if not taken:
        click.echo(f"{named.title} is held by nobody")
        return
    if not meta.get("deletionTimestamp") and not force:
        raise CommandError(
            f"{named.title} is not being deleted; delete it first, or --force takes its finalizers off all the same"
        )
    question = f"{named.title}: whoever set {', '.join(taken)} will not clean up. Take it off?"
    if not yes and not click.confirm(question):
        raise click.Abort
    kept = [name for name in held if name not in taken]
    body = {"metadata": {"finalizers": kept or None, "resourceVersion": meta["resourceVersion"], "uid": meta["uid"]}}
    target.write("PATCH", path, body, content_type=_MERGE)
    click.echo(f"{named.title} released from {', '.join(taken)}")
