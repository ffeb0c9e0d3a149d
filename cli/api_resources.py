"""`reconcile api-resources`: what kinds are served."""

from __future__ import annotations

import click

from .printing import output_option, show, table
from .target import Target, target_options


@click.command("api-resources")
@click.option("--no-headers", is_flag=True, help="Leave the headings out.")
@click.option("--api-group", default=None, help="Only this group (an empty one is the core group).")
@output_option("json", "yaml", "wide", "name")
@target_options
def command(target: Target, no_headers: bool, api_group: str | None, output: str | None) -> None:
    """List the kinds that are served: built-in ones and those of your controllers."""
    found = sorted((r for r in target.served() if api_group is None or r.group == api_group), key=lambda r: (r.group, r.plural))
    if output == "name":
        for r in found:
            click.echo(f"{r.plural}.{r.group}" if r.group else r.plural)
    elif output in ("json", "yaml"):
        show([dict(r._asdict()) for r in found], output)
    else:
        headings = ["Name", "Shortnames", "APIVersion", "Namespaced", "Kind"]
        rows = [[r.plural, ",".join(r.short_names) or " ", r.api_version, str(r.namespaced).lower(), r.kind] for r in found]
        if output == "wide":
            headings += ["Verbs", "Categories"]
            rows = [[*row, ",".join(r.verbs), ",".join(r.categories) or " "] for row, r in zip(rows, found, strict=True)]
        click.echo(table(headings, rows, header=not no_headers))
