"""The `reconcile` command: one module a command, rendering, and no logic of its own."""
