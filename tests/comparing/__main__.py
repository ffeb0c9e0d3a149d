"""python -m tests.comparing REFERENCE.kubeconfig OURS.kubeconfig [--only GROUP ...] [--kind KIND ...] [--json F] [--record F]

Sends the same requests to both, and tells where the answers differ. Groups: discovery, created, replaced, tables, machinery, bad.
Both have to be servers that nobody needs: objects by the name cmp-* are made and deleted, and a namespace cmp-XXXXXX.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections import Counter
from pathlib import Path

from reconcile.runtime.client.blocking import BlockingClient
from reconcile.runtime.client.kubeconfig import load

from .asking import Ask, Difference, Pair, Tree
from .machinery import AGGREGATED, JSON, TABLE, machinery
from .objects import Schemas, bad, creation, objects

GROUPS = ("discovery", "created", "replaced", "tables", "machinery", "bad")
_SHOWN = 160
_REFUSED = 400


class Comparison:
    """Everything that is asked, and what came of it."""

    def __init__(self, pair: Pair, wanted: list[str]) -> None:
        self.pair = pair
        self.namespace = f"cmp-{secrets.token_hex(3)}"
        self.found: list[Difference] = []
        resources = {(r.group, r.version, r.kind): r for r in pair.clients[0].resources()}

        def find(api_version: str, kind: str) -> tuple[str, bool]:
            group, _, version = api_version.rpartition("/")
            resource = resources.get((group, version, kind))
            if resource is None:
                served = pair.clients[0].ask("GET", f"/apis/{api_version}" if group else f"/api/{api_version}")["resources"]
                entry = next(entry for entry in served if entry["kind"] == kind and "/" not in entry["name"])
                return entry["name"], entry["namespaced"]
            return resource.plural, resource.namespaced

        self.objects = [one for one in objects(find, self.namespace) if not wanted or one.tree["kind"] in wanted]

    def ask(self, ask: Ask) -> Tree | str | None:
        """Ask both; what differs is kept."""
        answer, differences = self.pair.ask(ask)
        self.found += differences
        return answer

    def run(self, groups: list[str]) -> None:
        """Ask everything of the groups, in a namespace of its own."""
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        self.ask(Ask("create a namespace", "POST", "/api/v1/namespaces", made, JSON))
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default"
        for client in self.pair.clients:
            while client.request("GET", account).status != 200:  # its controller makes it
                time.sleep(0.05)
        try:
            for group in groups:
                getattr(self, group)()
        finally:
            self._clean()

    def discovery(self) -> None:
        """What is served, resource by resource."""
        for client_accept in (AGGREGATED, {}):
            for path in ("/api", "/apis"):
                self.ask(Ask(f"discovery {path} {'aggregated' if client_accept else ''}", "GET", path, None, client_accept))
        for version in sorted({one.tree["apiVersion"] for one in self.objects}):
            path = f"/apis/{version}" if "/" in version else f"/api/{version}"
            self.ask(Ask(f"discovery {path}", "GET", path))

    def created(self) -> None:
        """What is made of the least that each kind takes."""
        for one in self.objects:
            self.ask(creation(one, self.namespace))

    def replaced(self) -> None:
        """What a replacement without a revision, and one with it, makes of each."""
        for one in self.objects:
            path = one.path(self.namespace, one.tree["metadata"]["name"])
            self.ask(Ask(f"replace {one.about} without a revision", "PUT", path, one.tree, JSON))
            self.ask(Ask(f"label {one.about}", "PATCH", path, {"metadata": {"labels": {"cmp": "x"}}}, _MERGE))
            self.ask(Ask(f"no spec for {one.about}", "PATCH", f"{path}?dryRun=All", {"spec": None}, _MERGE))
            self.ask(Ask(f"status of {one.about}", "PATCH", f"{path}/status?dryRun=All", {"status": {}}, _MERGE))

    def tables(self) -> None:
        """The Table of each."""
        for one in self.objects:
            path = one.path(self.namespace, one.tree["metadata"]["name"])
            self.ask(Ask(f"table of {one.about}", "GET", f"{path}?includeObject=None", None, TABLE))

    def machinery(self) -> None:
        """All about the API itself."""
        for ask in machinery(self.namespace):
            self.ask(ask)

    def bad(self) -> None:
        """One field wrong, for each field of each kind."""
        documents: dict[str, Schemas] = {}
        for one in self.objects:
            group, _, version = one.tree["apiVersion"].rpartition("/")
            if one.group_path not in documents:
                documents[one.group_path] = Schemas(self.pair.clients[0].ask("GET", f"/openapi/v3{one.group_path}"))
            schema = documents[one.group_path].of_kind(group, version, one.tree["kind"])
            if schema is None:
                print(f"no schema of {one.about}")
                continue
            renamed = {**one.tree, "metadata": {"name": f"{one.tree['metadata']['name']}-bad"}}
            for ask in bad(one._replace(tree=renamed), documents[one.group_path], schema, self.namespace):
                self.ask(ask)

    def _clean(self) -> None:
        for client in self.pair.clients:
            for one in self.objects:
                if not one.namespaced:
                    client.request("DELETE", one.path("", one.tree["metadata"]["name"]))
            client.request("DELETE", f"/api/v1/namespaces/{self.namespace}")


_MERGE = {"Content-Type": "application/merge-patch+json"}


def main() -> None:
    """As a command."""
    parser = argparse.ArgumentParser(prog="python -m tests.comparing", description=__doc__)
    parser.add_argument("reference", type=Path)
    parser.add_argument("ours", type=Path)
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--kind", nargs="*", default=[])
    parser.add_argument("--json", type=Path, help="where to put the differences")
    parser.add_argument("--record", type=Path, help="where to put the reference's answers, for tests/comparing/test_recorded.py")
    options = parser.parse_args()
    pair = Pair(BlockingClient(load(options.reference)), BlockingClient(load(options.ours)))
    comparison = Comparison(pair, options.kind)
    comparison.run(options.only)
    if options.record:
        kept = {about: answer for about, answer in pair.answers.items() if about.startswith("create ") or answer[0] >= _REFUSED}
        options.record.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in kept.items()) + "\n}\n")
    if options.json:
        options.json.write_text(json.dumps([difference._asdict() for difference in comparison.found], indent=1))
    for about, count in Counter(difference.about for difference in comparison.found).items():
        print(f"{about}  ({count})")
        for difference in comparison.found:
            if difference.about == about:
                shown = [str(value)[:_SHOWN] for value in (difference.reference, difference.ours)]
                print(f"    {difference.where}\n      - {shown[0]}\n      + {shown[1]}")
    print(f"{pair.asked} requests, {len({d.about for d in comparison.found})} answered otherwise")


if __name__ == "__main__":
    main()
