"""Tokens of service accounts: made, read, refused; and what others who check them see."""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import attrs
import jwt
import pytest

from reconcile.clock import parse_timestamp
from reconcile.errors import BadRequestError, ConflictError, NotFoundError, Tree, UnauthorizedError
from reconcile.identity import Caller
from reconcile.kinds import Kind, kind_of
from reconcile.resources.authentication.accounts import ISSUER, AccountTokens
from reconcile.resources.authentication.signing import SigningKey, SigningKeyError
from reconcile.resources.core import Node, Pod, Secret, ServiceAccount

KEY = SigningKey.generate()
ROBOT = {"metadata": {"name": "robot", "namespace": "ns", "uid": "sa-1"}}
WHO = "system:serviceaccount:ns:robot"
ME = Caller("me")


class StandingClock:
    """A clock that stands, unless it is put forward."""

    def __init__(self) -> None:
        self.now_s, self.random, self._uids = 1_800_000_000.0, random.Random(0), itertools.count()

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def uid(self) -> str:
        return f"uid-{next(self._uids)}"


@attrs.define
class World:
    """Objects by kind, namespace and name, and the tokens of their accounts."""

    objects: dict[tuple[str, str, str], Tree] = attrs.field(factory=dict)
    clock: StandingClock = attrs.field(factory=StandingClock)
    tokens: AccountTokens = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tokens = AccountTokens(SigningKey(lambda: KEY), self.clock, self.find)
        self.put(ServiceAccount, ROBOT)

    def put(self, cls: Any, tree: Tree) -> None:
        meta = tree["metadata"]
        self.objects[kind_of(cls).kind, meta.get("namespace", ""), meta["name"]] = tree

    def take(self, cls: Any, name: str, namespace: str = "ns") -> None:
        del self.objects[kind_of(cls).kind, namespace, name]

    def find(self, kind: Kind, name: str, namespace: str) -> Tree | None:
        return self.objects.get((kind.kind, namespace, name))

    def ask(self, **spec: Any) -> Tree:
        return self.tokens.respond(ROBOT, {"metadata": {"name": "robot"}, "spec": spec}, ME)

    def token(self, **spec: Any) -> str:
        return str(self.ask(**spec)["status"]["token"])


@pytest.fixture
def world() -> World:
    made = World()
    spec = {"serviceAccountName": "robot", "nodeName": "n"}
    made.put(Pod, {"metadata": {"name": "p", "namespace": "ns", "uid": "pod-1"}, "spec": spec})
    made.put(Secret, {"metadata": {"name": "s", "namespace": "ns", "uid": "secret-1"}})
    made.put(Node, {"metadata": {"name": "n", "uid": "node-1"}})
    return made


def bound(kind: str, name: str, uid: str = "") -> Tree:
    return {"kind": kind, "apiVersion": "v1", "name": name, **({"uid": uid} if uid else {})}


def test_a_token_stands_for_its_service_account(world: World) -> None:
    """For an hour, and for the API server, unless asked otherwise."""
    answer = world.ask()
    assert answer["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600}
    found = world.tokens.read(answer["status"]["token"], ())
    assert found is not None
    assert (found.caller.user, found.caller.uid) == (WHO, "sa-1")
    assert found.caller.groups == ("system:serviceaccounts", "system:serviceaccounts:ns")
    assert list(found.caller.extra) == ["authentication.kubernetes.io/credential-id"]


def test_another_library_reads_it_by_the_published_key(world: World) -> None:
    """Clouds and vaults trust service accounts by these two documents alone."""
    token = world.token(audiences=["vault"], boundObjectRef=bound("Pod", "p"))
    document = world.tokens.discovery("10.0.0.1:6443")
    assert (document["issuer"], document["jwks_uri"]) == (ISSUER, "https://10.0.0.1:6443/openid/v1/jwks")
    (key,) = jwt.PyJWKSet.from_dict(world.tokens.key_set("")).keys
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": key.key_id}
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}  # the virtual clock stands elsewhere
    claims = jwt.decode(token, key.key, algorithms=["ES256"], audience="vault", issuer=ISSUER, options=options)
    assert claims["sub"] == WHO
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["kubernetes.io"] == {
        "namespace": "ns", "serviceaccount": {"name": "robot", "uid": "sa-1"}, "pod": {"name": "p", "uid": "pod-1"},
        "node": {"name": "n", "uid": "node-1"},
    }  # fmt: skip


