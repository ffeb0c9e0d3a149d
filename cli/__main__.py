"""`python -m reconcile.cli` is `reconcile`."""

from .main import main

main()
