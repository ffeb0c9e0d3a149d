"""Why objects are as they are: the store's causes and the engine's attempts, put together.

chronicle   what each revision did, and why
explaining  why, trace, why-not
replaying   today's handlers on the past, without consequences
pages       the same over HTTP, below /explain/
"""
