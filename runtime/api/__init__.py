"""The API machinery: one storage strategy for every kind, over a watch store. Knows no built-in kind by name.

`ApiServer` is the face; `reconcile.runtime.api.http` puts it on the wire, `reconcile.runtime.client.InProcessClient` hands it
to controllers of the same process.

    server, stored          the facade, and what it answers with
    catalog                 which kinds are served, compiled once
    reading, watching       get, list, watch
    writing, deleting       create, update, patch, act; delete with grace, finalizers, propagation
    admission               mutators and validators
    answering               kinds and subresources that are asked, not stored
    security                who callers are and what they may: the seams
    metadata, names         what the server keeps in metadata, and what may stand there
    completion, validation  structural schemas compiled to closures: defaults and pruning; rules
    jsonpatch, mergepatch, strategic            patches, as pure functions on trees
    apply, ownership, structure, fieldsets      server-side apply: the merge, managedFields, merge rules, sets of paths
    scale                   the scale subresource
    versions                which version of an API clients prefer
    transaction             the bytes of an object, and why it is written
    refusals, errors        the reference server's error texts
"""

from reconcile.identity import ANONYMOUS, SYSTEM, Caller

from .server import ApiServer
from .stored import Change, Deleted, Listing, Notes, Stored
from .watching import Following

__all__ = ["ANONYMOUS", "SYSTEM", "ApiServer", "Caller", "Change", "Deleted", "Following", "Listing", "Notes", "Stored"]
