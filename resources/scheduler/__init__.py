"""The scheduler: finds a node for every Pod that has none, and says why when there is none.

`scheduler()` makes the operator. A pod goes queue -> filter and score -> assumed on the node in memory -> bound by the API.
One that finds no node may have less important ones end (`preemption`), whose room is then kept for it (`nomination`).
`taint_eviction()` makes another one, which ends Pods that a node's taints drive away after they were bound.
"""

from __future__ import annotations

from .operator import scheduler
from .plugin import Plugin
from .taint_eviction import taint_eviction

__all__ = ["Plugin", "scheduler", "taint_eviction"]
