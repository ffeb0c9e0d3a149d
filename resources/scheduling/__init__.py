"""How important Pods are: PriorityClasses, and what new Pods get of them.

- `priority_class`: the kind
- `admission`: resolves a Pod's class, and keeps the default class one
"""

from .priority_class import PriorityClass

__all__ = ["PriorityClass"]
