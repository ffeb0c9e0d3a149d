"""The `reconcile` command: finds the command's module, and turns errors into messages and exit codes.

Exit codes: 0 done, 1 the server or the cluster said no, 2 the command line was wrong, 3 no control plane could be reached,
4 a wait timed out, 130 interrupted. Commands are loaded when they are called: `reconcile get` never imports what `up` needs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from .errors import EXIT_INTERRUPTED, exit_code_of

_COMMANDS = {
    "up": "Run a folder of YAML as processes: the control plane in the foreground.",
    "down": "Stop the control plane of this folder.",
    "run": "Run an operator as a process of its own, against any cluster.",
    "export": "Print an operator's CRDs, RBAC and Deployment.",
    "release": "Let an object go that waits for an operator which is gone.",
    "status": "Show what runs, what does not, and why.",
    "get": "List objects of a kind, or show one.",
    "describe": "Show an object with everything that concerns it.",
    "logs": "Print what a container wrote.",
    "exec": "Run a command in a container.",
    "attach": "Talk to a container's own process.",
    "port-forward": "Make a pod's port one of this machine's.",
    "events": "List what happened lately.",
    "history": "Show every change of an object: when, who, and what.",
    "diff": "Show what is different in an object between two revisions.",
    "why": "Show what led to an object, or to one of its fields.",
    "why-not": "Show why something has not happened to an object.",
    "trace": "Show all that one write led to.",
    "log": "Show the changes of an object, the newest first; -p with what they did.",
    "blame": "Show who set each field of an object.",
    "find": "Search history: which objects were so, and when.",
    "incident": "Export what happened around an object, for the simulation.",
    "replay": "Run today's handler on the past, and write nothing.",
    "top": "Show CPU and memory of pods.",
    "apply": "Create or change objects from files (server-side apply).",
    "delete": "Delete objects.",
    "scale": "Set the number of replicas.",
    "migrate": "Store objects in the version that their kind is stored in now.",
    "rollout": "Follow, undo, restart a rollout, or show its history.",
    "api-resources": "List the kinds that are served.",
    "explain": "Show the fields of a kind.",
    "auth": "Show who you are to the API, and what you may do.",
    "token": "Make tokens of service accounts.",
    "kubeconfig": "Print the path of the kubeconfig.",
    "sim": "Run controllers under every fault, in virtual time.",
    "store": "Serve a store as an etcd, and look after its file.",
    "version": "Print the versions of client and server.",
}
_GROUPS = (
    ("Run", ("up", "down", "run", "export")),
    ("Look", ("status", "get", "describe", "logs", "events", "history", "diff", "top")),
    ("Talk", ("exec", "attach", "port-forward")),
    ("Ask", ("why", "why-not", "trace", "log", "blame", "find", "replay", "incident")),
    ("Change", ("apply", "delete", "scale", "rollout", "release", "migrate")),
    ("Know", ("api-resources", "explain", "auth", "token", "kubeconfig", "version")),
    ("Test", ("sim",)),
    ("Store", ("store",)),
)


class LazyGroup(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the help text."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of module `cli/<name>.py`."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{cmd_name.replace('-', '_')}", __package__)
        command = getattr(module, "command")  # noqa: B009 - every command module has one; mypy cannot know
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with a suggestion for a misspelt name."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib  # only for the error

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" Did you mean `reconcile {near[0]}`?" if near else " See `reconcile --help`."
            ctx.fail(f"there is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what they are for; loads none of them."""
        for title, names in _GROUPS:
            with formatter.section(title):
                formatter.write_dl([(name, _COMMANDS[name]) for name in names])


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # it costs milliseconds that no other command has to spend

        click.echo(f"reconcile {version('reconcile-toolkit')}")
        context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: reconcile up FOLDER",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version.")
def command() -> None:
    """A folder of YAML becomes running, self-healing processes; a Kubernetes-style control plane in one command."""


def main() -> None:
    """Run the command line and exit."""
    try:
        # Without standalone mode click catches `Exit` itself and returns its code.
        code = command.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain once more when it flushes stdout at exit.
        sys.stdout = None
        sys.exit(0)
    except Exception as error:
        exit_code, message = exit_code_of(error)
        if not message:
            raise
        click.echo(message, err=True)
        sys.exit(exit_code)
