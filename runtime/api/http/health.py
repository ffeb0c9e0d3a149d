"""`/healthz`, `/livez` and `/readyz`: what is well, and what is not; and how often it was, for those who measure that.

Source: k8s.io/apiserver/pkg/server/healthz, k8s.io/component-base/metrics/prometheus/slis
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .exchange import TEXT, Answer, Request, no_such_path
from .metrics import metric

Check = Callable[[], str]
"""A health check: an empty string when all is well, else what is wrong."""
ROOTS = ("healthz", "livez", "readyz")


class Health:
    """The checks of one server, and what came of those that somebody asked for."""

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {"ping": lambda: ""}
        self.ready_checks: dict[str, Check] = {}
        """Asked by /readyz alone."""
        self._asked = Counter[tuple[str, str, str]]()

    def answer(self, request: Request, root: str, single: str) -> Answer:
        """`ok`, or with ?verbose one line for each check; 500 when one fails."""
        checks = self._checks(root)
        if single and single not in checks:
            return no_such_path()
        chosen = {single: checks[single]} if single else checks
        excluded = request.query.get("exclude", "").split(",")
        found = {name: check() for name, check in chosen.items() if name not in excluded}
        self._note(root, found)
        failed = any(found.values())
        lines = [f"[-]{name} failed: {what}" if what else f"[+]{name} ok" for name, what in found.items()]
        if failed:
            return Answer(500, "\n".join([*lines, f"{root} check failed", ""]).encode(), TEXT)
        if "verbose" in request.query and not single:
            return Answer(200, "\n".join([*lines, f"{root} check passed", ""]).encode(), TEXT)
        return Answer(200, b"ok", TEXT)

    def indicators(self) -> str:
        """The page /metrics/slis: the result of each check now, and how often who asked for it got which one."""
        last = [
            ({"name": name, "type": root}, float(not check()))
            for root in ROOTS for name, check in self._checks(root).items()
        ]  # fmt: skip
        counts = [({"name": name, "status": status, "type": root}, n) for (name, root, status), n in self._asked.items()]
        return metric("kubernetes_healthcheck", "gauge", "The result of a health check: 1 is well.", last) + metric(
            "kubernetes_healthchecks_total", "counter", "Results of health checks.", counts
        )

    def _checks(self, root: str) -> dict[str, Check]:
        return {**self.checks, **self.ready_checks} if root == "readyz" else self.checks

    def _note(self, root: str, found: dict[str, str]) -> None:
        for name, what in found.items():
            self._asked[name, root, "error" if what else "success"] += 1
