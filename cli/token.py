"""`reconcile token`: tokens of service accounts."""

from __future__ import annotations

import click

from reconcile.errors import Tree

from .errors import CommandError
from .printing import examples, output_option, show
from .target import Target, target_options

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group("token")
def command() -> None:
    """Tokens, by which programs outside speak to the API as a service account."""


@command.command(
    "create", epilog=examples("reconcile token create default", "reconcile token create robot --duration 8h -n shop")
)
@click.argument("account")
@click.option("--duration", default="", metavar="TIME", help="How long it is valid: 30m, 8h, 7d ... [default: an hour].")
@click.option("--audience", "audiences", multiple=True, help="For whom it is meant; repeatable [default: the API].")
@click.option("--bound-to", default="", metavar="KIND/NAME", help="A pod, secret or node that it lives and dies with.")
@output_option("json", "yaml")
@target_options
def create(target: Target, account: str, duration: str, audiences: tuple[str, ...], bound_to: str, output: str | None) -> None:
    """Print a token of a service account. Whoever has it may do what the account may, until it expires."""
    spec: Tree = {"audiences": list(audiences)} if audiences else {}
    if duration:
        spec["expirationSeconds"] = seconds(duration)
    if bound_to:
        spec["boundObjectRef"] = _reference(target, bound_to)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = target.path(target.resolve("serviceaccounts"), account, subresource="token")
    answer = target.write("POST", path, body)
    if output:
        show(answer, output)
    else:
        click.echo(answer["status"]["token"])


def seconds(text: str) -> int:
    """`90s`, `30m`, `8h`, `1h30m`, `7d` in seconds.

    Raises:
        CommandError: it is none of these.
    """
    total, digits = 0, ""
    for letter in text:
        if letter.isdigit():
            digits += letter
        elif letter in _UNITS_S and digits:
            total, digits = total + int(digits) * _UNITS_S[letter], ""
        else:
            break
    else:
        if text and not digits:
            return total
    raise CommandError(f"--duration {text!r}: give a number with its unit, such as 30m, 8h or 7d")


def _reference(target: Target, bound_to: str) -> Tree:
    word, _, name = bound_to.partition("/")
    if not name:
        raise CommandError(f"--bound-to {bound_to!r}: name kind and object, such as pod/web-1")
    resource = target.resolve(word)
    found = target.read(target.path(resource, name))
    return {"apiVersion": resource.api_version, "kind": resource.kind, "name": name, "uid": found["metadata"]["uid"]}
