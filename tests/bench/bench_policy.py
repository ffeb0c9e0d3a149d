"""What a decision of RBAC costs, with 10,000 bindings in 1,000 namespaces, and what keeping the index costs.

python -m tests.bench.bench_policy
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from reconcile.identity import Access, Caller
from reconcile.kinds import kind_of
from reconcile.resources.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from reconcile.resources.rbac.bootstrap import bootstrap_policy
from reconcile.resources.rbac.policy import Policy

BINDINGS, NAMESPACES, ROUNDS, CALLS = 10_000, 1_000, 7, 20_000
KINDS = {kind_of(cls).kind: kind_of(cls) for cls in (Role, ClusterRole, RoleBinding, ClusterRoleBinding)}
ME = Caller("user-5", ("developers", "on-call", "system:authenticated"))
CASES = {
    "allowed by a RoleBinding to edit": Access("create", "", "pods", "", "ns-5", "x"),
    "allowed to read what is served": Access("get", path="/apis/apps/v1"),
    "denied": Access("create", "", "nodes", "", "", "x"),
}


def us_each(call: Callable[[], object], count: int) -> float:
    """The median over the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(count):
            call()
        rounds.append((time.perf_counter() - began) / count * 1e6)
    return statistics.median(rounds)


def main() -> None:
    policy = Policy()
    for tree in bootstrap_policy():
        policy.saw(KINDS[tree["kind"]], tree, gone=False)
    binding = {"roleRef": {"kind": "ClusterRole", "name": "edit"}}
    trees = [
        {
            **binding, "metadata": {"name": f"b{n}", "namespace": f"ns-{n % NAMESPACES}"},
            "subjects": [{"kind": "User", "name": f"user-{n}"}],
        }
        for n in range(BINDINGS)
    ]  # fmt: skip
    began = time.perf_counter()
    for tree in trees:
        policy.saw(KINDS["RoleBinding"], tree, gone=False)
    print(f"index: {(time.perf_counter() - began) / BINDINGS * 1e6:.1f} us a binding")
    for name, access in CASES.items():
        us = us_each(lambda access=access: policy(ME, access), CALLS)  # type: ignore[misc]  # the loop's value, bound now
        print(f"{name}: {us:.2f} us")


if __name__ == "__main__":
    main()