def test_a_token_of_another_library_with_our_key_is_read(world: World) -> None:
    """The key may be shared with a real API server."""
    now_s = int(world.clock.now())
    claims = {
        "iss": ISSUER, "aud": ISSUER, "exp": now_s + 60, "nbf": now_s, "sub": WHO,
        "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "robot", "uid": "sa-1"}},
    }  # fmt: skip
    claims["aud"] = [ISSUER]
    found = world.tokens.read(jwt.encode(claims, KEY.decode(), "ES256"), ())
    assert found is not None
    assert found.caller.user == WHO


def test_a_token_expires(world: World) -> None:
    """On the server's clock, also where it was shown, and remembered, before."""
    answer = world.ask(expirationSeconds=600)
    token = answer["status"]["token"]
    assert parse_timestamp(answer["status"]["expirationTimestamp"]) == world.clock.now_s + 600
    world.clock.now_s += 599
    assert world.tokens.read(token, ()) is not None
    world.clock.now_s += 1
    with pytest.raises(UnauthorizedError, match="expired"):
        world.tokens.read(token, ())
    world.clock.now_s -= 700
    with pytest.raises(UnauthorizedError, match="not valid yet"):
        world.tokens.read(token, ())


@pytest.mark.parametrize(
    ("spec", "cls", "name", "namespace"),
    [
        ({}, ServiceAccount, "robot", "ns"), ({"boundObjectRef": bound("Pod", "p")}, Pod, "p", "ns"),
        ({"boundObjectRef": bound("Secret", "s")}, Secret, "s", "ns"), ({"boundObjectRef": bound("Node", "n")}, Node, "n", ""),
    ],
)  # fmt: skip
def test_a_token_dies_with_what_it_is_bound_to(world: World, spec: Tree, cls: Any, name: str, namespace: str) -> None:
    """Deleting a Pod takes its token's power at once; another one of the same name does not give it back."""
    token = world.token(**spec)
    assert world.tokens.read(token, ()) is not None
    was = world.find(kind_of(cls), name, namespace)
    assert was is not None
    world.take(cls, name, namespace)
    with pytest.raises(UnauthorizedError, match="not there any more"):
        world.tokens.read(token, ())
    world.put(cls, {**was, "metadata": {**was["metadata"], "uid": "another"}})
    with pytest.raises(UnauthorizedError, match="not there any more"):
        world.tokens.read(token, ())


def test_a_pods_token_outlives_the_news_of_its_node(world: World) -> None:
    """The node is only told; a Pod that stays must not lose its rights with the Node object."""
    token = world.token(boundObjectRef=bound("Pod", "p"))
    world.take(Node, "n", "")
    found = world.tokens.read(token, ())
    assert found is not None
    assert found.caller.extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert found.caller.extra["authentication.kubernetes.io/node-uid"] == ["node-1"]


def test_a_token_for_others_is_none_for_the_api(world: World) -> None:
    """Who gets a token to check must not be able to act with it."""
    token = world.token(audiences=["vault", "shop"])
    with pytest.raises(UnauthorizedError, match="audiences"):
        world.tokens.read(token, ())
    found = world.tokens.read(token, ("other", "shop"))
    assert found is not None
    assert found.audiences == ("shop",)
    with pytest.raises(UnauthorizedError, match="audiences"):
        world.tokens.read(world.token(), ("vault",))


def _resigned(token: str) -> str:
    other = SigningKey(SigningKey.generate)
    return other.sign(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")))


def _with_claims(token: str) -> str:
    head, claims, signature = token.split(".")
    tree = json.loads(base64.urlsafe_b64decode(claims + "=="))
    tree["kubernetes.io"]["serviceaccount"]["name"] = "root"
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(tree).encode()).decode().rstrip('=')}.{signature}"


def _with_algorithm(name: str) -> Callable[[str], str]:
    def change(token: str) -> str:
        header = base64.urlsafe_b64encode(json.dumps({"alg": name}).encode()).decode().rstrip("=")
        return f"{header}.{token.split('.', 1)[1]}"

    return change


@pytest.mark.parametrize(
    "forged",
    [
        _resigned, _with_claims, _with_algorithm("none"), _with_algorithm("HS256"), lambda token: token.rpartition(".")[0] + ".",
        lambda token: token[:-4] + "AAAA", lambda token: token.rpartition(".")[0] + "." + "A" * 86,
    ],
)  # fmt: skip
def test_a_forged_token_is_refused(world: World, forged: Callable[[str], str]) -> None:
    """Another key, other claims, another algorithm, no signature, a wrong one, one of zeros."""
    with pytest.raises(UnauthorizedError):
        world.tokens.read(forged(world.token()), ())


