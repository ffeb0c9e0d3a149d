"""From exceptions to exit codes and messages for people.

CommandError        a command cannot do what it was asked
├── NoControlPlane  none could be found or reached
└── TimedOut        a wait took longer than allowed
"""

from __future__ import annotations

import click

from reconcile.errors import ApiError, ReconcileError, UnavailableError

EXIT_REFUSED = 1
EXIT_UNREACHABLE = 3
EXIT_TIMEOUT = 4
EXIT_INTERRUPTED = 130


class CommandError(click.ClickException):
    """The command cannot do what it was asked; the message says why and what to do."""

    exit_code = EXIT_REFUSED

    def show(self, file: object = None) -> None:
        """Print the message as kubectl does."""
        click.echo(f"error: {self.message}", err=True)


class NoControlPlane(CommandError):
    """No control plane could be found or reached."""

    exit_code = EXIT_UNREACHABLE


class TimedOut(CommandError):
    """A wait took longer than allowed."""

    exit_code = EXIT_TIMEOUT


def exit_code_of(error: Exception) -> tuple[int, str]:
    """The exit code and message of an exception; no message for our own mistakes, which deserve a traceback."""
    if isinstance(error, UnavailableError):
        return EXIT_UNREACHABLE, f"error: {error.message}"
    if isinstance(error, ApiError):
        return EXIT_REFUSED, f"Error from server ({error.reason}): {error.message}"
    if isinstance(error, ReconcileError):
        return EXIT_REFUSED, f"error: {error}"
    return EXIT_REFUSED, ""
