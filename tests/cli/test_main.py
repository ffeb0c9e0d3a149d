"""The command as a whole."""

from __future__ import annotations

from importlib.metadata import version

from click.testing import CliRunner

from reconcile.cli.main import command


def test_the_version_is_told_as_by_every_other_program() -> None:
    """Bug reports begin with it."""
    done = CliRunner().invoke(command, ["--version"])
    assert (done.exit_code, done.output) == (0, f"reconcile {version('reconcile-toolkit')}\n")


def test_every_command_is_in_the_help_and_says_what_it_does() -> None:
    """And an unknown one is refused with the way to the list."""
    told = CliRunner().invoke(command, ["--help"]).output
    for name in command.list_commands(None):  # type: ignore[arg-type]  # a list that needs no context
        assert f"  {name}" in told
    assert CliRunner().invoke(command, ["nonsense"]).exit_code == 2