@pytest.mark.parametrize("token", ["", "abc", "a.b.c", "..", "e30.e30.e30", "é.é.é", "e30." + "A" * 20000 + ".e30"])
def test_what_is_no_token_of_ours_is_left_to_others(world: World, token: str) -> None:
    """Another reader may know it; none of these may be an error."""
    assert world.tokens.read(token, ()) is None


@pytest.mark.parametrize(
    ("reference", "error", "says"),
    [
        (bound("Pod", "none"), NotFoundError, 'pods "none" not found'),
        (bound("Pod", "p", "other"), ConflictError, "does not match the UID in record"),
        (bound("ConfigMap", "x"), BadRequestError, "cannot bind token to object of type v1, Kind=ConfigMap"),
    ],
)  # fmt: skip
def test_a_token_is_bound_to_nothing_but_what_is_there(world: World, reference: Tree, error: type[Exception], says: str) -> None:
    """It would be worthless at once, or worse, somebody else's."""
    with pytest.raises(error, match=says):
        world.token(boundObjectRef=reference)


def test_a_token_is_not_bound_to_another_accounts_pod(world: World) -> None:
    """Its holder would look like that Pod."""
    world.put(Pod, {"metadata": {"name": "q", "namespace": "ns", "uid": "u"}, "spec": {"serviceAccountName": "default"}})
    with pytest.raises(BadRequestError, match="different serviceaccount name"):
        world.token(boundObjectRef=bound("Pod", "q"))


def test_a_signing_key_of_another_kind_is_refused() -> None:
    """Said in words, for whoever put their own key there."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(SigningKeyError, match="P-256"):
        SigningKey(lambda: other).sign({})


def held(world: World, **other: Any) -> str:
    """A token as kube-controller-manager makes it, in its Secret."""
    prefix = "kubernetes.io/serviceaccount/"
    claims = {
        "iss": "kubernetes/serviceaccount", "sub": WHO, f"{prefix}namespace": "ns", f"{prefix}secret.name": "held",
        f"{prefix}service-account.name": "robot", f"{prefix}service-account.uid": "sa-1", **other,
    }  # fmt: skip
    token = SigningKey(lambda: KEY).sign(claims)
    data = {"token": base64.b64encode(token.encode()).decode()}
    world.put(Secret, {"metadata": {"name": "held", "namespace": "ns", "uid": "s-1"}, "data": data})
    return token


def test_a_token_that_kube_controller_manager_put_into_a_secret_is_taken(world: World) -> None:
    """It has no end, names no audience, and comes from another issuer: the one that fills such Secrets there."""
    found = world.tokens.read(held(world), ())
    assert found is not None
    assert (found.caller.user, found.caller.uid) == (WHO, "sa-1")
    assert found.caller.groups == ("system:serviceaccounts", "system:serviceaccounts:ns")
    for_us = world.tokens.read(held(world), ("other", ISSUER))
    assert for_us is not None
    assert for_us.audiences == (ISSUER,)
    with pytest.raises(UnauthorizedError, match="for the API server alone"):
        world.tokens.read(held(world), ("other",))


def without_secret(world: World) -> None:
    world.take(Secret, "held")


def other_token(world: World) -> None:
    world.put(Secret, {"metadata": {"name": "held", "namespace": "ns"}, "data": {"token": "eHg="}})


def ending_secret(world: World) -> None:
    world.find(kind_of(Secret), "held", "ns")["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"  # type: ignore[index]


def marked_secret(world: World) -> None:
    labels = {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}
    world.find(kind_of(Secret), "held", "ns")["metadata"]["labels"] = labels  # type: ignore[index]


def without_account(world: World) -> None:
    world.take(ServiceAccount, "robot")


def other_account(world: World) -> None:
    world.put(ServiceAccount, {"metadata": {"name": "robot", "namespace": "ns", "uid": "sa-2"}})


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (without_secret, "does not hold it"),
        (other_token, "does not hold it"),
        (ending_secret, "does not hold it"),
        (marked_secret, "marked invalid since 2026-01-01"),
        (without_account, "not there any more"),
        (other_account, "not there any more"),
    ],
)
def test_a_secrets_token_is_worth_nothing_once_it_or_its_account_is_gone(
    world: World, happens: Callable[[World], None], why: str
) -> None:
    """It has no other end than that."""
    token = held(world)
    assert world.tokens.read(token, ())
    happens(world)
    with pytest.raises(UnauthorizedError, match=why):
        world.tokens.read(token, ())


def test_a_secrets_token_names_its_account_throughout(world: World) -> None:
    """The subject is what others look at; the claims are what is looked up."""
    with pytest.raises(UnauthorizedError, match="claims name no service account"):
        world.tokens.read(held(world, sub="system:serviceaccount:ns:other"), ())
