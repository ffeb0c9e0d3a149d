"""Tokens of service accounts: made for TokenRequests, and read again, as long as what they are bound to is there.

A token says which service account it is of and, where it is bound, which Pod, Secret or Node it lives with. All of these are
looked up whenever it is shown: a deleted Pod's token is worthless at once.

Source: K/pkg/serviceaccount (claims.go, jwt.go), K/pkg/registry/core/serviceaccount/storage/token.go
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import attrs

from reconcile.clock import Clock, timestamp
from reconcile.errors import BadRequestError, ConflictError, NotFoundError, Tree, UnauthorizedError
from reconcile.identity import Caller, Identity
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Node, Pod, Secret, ServiceAccount

from .signing import SigningKey, parts_of
from .token_request import EXPIRES_S

ISSUER = "https://kubernetes.default.svc.cluster.local"
SECRETS_ISSUER = "kubernetes/serviceaccount"
"""Who makes the tokens that kube-controller-manager puts into Secrets."""
GROUP_ALL = "system:serviceaccounts"
_PREFIX = "system:serviceaccount:"
_CLAIM = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io"
_REMEMBERED_MAX = 4096
_BINDABLE = {("v1", "Pod"): Pod, ("v1", "Secret"): Secret, ("v1", "Node"): Node}

Find = Callable[[Kind, str, str], Tree | None]
"""(kind, name, namespace) -> the object as it is now, or None; without waiting."""


@attrs.define(eq=False)
class AccountTokens:
    """Makes and reads the tokens of one cluster's service accounts."""

    key: SigningKey
    clock: Clock
    find: Find
    issuer: str = ISSUER
    _read: OrderedDict[str, Tree] = attrs.field(factory=OrderedDict, init=False)

    # Making

    def respond(self, account: Tree, request: Tree, _caller: Caller) -> Tree:
        """Answer a TokenRequest about a service account.

        Raises:
            NotFoundError: what the token is to be bound to is not there.
            ConflictError: it is another one by now.
            BadRequestError: it cannot be bound to that.
        """
        spec = request.get("spec") or {}
        audiences = list(spec.get("audiences") or [self.issuer])
        lasts_s = int(spec.get("expirationSeconds") or EXPIRES_S)
        now_s = int(self.clock.now())
        meta = account["metadata"]
        private: Tree = {
            "namespace": meta["namespace"], "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
            **self._bound(account, spec.get("boundObjectRef")),
        }  # fmt: skip
        claims = {
            "aud": audiences, "exp": now_s + lasts_s, "iat": now_s, "iss": self.issuer, "jti": self.clock.uid(),
            _CLAIM: private, "nbf": now_s, "sub": f"{_PREFIX}{meta['namespace']}:{meta['name']}",
        }  # fmt: skip
        return {
            **request,
            "spec": {**spec, "audiences": audiences, "expirationSeconds": lasts_s},
            "status": {"token": self.key.sign(claims), "expirationTimestamp": timestamp(now_s + lasts_s)},
        }

    def _bound(self, account: Tree, reference: Tree | None) -> Tree:
        """The claims about what the token is bound to."""
        if not reference:
            return {}
        meta = account["metadata"]
        cls = _BINDABLE.get((reference.get("apiVersion") or "", reference.get("kind") or ""))
        if cls is None:
            shown = f"{reference.get('apiVersion') or ''}, Kind={reference.get('kind') or ''}"
            raise BadRequestError(f"cannot bind token to object of type {shown}")
        kind, name = kind_of(cls), reference.get("name") or ""
        found = self.find(kind, name, meta["namespace"] if kind.namespaced else "")
        if found is None:
            raise NotFoundError(f'{kind.plural} "{name}" not found', details={"name": name, "kind": kind.plural})
        uid = found["metadata"]["uid"]
        if reference.get("uid") and reference["uid"] != uid:
            raise ConflictError(
                f'Operation cannot be fulfilled on {kind.plural} "{name}": the UID in the bound object reference '
                f"({reference['uid']}) does not match the UID in record. The object might have been deleted and then recreated",
                details={"name": name, "kind": kind.plural},
            )
        claims: Tree = {kind.singular: {"name": name, "uid": uid}}
        if cls is Pod:
            spec = found.get("spec") or {}
            if spec.get("serviceAccountName") != meta["name"]:
                why = f'cannot bind token for serviceaccount "{meta["name"]}" to pod running with different serviceaccount name.'
                raise BadRequestError(why)
            node = self.find(kind_of(Node), spec["nodeName"], "") if spec.get("nodeName") else None
            if node is not None:
                claims["node"] = {"name": spec["nodeName"], "uid": node["metadata"]["uid"]}
        return claims

    # Reading

    def read(self, token: str, audiences: Sequence[str]) -> Identity | None:
        """Who a token stands for; None: it is none of ours.

        Raises:
            UnauthorizedError: it is ours and not valid (any more).
        """
        claims = self._claims(token)
        if claims is None:
            return None
        if claims["iss"] == SECRETS_ISSUER:
            return self._of_secret(token, claims, audiences)
        now_s = self.clock.now()
        if now_s >= float(claims.get("exp") or 0):
            raise UnauthorizedError("service account token has expired")
        if now_s + 1 < float(claims.get("nbf") or 0):
            raise UnauthorizedError("service account token is not valid yet")
        wanted = audiences or (self.issuer,)
        meant = tuple(name for name in wanted if name in claims.get("aud", ()))
        if not meant:
            raise UnauthorizedError(f"invalid bearer token: token audiences {claims.get('aud')} is invalid for {list(wanted)}")
        return Identity(self._caller(claims), meant if audiences else ())

    def _of_secret(self, token: str, claims: Tree, audiences: Sequence[str]) -> Identity:
        """Who a token stands for that the reference's controller made; it names no audience, and is for the API server alone."""
        from . import secret_tokens  # there are none, unless the reference's controller runs

        meant = tuple(name for name in audiences if name == self.issuer)
        if audiences and not meant:
            raise UnauthorizedError(f"invalid bearer token: it is for the API server alone, not for {list(audiences)}")
        return Identity(secret_tokens.caller_of(*secret_tokens.account_of(token, claims, self.find)), meant)

    def _claims(self, token: str) -> Tree | None:
        """The claims of a token whose signature holds; those of the tokens that were shown last are remembered."""
        known = self._read.get(token)
        if known is not None:
            self._read.move_to_end(token)
            return known
        try:
            if parts_of(token)[1].get("iss") not in (self.issuer, SECRETS_ISSUER):
                return None  # another reader's, perhaps
        except UnauthorizedError:
            return None
        claims = self._read[token] = self.key.read(token)
        if len(self._read) > _REMEMBERED_MAX:
            self._read.popitem(last=False)
        return claims

    def _caller(self, claims: Tree) -> Caller:
        private = claims.get(_CLAIM) or {}
        namespace, account = private.get("namespace") or "", private.get("serviceaccount") or {}
        name = account.get("name") or ""
        self._check(ServiceAccount, account, namespace)
        extra = {f"{_EXTRA}/credential-id": [f"JTI={claims.get('jti', '')}"]}
        for part, cls in (("pod", Pod), ("secret", Secret), ("node", Node)):
            bound = private.get(part)
            if not bound:
                continue
            # The node of a Pod's token is only told; a token that is bound to a node itself lives with it.
            if cls is not Node or "pod" not in private:
                self._check(cls, bound, namespace if cls is not Node else "")
            if part != "secret":
                extra[f"{_EXTRA}/{part}-name"] = [bound["name"]]
                extra[f"{_EXTRA}/{part}-uid"] = [bound["uid"]]
        groups = (GROUP_ALL, f"{GROUP_ALL}:{namespace}")
        return Caller(f"{_PREFIX}{namespace}:{name}", groups, account.get("uid") or "", extra)

    def _check(self, cls: type[ServiceAccount | Pod | Secret | Node], claimed: Tree, namespace: str) -> None:
        kind, name = kind_of(cls), claimed.get("name") or ""
        found = self.find(kind, name, namespace)
        if found is None or found["metadata"].get("uid") != claimed.get("uid"):
            raise UnauthorizedError(f'the token lives with {kind.singular} "{namespace}/{name}", which is not there any more')

    # For those who check tokens themselves

    def discovery(self, address: str) -> Tree:
        """The OpenID Connect discovery document."""
        return {
            "issuer": self.issuer, "jwks_uri": f"https://{address}/openid/v1/jwks", "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        }  # fmt: skip

    def key_set(self, _address: str) -> Tree:
        """The keys by which tokens can be checked."""
        return self.key.key_set()
