"""The engine: what runs handlers. Informers see changes, queues order work, controllers run handlers level-triggered.

Knows no built-in kind by name but Event, which it writes. `engine.Engine` is the way in.
"""
