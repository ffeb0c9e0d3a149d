"""What tests of controllers stand on; users import it from `reconcile.testing`.

- virtual      an event loop on which time passes only when everybody waits, and its clock
- universe     `World`: a whole control plane in virtual time; process, faulty, mirror are its parts
- plan         faults as texts, and the patterns that make them
- convergence  a workload under plans, against the run without faults; state, witness, report tell the difference
- walk, everyday   workloads drawn from schemas
- memory       an API in a dictionary, for tests of the engine itself; memory_world puts an engine on it
"""
