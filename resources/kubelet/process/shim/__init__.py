"""What runs outside the engine: the zygote and the shims it forks, one a pod.

This package imports the standard library only, little of it, and never anything of `reconcile`: it is loaded by a lean
interpreter of its own (`python -I -S`), under the top-level name `shim`. It may use `time`: it is no part of the engine,
and no virtual clock reaches it.
"""
