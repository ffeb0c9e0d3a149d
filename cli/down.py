"""`reconcile down`: stop the control plane that runs on this folder."""

from __future__ import annotations

import os
import signal

import click
import psutil

from .errors import NoControlPlane, TimedOut
from .locate import find_data_dir
from .target import run_file


@click.command("down")
@click.option("--data-dir", default=None, help="The state folder of the control plane that is meant.")
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds to wait for its end.")
def command(data_dir: str | None, timeout_s: float) -> None:
    """Stop the control plane, as Ctrl-C does: its processes are stopped too, unless it was started with --keep."""
    found = find_data_dir(data_dir)
    told = run_file(found) if found else None
    if told is None or not psutil.pid_exists(int(told["pid"])):
        raise NoControlPlane(f"no control plane runs {f'on {found}' if found else 'here'}")
    process = psutil.Process(int(told["pid"]))
    os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except psutil.TimeoutExpired as error:
        raise TimedOut(f"the control plane (pid {process.pid}) is still stopping after {timeout_s:g} s") from error
    click.echo(f"stopped the control plane of {told['folder']}")
