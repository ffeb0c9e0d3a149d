"""Whatever is put into the folder: a clear error that says where, nothing lost, nothing crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.plane import Plane, Tree

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: bad
spec:
  replicas: 1
  selector:
    matchLabels: {app: bad}
  template:
    metadata:
      labels: {app: bad}
    spec:
      containers:
        - name: main
          command: [sleep, "600"]
"""


def told(plane: Plane, file: str) -> Tree:
    """The problem of a file, once it is told; and everything else goes on meanwhile."""
    problem = plane.wait(f"what is wrong with {file} is told", lambda: plane.problem_of(file))
    assert problem.get("hint"), f"{problem} does not say what to do"
    anchor = plane.get("configmaps", "anchor")
    assert anchor is not None
    works = plane.folder / "works.yaml"
    works.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: works-{abs(hash(file)) % 10**6}}}\n")
    plane.wait("other files are applied", lambda: plane.get("configmaps", f"works-{abs(hash(file)) % 10**6}"))
    return problem


@pytest.mark.parametrize(
    ("line", "replaced_by", "at", "words"),
    [
        ("  replicas: 1", "  replicas: three", (6, 13), "spec.replicas"),
        ("          command: [sleep, \"600\"]", "          command: sleep 600", (15, 20), "containers[0].command"),
        ("          command: [sleep, \"600\"]", "          commandd: [sleep]", (15, 11), "commandd"),
        ("    matchLabels: {app: bad}", "    matchLabels: {app: other}", (11, 15), "spec.template.metadata.labels"),
        ("        - name: main", "        - name: Main_1", (14, 17), "spec.template.spec.containers[0].name"),
        ("  name: bad", "  name: Bad_Name", (4, 9), "metadata.name"),
        ("  replicas: 1", "  replicas: -1", (6, 13), "spec.replicas"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_at_its_line_and_column(
    live: Plane, line: str, replaced_by: str, at: tuple[int, int], words: str
) -> None:
    """`file:line:column` leads the editor to the value; the field's path says what it is."""
    assert line in DEPLOYMENT
    (live.folder / "bad.yaml").write_text(DEPLOYMENT.replace(line, replaced_by))
    problem = told(live, "bad.yaml")
    assert words in problem["message"]
    assert (problem["line"], problem["column"]) == at, problem
    assert live.gone("deployments", "bad")


def test_a_wrong_edit_of_something_that_runs_leaves_it_running(live: Plane) -> None:
    """The last good state is worth more than the newest."""
    file = live.folder / "bad.yaml"
    file.write_text(DEPLOYMENT)
    live.wait("it runs", lambda: live.rolled_out("bad"))
    pids = {c.pid for c in live.containers()}
    for wrong in ("replicas: three", "replicas: 1\n  unknownField: 1", "replicas: 1\n\ttab: 1", "replicas: 1\n  replicas: 2"):
        file.write_text(DEPLOYMENT.replace("replicas: 1", wrong))
        told(live, "bad.yaml")
        assert {c.pid for c in live.containers()} == pids
        file.write_text(DEPLOYMENT)
        live.wait("nothing is wrong any more", lambda: not live.problems())
    assert {c.pid for c in live.containers()} == pids


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2\nb: 3\n", "expected"),
        ("just words\n", "mapping"),
        ("apiVersion: v1\nkind: ConfigMap\n", "metadata.name"),
        ("kind: ConfigMap\nmetadata: {name: a}\n", "apiVersion"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "kind"),
        ("apiVersion: v1\nkind: ConfigMapp\nmetadata: {name: a}\n", "ConfigMapp"),
        ("apiVersion: apps/v9\nkind: Deployment\nmetadata: {name: a}\n", "apps/v9"),
        ("apiVersion: nobody.dev/v1\nkind: Unheard\nmetadata: {name: a}\n", "Unheard"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}\n", "data"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: [1]\n", "data"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: [a]\n", "metadata"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nmetadata: {name: b}\n", "metadata"),
        (("a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n"
         "d: &d [*c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e]\n"), ""),
        ("? [complex, key]\n: value\n", "key"),
        ("!!python/object/apply:os.system ['true']\n", "tag"),
        ("a: *nowhere\n", "alias"),
        ("a: &a [*a]\n", ""),
    ],
)  # fmt: skip
def test_a_text_that_is_no_manifest_is_told(live: Plane, text: str, words: str) -> None:
    """Typing errors, other people's YAML, and attacks."""
    (live.folder / "text.yaml").write_text(text)
    problem = told(live, "text.yaml")
    assert words in problem["message"], problem
    assert problem.get("line"), problem


def test_a_binary_file_is_told(live: Plane) -> None:
    """An image named .yaml by mistake."""
    (live.folder / "image.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 20)
    assert "binary" in told(live, "image.yaml")["message"]


def test_an_object_of_five_megabytes_is_told(live: Plane) -> None:
    """Bounds are said, not run into."""
    big = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata:\n"
    (live.folder / "big.yaml").write_text(big + f"  blob: {'x' * 5_000_000}\n")
    assert "large" in told(live, "big.yaml")["message"] or "MB" in told(live, "big.yaml")["message"]
    # Through the API it is refused too, and the server lives on.
    done = live.run("apply", "-f", str(live.folder / "big.yaml"))
    assert done.returncode == 1
    assert "large" in done.stderr.lower(), done.stderr
    (live.folder / "big.yaml").write_text(big + f"  blob: {'x' * 2_000_000}\n")
    live.wait("a ConfigMap of 2 MB is told as well", lambda: "big" in str(live.problem_of("big.yaml")))
    assert live.gone("configmaps", "big")


def test_links_that_loop_or_lead_nowhere_are_told(live: Plane) -> None:
    """A walk without end would stop everything."""
    (live.folder / "loop").mkdir()
    os.symlink(live.folder, live.folder / "loop" / "back")
    os.symlink(live.folder / "self.yaml", live.folder / "self.yaml")
    os.symlink("/nowhere/at/all.yaml", live.folder / "dangling.yaml")
    assert "link" in told(live, "loop/back")["message"]
    assert told(live, "self.yaml")
    assert "nowhere" in told(live, "dangling.yaml")["message"]


def test_what_cannot_be_read_is_told(live: Plane) -> None:
    """Permissions; and for root, who may read everything, things that are no files."""
    file = live.folder / "secret.yaml"
    if os.geteuid():
        file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
        file.chmod(0)
        assert "permission" in told(live, "secret.yaml")["message"].lower()
        file.chmod(0o600)
    os.mkfifo(live.folder / "pipe.yaml")  # opening it would wait for ever
    (live.folder / "folder.yaml").mkdir()
    (live.folder / "folder.yaml" / "inner.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: inner}\n")
    live.wait("a folder may be called x.yaml", lambda: live.get("configmaps", "inner"))


def test_strange_but_harmless_files_are_passed_over(live: Plane, tmp_path: Path) -> None:
    """A folder holds more than manifests."""
    (live.folder / "README.md").write_text("# not yaml: [")
    (live.folder / ".hidden.yaml").write_text("a: [")
    (live.folder / "empty.yaml").write_text("")
    (live.folder / "comment.yaml").write_text("# nothing\n---\n---\n")
    (live.folder / "app.py").write_text("raise SystemExit('an own program, which must not be run')\n")
    (live.folder / "bom.yaml").write_bytes(b"\xef\xbb\xbfapiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: bom}\r\n")
    live.wait("a file from Windows is read", lambda: live.get("configmaps", "bom"))
    assert live.problems() == []
