"""What commands say to an API server that is not ours: what it cannot know is told, not answered with its own 404."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reconcile.cli import causes, top
from reconcile.cli.errors import CommandError, NoControlPlane
from reconcile.cli.target import Target
from reconcile.errors import NotFoundError, Tree


class Another:
    """A server that keeps no causes and measures nothing."""

    namespace = "default"

    def __init__(self, words: str) -> None:
        self._words, self.error = words, CommandError("")

    def read(self, path: str, **_: str) -> Tree:
        raise NotFoundError(self._words)

    def resolve(self, name: str) -> Any:
        raise self.error


@pytest.mark.parametrize("words", ["404 page not found\n", "the server could not find the requested resource"])
def test_a_server_without_causes_is_told_from_an_object_that_is_not_there(words: str) -> None:
    """`why`, `trace`, `find` and `incident` ask beside the API's groups, where Kubernetes answers in plain text."""
    with pytest.raises(CommandError, match="this server keeps no causes; it is a feature of `reconcile up`"):
        causes.ask(cast(Target, Another(words)), "why")
    with pytest.raises(NotFoundError, match='pods "a" not found'):
        causes.ask(cast(Target, Another('pods "a" not found')), "why")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CommandError("the server does not have a resource type"), "metrics.k8s.io is not served"),
        (NoControlPlane("nothing answers"), "nothing answers"),
    ],
)
def test_top_says_that_nothing_is_measured(error: CommandError, said: str) -> None:
    """On a Kubernetes without metrics-server; one that cannot be reached is something else."""
    another = Another("")
    another.error = error
    with pytest.raises(type(error), match=said):
        top.measured(cast(Target, another), "nodes")
