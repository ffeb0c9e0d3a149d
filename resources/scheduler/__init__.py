"""The scheduler: finds a node for every Pod that has none, and says why when there is none.

`scheduler()` makes the operator. A pod goes queue -> filter and score -> assumed on the node in memory -> bound by the API.
"""

from __future__ import annotations

from .operator import scheduler
from .plugin import Plugin

__all__ = ["Plugin", "scheduler"]
