"""Mutators that see one another's changes: whoever asks for it is asked a second time, when somebody changed the object after it.

All are asked once, one group (policies, webhooks) after the other. If one of them changed anything, all groups have a second
round, in which only those are asked that were asked before, asked for it, and came before a change. Policies that asked for it
are asked again after a change of their own, too, as on the reference server.

Source: k8s.io/apiserver/pkg/admission/{reinvocation.go,plugin/webhook/mutating/reinvocationcontext.go}
"""

from __future__ import annotations

from collections.abc import Hashable

from reconcile.errors import Tree


class Round:
    """What one group of mutators has to remember of a write."""

    __slots__ = ("_again", "_eligible", "_left", "changed", "second")

    def __init__(self) -> None:
        self.second = False
        self.changed = False
        self._eligible: set[Hashable] = set()
        self._again: set[Hashable] = set()
        self._left: Tree | None = None

    def begin(self, tree: Tree) -> None:
        """The group's turn begins with this object."""
        if self.second and tree != self._left:
            self._require()

    def end(self, tree: Tree, *, touched: bool = False) -> None:
        """The group's turn ends with this object; if one of it was `touched`, all that asked for it see the result."""
        self._left = tree
        if touched:
            self.changed = True
            self._require()

    def skips(self, key: Hashable) -> bool:
        """Whether a mutator is not asked in this round."""
        return self.second and key not in self._again

    def asked(self, key: Hashable, *, changed: bool, reinvoked: bool) -> None:
        """A mutator was asked, and `changed` the object or not; `reinvoked`: it wants to see later changes."""
        if changed:
            self.changed = True
            self._require()
        if reinvoked:
            self._eligible.add(key)

    def _require(self) -> None:
        self._again |= self._eligible
        self._eligible = set()
