"""`reconcile auth`: who you are to the API, and what you may do."""

from __future__ import annotations

import sys

import click

from reconcile.errors import Tree

from .errors import CommandError
from .printing import examples, output_option, show, table
from .target import Target, target_options

_REVIEWS = "/apis/authorization.k8s.io/v1"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@click.group("auth")
def command() -> None:
    """Who you are to the API, and what you may do there."""


@command.command("can-i", epilog=examples("reconcile auth can-i create deployments", "reconcile auth can-i --list -n shop"))
@click.argument("verb", required=False)
@click.argument("what", required=False, metavar="[KIND | KIND/NAME | /PATH]")
@click.option("--list", "lists", is_flag=True, help="Show everything that you may do in the namespace.")
@click.option("--subresource", default="", help="A part of it: log, scale, status ...")
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing; the exit code tells (0 yes, 1 no).")
@target_options
def can_i(
    target: Target, verb: str | None, what: str | None, lists: bool, subresource: str, all_namespaces: bool, quiet: bool
) -> None:
    """Say whether you may do VERB (get, list, create ...; * is all) with a kind, one object, or a URL path.

    Exit code 0: yes, 1: no.
    """
    if lists:
        if verb or what:
            raise CommandError("--list shows all of it; leave verb and kind out")
        click.echo(_rules(target))
        return
    if not verb or not what:
        raise CommandError("say verb and kind (`can-i create pods`), or --list")
    review = {"spec": _wanted(target, verb, what, subresource, all_namespaces)}
    status = target.write("POST", f"{_REVIEWS}/selfsubjectaccessreviews", review).get("status") or {}
    allowed = bool(status.get("allowed"))
    if not quiet:
        reason = f" - {status['reason']}" if status.get("reason") and not allowed else ""
        click.echo("yes" if allowed else f"no{reason}")
    if not allowed:
        sys.exit(1)


@command.command("whoami", epilog=examples("reconcile auth whoami", "reconcile auth whoami --output json"))
@output_option("json", "yaml")
@target_options
def whoami(target: Target, output: str | None) -> None:
    """Show your user name, groups and what else the API knows of you."""
    review = target.write("POST", _WHO, {})
    if output:
        show(review, output)
        return
    user = review["status"]["userInfo"]
    rows = [["Username", user.get("username", "")]]
    if user.get("uid"):
        rows.append(["UID", user["uid"]])
    rows.append(["Groups", ", ".join(user.get("groups") or [])])
    rows += [[f"Extra: {key}", ", ".join(values)] for key, values in sorted((user.get("extra") or {}).items())]
    click.echo(table(["Attribute", "Value"], rows))


def _wanted(target: Target, verb: str, what: str, subresource: str, all_namespaces: bool) -> Tree:
    if what.startswith("/"):
        return {"nonResourceAttributes": {"path": what, "verb": verb}}
    word, _, name = what.partition("/")
    wanted: Tree = {"verb": verb, "name": name, "subresource": subresource}
    if word == "*":
        return {
            "resourceAttributes": {**wanted, "group": "*", "resource": "*", "namespace": _place(target, True, all_namespaces)}
        }
    resource = target.resolve(word)
    place = _place(target, resource.namespaced, all_namespaces)
    return {"resourceAttributes": {**wanted, "group": resource.group, "resource": resource.plural, "namespace": place}}


def _place(target: Target, namespaced: bool, all_namespaces: bool) -> str:
    return target.namespace if namespaced and not all_namespaces else ""


def _rules(target: Target) -> str:
    status = target.write("POST", f"{_REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": target.namespace}})["status"]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for rule in status.get("resourceRules") or ():
        names = ", ".join(rule.get("resourceNames") or [])
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                rows.setdefault((f"{resource}.{group}" if group else resource, "", names), []).extend(rule["verbs"])
    for rule in status.get("nonResourceRules") or ():
        for url in rule.get("nonResourceURLs") or ():
            rows.setdefault(("", url, ""), []).extend(rule["verbs"])
    shown = [
        [*key, ", ".join(dict.fromkeys(verbs))] for key, verbs in sorted(rows.items(), key=lambda row: (row[0][0] == "", row[0]))
    ]
    text = table(["Resources", "URL Paths", "Names", "Verbs"], shown)
    return f"{text}\n(incomplete: {status['evaluationError']})" if status.get("incomplete") else text
