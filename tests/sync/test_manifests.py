"""Manifest files: what is understood, and what is said about what is not."""

from __future__ import annotations

import pytest

from reconcile.runtime.sync.manifests import FILE_BYTES_MAX, Manifest, read_manifests
from reconcile.runtime.sync.problems import Problem, SourceError

WEB = b"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: three
  template:
    spec:
      containers:
        - name: a
          image: x
"""


def problem_of(data: bytes) -> Problem:
    with pytest.raises(SourceError) as caught:
        read_manifests("web.yaml", data)
    return caught.value.problem


def only(data: bytes) -> Manifest:
    (manifest,) = read_manifests("web.yaml", data)
    return manifest


def test_a_field_path_leads_to_its_line_and_column() -> None:
    """Errors of the server name a path; people need a line."""
    manifest = only(WEB)

    assert manifest.position("spec.replicas") == (6, 13)
    assert manifest.position("spec.template.spec.containers[0].image") == (11, 18)
    assert manifest.position("spec.template.spec.containers[0].absent") == (10, 11)


def test_documents_and_lists_are_taken_apart() -> None:
    """Both are how people put several objects into one file."""
    data = (
        b"---\n"
        + WEB
        + b"---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: x}}\n"
    )

    found = read_manifests("web.yaml", data)

    assert [(m.kind, m.line) for m in found] == [("Deployment", 2), ("A", 19)]


def test_json_is_yaml() -> None:
    """JSON manifests work as they are."""
    assert only(b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}').name == "c"


def test_dates_stay_strings() -> None:
    """Kubernetes reads an unquoted date as the string it is; PyYAML alone would make a date of it."""
    assert only(b"{apiVersion: v1, kind: A, metadata: {name: x}, data: {d: 2026-11-23}}").tree["data"]["d"] == "2026-11-23"


@pytest.mark.parametrize(
    ("data", "where", "says"),
    [
        (b"a: [1\nb: 2\n", (2, 2), "not valid YAML"),
        (b"a:\n\tb: 1\n", (2, 1), "not valid YAML"),
        (b"apiVersion: v1\nkind: A\nmetadata: {name: x}\nkind: B\n", (4, 1), "stands twice, first in line 2"),
        (b"apiVersion: v1\nmetadata: {name: x}\n", (1, 1), "kind is missing"),
        (b"kind: A\nmetadata: {name: x}\n", (1, 1), "apiVersion is missing"),
        (b"apiVersion: v1\nkind: A\nmetadata: {}\n", (1, 1), "metadata.name is missing"),
        (b"apiVersion: v1\nkind: A\nmetadata: {generateName: x-}\n", (1, 1), "metadata.name is missing"),
        (b"just words\n", (1, 1), "a manifest is a mapping, this is a str"),
        (b"apiVersion: v1\nkind: A\nmetadata: {name: x, 1: y}\n", (3, 21), "the key '1' is not a string"),
        (b"\x00\x01\x02binary", (1, 1), "a binary file"),
        (b"a: \xff\xfe\n", (1, 0), "not UTF-8"),
        (b"a: b\x07\n", (1, 0), "cannot stand in YAML"),
        (b"a: &a [*a]\n", (1, 4), "an alias refers to what contains it"),
    ],
)
def test_what_cannot_be_understood_is_said_with_its_place(data: bytes, where: tuple[int, int], says: str) -> None:
    """File, line, column, what, and what to do: nobody should have to search."""
    problem = problem_of(data)

    assert says in problem.message
    assert where == (problem.line, problem.column)
    assert problem.hint


def test_a_file_larger_than_an_object_may_be_is_refused_unread() -> None:
    """A 5 MB file is a mistake, and must not cost its parsing."""
    assert "larger than 3 MiB" in problem_of(b"a: b\n" * (FILE_BYTES_MAX // 5 + 2)).message


def test_aliases_cannot_blow_a_small_file_up() -> None:
    """The "billion laughs": nine lines that expand to a thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert "aliases expanded" in problem_of("\n".join(lines).encode()).message
