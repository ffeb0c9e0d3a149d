"""What runs declarations: store, API, engine, sync. Knows no built-in kind by name."""
