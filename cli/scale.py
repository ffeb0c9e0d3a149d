"""`reconcile scale`: how many replicas."""

from __future__ import annotations

import click

from .errors import CommandError
from .printing import examples
from .target import FIELD_MANAGER, Target, target_options


@click.command("scale", epilog=examples("reconcile scale deploy/web --replicas 5"))
@click.argument("what", nargs=-1, metavar="KIND NAME | KIND/NAME...")
@click.option("--replicas", type=click.IntRange(min=0), required=True, help="How many.")
@click.option("--current-replicas", type=int, default=None, help="Only if it has this many now.")
@target_options
def command(target: Target, what: tuple[str, ...], replicas: int, current_replicas: int | None) -> None:
    """Set the number of replicas of a Deployment, a ReplicaSet, or any kind with a scale subresource."""
    for named in target.named(what):
        if not named.name:
            raise CommandError(f"name the {named.resource.kind}")
        path = target.path(named.resource, named.name, subresource="scale")
        if current_replicas is not None:
            now = int(target.read(path).get("spec", {}).get("replicas", 0))
            if now != current_replicas:
                raise CommandError(f"{named.title} has {now} replicas, not {current_replicas}; nothing was changed")
        body = {"spec": {"replicas": replicas}}
        target.write("PATCH", path, body, content_type="application/merge-patch+json", fieldManager=FIELD_MANAGER)
        click.echo(f"{named.title} scaled")
