"""The built-in kinds and the handlers that reconcile them, written with the vocabulary alone."""
