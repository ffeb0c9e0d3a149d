"""What can go wrong with a store on an etcd cluster, beyond what can go wrong with any store.

    ReconcileError
    ├── StoreError
    │   ├── EtcdRefusal                 etcd refuses for a reason of its own (rights, a member that is damaged ...)
    │   └── UnavailableError
    │       ├── UnreachableError        no endpoint answers; nothing of the request was done
    │       └── UncertainWriteError     a write was sent, and nobody can tell any more whether it was done
    └── AddressFormError                the address of the cluster cannot be read

Everything else is raised as the embedded store raises it: CompactedError, LeaseNotFoundError and so on.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.errors import ReconcileError
from reconcile.runtime.store.errors import StoreError, UnavailableError


class AddressFormError(ReconcileError):
    """The address of the etcd cluster cannot be read."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text!r} is no address of an etcd cluster: {why}; write etcd://host:2379,host:2379/prefix")


class EtcdRefusal(StoreError):
    """etcd refuses for a reason that the embedded store does not know."""

    def __init__(self, code: str, text: str, endpoint: str, hint: str = "") -> None:
        # Both are per refusal here: the class-wide values of StoreError are for errors that are a class each.
        self.code, self.text = code, text  # type: ignore[misc]  # an instance may say its own
        super().__init__(f"etcd at {endpoint}{'; ' if hint else ''}{hint}")


class UnreachableError(UnavailableError):
    """No endpoint of the cluster answers."""

    text = "etcdserver: unhealthy cluster"

    def __init__(self, endpoints: Sequence[str], why: str) -> None:
        super().__init__(
            f"no answer from etcd at {', '.join(endpoints)}: {why}; see that it runs (`etcdctl --endpoints="
            f"{','.join(endpoints)} endpoint health`), and that the address given with --store is right"
        )


class UncertainWriteError(UnavailableError):
    """A write was sent, its answer was lost, and reading cannot tell: it may still be done, or not."""

    text = "etcdserver: request timed out"

    def __init__(self, endpoints: Sequence[str], why: str) -> None:
        super().__init__(f"etcd at {', '.join(endpoints)} took a write and gave no answer: {why}; read, then decide")
