"""What rules allow, and which rules cover others: the arithmetic that everything else rests on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.identity import Access
from reconcile.resources.rbac.rules import CompiledRules, shown, uncovered

Tree = dict[str, Any]


def rule(verbs: str, groups: str, resources: str, names: str = "") -> Tree:
    made: Tree = {
        "verbs": verbs.split(), "apiGroups": ["" if g == "core" else g for g in groups.split()], "resources": resources.split(),
    }  # fmt: skip
    return {**made, "resourceNames": names.split()} if names else made


def urls(verbs: str, paths: str) -> Tree:
    return {"verbs": verbs.split(), "nonResourceURLs": paths.split()}


PODS = Access("get", "", "pods", "", "default", "web")


@pytest.mark.parametrize(
    ("rules", "access", "allowed"),
    [
        ([rule("get", "core", "pods")], PODS, True),
        ([rule("get", "core", "pods")], Access("list", "", "pods"), False),
        ([rule("*", "core", "pods")], Access("list", "", "pods"), True),
        ([rule("get", "apps", "pods")], PODS, False),
        ([rule("get", "*", "pods")], PODS, True),
        ([rule("get", "core", "*")], PODS, True),
        ([rule("get", "core", "pods", "web")], PODS, True),
        ([rule("get", "core", "pods", "db")], PODS, False),
        # A list of everything names nothing, so a rule for some names does not cover it; nor does a create.
        ([rule("list", "core", "pods", "web")], Access("list", "", "pods"), False),
        ([rule("create", "core", "pods", "web")], Access("create", "", "pods"), False),
        # A subresource is a resource of its own.
        ([rule("get", "core", "pods")], Access("get", "", "pods", "log", "default", "web"), False),
        ([rule("get", "core", "pods/log")], Access("get", "", "pods", "log", "default", "web"), True),
        ([rule("get", "core", "*/log")], Access("get", "", "pods", "log", "default", "web"), True),
        ([rule("get", "core", "*/scale")], Access("get", "", "pods", "log", "default", "web"), False),
        ([rule("get", "core", "*")], Access("get", "", "pods", "log"), True),
        ([rule("get", "core", "pods/*")], Access("get", "", "pods", "log"), False),
        ([rule("get", "core", "nodes"), rule("get", "core", "pods")], PODS, True),
        ([], PODS, False),
        # Rules about paths say nothing about resources, and the other way round.
        ([urls("get", "/healthz")], Access("get", path="/healthz"), True),
        ([urls("get", "/healthz")], Access("get", path="/healthz/etcd"), False),
        ([urls("get", "/healthz/*")], Access("get", path="/healthz/etcd"), True),
        ([urls("get", "/healthz/*")], Access("get", path="/healthz"), False),
        ([urls("get", "*")], Access("get", path="/anything"), True),
        ([urls("post", "/healthz")], Access("get", path="/healthz"), False),
        ([rule("*", "*", "*")], Access("get", path="/healthz"), False),
        ([urls("*", "*")], PODS, False),
    ],
)  # fmt: skip
def test_rules_allow_what_kubernetes_says_they_allow(rules: list[Tree], access: Access, allowed: bool) -> None:
    """One wrong row here is a door left open, or a user locked out."""
    assert CompiledRules(rules).allow(access) is allowed


@pytest.mark.parametrize(
    ("wanted", "held", "left"),
    [
        ([rule("get", "core", "pods")], [rule("get list", "core", "pods nodes")], []),
        (
            [rule("get list", "core", "pods")],
            [rule("get", "core", "pods")],
            ['{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'],
        ),
        ([rule("get list", "core", "pods")], [rule("get", "core", "pods"), rule("list", "core", "pods")], []),
        (
            [rule("get", "core", "pods")],
            [rule("get", "core", "pods", "web")],
            ['{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'],
        ),
        (
            [rule("get", "core", "pods", "web db")],
            [rule("get", "core", "pods", "web")],
            ['{APIGroups:[""], Resources:["pods"], ResourceNames:["db"], Verbs:["get"]}'],
        ),
        ([rule("get", "apps", "deployments/scale")], [rule("get", "apps", "*/scale")], []),
        ([rule("get", "apps", "deployments")], [rule("get", "apps", "*")], []),
        ([rule("*", "*", "*")], [rule("get", "*", "*")], ['{APIGroups:["*"], Resources:["*"], Verbs:["*"]}']),
        ([urls("get", "/api/v1")], [urls("get", "/api/*")], []),
        ([urls("get", "/api /x")], [urls("get", "/api")], ['{NonResourceURLs:["/x"], Verbs:["get"]}']),
        ([urls("get", "/api")], [rule("*", "*", "*")], ['{NonResourceURLs:["/api"], Verbs:["get"]}']),
        (
            [rule("get", "core", "pods secrets"), rule("list", "core", "secrets")],
            [],
            [
                '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}',
                '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}',
            ],
        ),
    ],
)
def test_what_is_not_covered_is_told_as_the_reference_server_tells_it(
    wanted: list[Tree], held: list[Tree], left: list[str]
) -> None:
    """People read from this text which permission they lack."""
    assert shown(uncovered(wanted, held)) == left


WORDS = st.sampled_from(["a", "b", "*"])
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "verbs": st.lists(WORDS, min_size=1, max_size=2), "apiGroups": st.lists(WORDS, min_size=1, max_size=2),
            "resources": st.lists(st.sampled_from(["a", "b", "*", "a/x", "*/x"]), min_size=1, max_size=2),
        },
        optional={"resourceNames": st.lists(st.sampled_from(["n", "m"]), min_size=1, max_size=2)},
    ),
    max_size=3,
)  # fmt: skip
ACCESSES = st.builds(
    Access, st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from(["", "x"]),
    st.just(""), st.sampled_from(["", "n", "o"]),
)  # fmt: skip


@given(wanted=RULES, held=RULES, access=ACCESSES)
def test_covered_rules_allow_nothing_that_the_covering_ones_do_not(wanted: list[Tree], held: list[Tree], access: Access) -> None:
    """Otherwise a role could be granted that gives more than its author has."""
    if not uncovered(wanted, held) and CompiledRules(wanted).allow(access):
        assert CompiledRules(held).allow(access)
