"""The process runtime: containers are plain processes of this machine, and a small shim a pod looks after them."""

from .runtime import ProcessRuntime

__all__ = ["ProcessRuntime"]
