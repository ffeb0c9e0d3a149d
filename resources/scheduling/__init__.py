"""How important Pods are, and how they are run: what new Pods get of their PriorityClass and their RuntimeClass.

- `priority_class`: the kind
- `admission`: resolves a Pod's priority class, and keeps the default class one
- `runtime_classes`: resolves a Pod's runtime class (a kind that is declared in `stored`)
"""

from .priority_class import PriorityClass

__all__ = ["PriorityClass"]
