"""Which controllers `up` runs, and whether its scheduler: the others are somebody else's, as of the reference's programs.

The list is kube-controller-manager's `--controllers`, with its names and its rules, so that one can be taken over as it stands.
The scheduler is no name in it, but an option: there it is a program of its own, and `*` does not mean it.

Source: k8s.io/controller-manager/app/helper.go
"""

from __future__ import annotations

from typing import NamedTuple

import click

from reconcile.resources.controllers import NAMES

EVERY = "*"
LIST = "list"
SCHEDULER = "scheduler"


class Choice(NamedTuple):
    """What runs here."""

    controllers: frozenset[str] = frozenset(NAMES)
    scheduler: bool = True

    def enabled(self, name: str) -> bool:
        """Whether a controller is to run."""
        assert name in NAMES, f"{name} is no controller's name"
        return name in self.controllers

    def parts(self) -> list[str]:
        """What of the two kinds runs: controllers, a scheduler."""
        return [*(["controllers"] if self.controllers else []), *([SCHEDULER] if self.scheduler else [])]

    def off(self) -> list[str]:
        """What does not run, by name; all controllers together have one."""
        missing = [name for name in NAMES if name not in self.controllers]
        return [*(["all controllers"] if missing == list(NAMES) else missing), *([] if self.scheduler else [SCHEDULER])]


def chosen(text: str) -> frozenset[str]:
    """The controllers that a list names: `*` all, `NAME` one, `-NAME` all but it; the first word about a controller counts.

    Raises:
        click.BadParameter: there is no controller of that name.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word != EVERY and word.removeprefix("-") not in NAMES]
    if unknown:
        raise click.BadParameter(
            f"there is no controller {', '.join(repr(word.removeprefix('-')) for word in unknown)} here; there are: "
            f"{', '.join(NAMES)}. (The scheduler is left out with --no-scheduler.)"
        )
    return frozenset(name for name in NAMES if _is_on(name, words))


def _is_on(name: str, words: list[str]) -> bool:
    for word in words:
        if word.removeprefix("-") == name:
            return word == name
    return EVERY in words


def read_choice(context: click.Context, _parameter: click.Parameter, text: str) -> frozenset[str]:
    """Read the option's value; tell the names where it is `list`."""
    if text == LIST:
        click.echo("\n".join(NAMES))
        context.exit()
    return chosen(text)
