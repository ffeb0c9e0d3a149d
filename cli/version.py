"""`reconcile version`: of client and server."""

from __future__ import annotations

from importlib.metadata import version as version_of

import click

from reconcile.errors import UnavailableError

from .errors import NoControlPlane
from .printing import output_option, show
from .target import open_target


@click.command("version")
@click.option("--client", is_flag=True, help="Only the client's.")
@click.option("--data-dir", default=None, help="The state folder of the control plane that is meant.")
@output_option("json", "yaml")
def command(client: bool, data_dir: str | None, output: str | None) -> None:
    """Print the versions of client and server."""
    told = {"client": version_of("reconcile-toolkit")}
    if not client:
        try:
            told["server"] = str(open_target(data_dir, "", "").read("/version").get("gitVersion", ""))
        except (NoControlPlane, UnavailableError):
            told["server"] = "not running"
    if output:
        show(dict(told), output)
        return
    for side, number in told.items():
        click.echo(f"{side}: {number}")
