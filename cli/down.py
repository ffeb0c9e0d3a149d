"""`reconcile down`: stop the control plane that runs on this folder."""

from __future__ import annotations

import os
import select
import signal

import click

from .errors import NoControlPlane, TimedOut
from .locate import find_data_dir, is_taken
from .target import run_file


@click.command("down")
@click.option("--data-dir", default=None, help="The state folder of the control plane that is meant.")
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds to wait for its end.")
def command(data_dir: str | None, timeout_s: float) -> None:
    """Stop the control plane, as Ctrl-C does: its processes are stopped too, unless it was started with --keep."""
    found = find_data_dir(data_dir)
    told = run_file(found) if found else None
    if found is None or told is None or not is_taken(found):
        raise NoControlPlane(f"no control plane runs {f'on {found}' if found else 'here'}")
    pid = int(told["pid"])
    # A pidfd tells the end also where nobody collects the dead: under a container's first process, often.
    watched = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(watched, signal.SIGTERM)
        readable, _, _ = select.select([watched], [], [], timeout_s)
    finally:
        os.close(watched)
    if not readable:
        raise TimedOut(f"the control plane (pid {pid}) is still stopping after {timeout_s:g} s")
    click.echo(f"stopped the control plane of {told['folder']}")
