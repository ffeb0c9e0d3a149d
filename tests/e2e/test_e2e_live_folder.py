"""A folder that changes while it runs: everything that editors, git and people do to files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import ANCHOR
from tests.plane import Plane, Tree


def config_map(name: str, **data: str) -> str:
    lines = "".join(f"  {key}: {value!r}\n" for key, value in data.items())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n{lines or '  {}'}"


def data_of(plane: Plane, name: str) -> Tree:
    tree = plane.get("configmaps", name)
    return {} if tree is None else tree.get("data", {})


def uids_of(plane: Plane, *names: str) -> list[str]:
    return [tree["metadata"]["uid"] for name in names for tree in [plane.get("configmaps", name)] if tree]


def save_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def test_a_file_dropped_edited_and_deleted_is_live_at_once(live: Plane) -> None:
    """The product in one test: the folder is the state, within a second."""
    file = live.folder / "one.yaml"
    file.write_text(config_map("one", a="1"))
    live.wait("it is created", lambda: data_of(live, "one") == {"a": "1"}, 2.0)
    file.write_text(config_map("one", a="2", b="3"))
    live.wait("it is changed", lambda: data_of(live, "one") == {"a": "2", "b": "3"}, 2.0)
    file.write_text(config_map("one", b="3"))
    live.wait("a key that left the file leaves the object", lambda: data_of(live, "one") == {"b": "3"}, 2.0)
    file.unlink()
    live.wait("it is pruned", lambda: live.gone("configmaps", "one"), 3.0)


def test_an_atomic_save_changes_the_object_and_never_deletes_it(live: Plane) -> None:
    """Editors replace files: the object must keep its identity (and a Deployment its processes)."""
    file = live.folder / "atomic.yaml"
    save_atomically(file, config_map("atomic", n="0"))
    first = live.wait("it is created", lambda: live.get("configmaps", "atomic"))
    for n in range(1, 8):
        save_atomically(file, config_map("atomic", n=str(n)))
        live.wait("it is changed", lambda n=n: data_of(live, "atomic") == {"n": str(n)}, 3.0)  # type: ignore[misc]  # n is bound
    # Some editors move the old file away first: for a moment there is none.
    file.rename(live.folder / "atomic.yaml~")
    save_atomically(file, config_map("atomic", n="last"))
    live.wait("it is changed", lambda: data_of(live, "atomic") == {"n": "last"})
    now = live.get("configmaps", "atomic")
    assert now is not None
    assert now["metadata"]["uid"] == first["metadata"]["uid"]
    (live.folder / "atomic.yaml~").unlink()


def test_a_half_written_file_changes_nothing_until_it_is_whole(live: Plane) -> None:
    """A slow writer must not tear down what its file declared before."""
    file = live.folder / "half.yaml"
    whole = config_map("half-a", x="1") + "---\n" + config_map("half-b", x="1")
    file.write_text(whole)
    live.wait("both are there", lambda: data_of(live, "half-a") and data_of(live, "half-b"))
    uids = uids_of(live, "half-a", "half-b")
    new = whole.replace("'1'", "'2'") + "# the end\n"
    with open(file, "w") as writer:  # truncates: an empty file, for now
        writer.write(new[: len(new) // 2 + 14])
        writer.flush()
        live.wait("the half is seen and found wrong", lambda: live.problem_of("half.yaml"))
        assert data_of(live, "half-b") == {"x": "1"}
        writer.write(new[len(new) // 2 + 14 :])
    live.wait("the whole is applied", lambda: data_of(live, "half-a") == data_of(live, "half-b") == {"x": "2"})
    live.wait("nothing is wrong any more", lambda: not live.problem_of("half.yaml"))
    assert uids_of(live, "half-a", "half-b") == uids


def test_sub_folders_several_documents_and_lists_are_read(live: Plane) -> None:
    """People arrange their files as they like; JSON is YAML too."""
    below = live.folder / "deep" / "er"
    below.mkdir(parents=True)
    (below / "many.yml").write_text(
        "---\n" + config_map("many-1", a="1") + "---\n# nothing here\n---\n" + config_map("many-2", a="1")
    )
    items = "".join(f"- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: listed-{n}}}}}\n" for n in (1, 2))
    (below / "list.yaml").write_text(f"apiVersion: v1\nkind: List\nitems:\n{items}")
    (below / "one.json").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "json"}, "data": {"a": "1"}}')
    names = ("many-1", "many-2", "listed-1", "listed-2", "json")
    live.wait("all are there", lambda: all(live.get("configmaps", name) for name in names))
    (below / "many.yml").write_text(config_map("many-1", a="1"))
    live.wait("a document that left its file is pruned", lambda: live.gone("configmaps", "many-2"))
    assert not live.gone("configmaps", "many-1")
    below.parent.rename(live.folder / "moved")
    live.wait(
        "the new place is noted",
        lambda: "moved/er" in str((live.get("configmaps", "json") or {}).get("metadata", {}).get("annotations")),
    )
    assert all(live.get("configmaps", name) for name in names if name != "many-2")


def test_a_renamed_file_keeps_its_objects(live: Plane) -> None:
    """A rename is no change of what is wanted."""
    (live.folder / "old-name.yaml").write_text(config_map("renamed", a="1"))
    first = live.wait("it is there", lambda: live.get("configmaps", "renamed"))
    (live.folder / "old-name.yaml").rename(live.folder / "new-name.yaml")

    def source() -> str:
        tree = live.get("configmaps", "renamed") or first
        assert tree["metadata"]["uid"] == first["metadata"]["uid"]
        return str(tree["metadata"]["annotations"]["reconcile.dev/source"])

    live.wait("the new file is noted", lambda: source().startswith("new-name.yaml"))
    (live.folder / "new-name.yaml").unlink()
    live.wait("it is pruned", lambda: live.gone("configmaps", "renamed"))


def test_an_invalid_file_keeps_the_last_good_state_and_is_told_everywhere(live: Plane) -> None:
    """Wherever the person looks (the view, status, the Folder object, events), file, line and column stand there."""
    file = live.folder / "web.yaml"
    file.write_text(config_map("kept", a="1"))
    live.wait("it is there", lambda: data_of(live, "kept"))
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kept\ndata: {a: '2'\nb: }\n")
    problem = live.wait("it is told", lambda: live.problem_of("web.yaml"))
    assert problem["line"] in (5, 6)
    assert problem["column"]
    where = f"web.yaml:{problem['line']}:{problem['column']}"
    live.wait_line(f"problem {where}")
    assert where in live.cli("status", code=1)
    live.wait("an event tells it", lambda: any(where in event["message"] for event in live.objects("events")))
    assert data_of(live, "kept") == {"a": "1"}
    file.write_text(config_map("kept", a="2"))
    live.wait("the mended file is applied", lambda: data_of(live, "kept") == {"a": "2"})
    live.wait("nothing is wrong any more", lambda: not live.problems())
    assert "all is well" in live.cli("status")


def test_an_object_declared_twice_is_told_and_the_first_is_in_force(live: Plane) -> None:
    """Two files that fight over one object would otherwise change it for ever."""
    (live.folder / "a.yaml").write_text(config_map("twice", from_file="a"))
    live.wait("the first is there", lambda: data_of(live, "twice") == {"from_file": "a"})
    (live.folder / "b.yaml").write_text(config_map("twice", from_file="b"))
    problem = live.wait("it is told", lambda: live.problem_of("b.yaml"))
    assert "a.yaml:1" in problem["message"]
    assert data_of(live, "twice") == {"from_file": "a"}
    (live.folder / "a.yaml").unlink()
    live.wait("now the second is in force", lambda: data_of(live, "twice") == {"from_file": "b"})


def test_a_namespace_and_what_lives_in_it_may_come_in_any_order(live: Plane) -> None:
    """The folder has no order; what is refused is tried again."""
    text = config_map("inside", a="1").replace("{name: inside}", "{name: inside, namespace: team}")
    (live.folder / "a-inside.yaml").write_text(text)
    problem = live.wait("the missing namespace is told", lambda: live.problem_of("a-inside.yaml"))
    assert "team" in problem["message"]
    (live.folder / "b-namespace.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n")
    live.wait("it is applied in the end", lambda: live.get("configmaps", "inside", "team"))
    live.wait("nothing is wrong any more", lambda: not live.problems())
    (live.folder / "a-inside.yaml").unlink()
    (live.folder / "b-namespace.yaml").unlink()
    live.wait("the namespace goes with all in it", lambda: live.get("namespaces", "team", "") is None)


@pytest.mark.parametrize("vanish", ["files", "folder"])
def test_when_everything_vanishes_at_once_nothing_is_deleted(vanish: str, tmp_path: Path) -> None:
    """An unmounted disk or a mistyped `rm` must not stop everything that runs."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.yaml").write_text(ANCHOR)
    (folder / "b.yaml").write_text(config_map("b", x="1"))
    plane = Plane(folder, tmp_path / "state")
    try:
        plane.start()
        plane.wait("both are there", lambda: plane.get("configmaps", "anchor") and plane.get("configmaps", "b"))
        if vanish == "files":
            (folder / "a.yaml").unlink()
            (folder / "b.yaml").unlink()
        else:
            folder.rename(tmp_path / "elsewhere")
        problem = plane.wait("it is told", lambda: plane.problem_of("."), 5.0)
        assert "vanished" in problem["message"] or "gone" in problem["message"]
        # More than the time after which a single missing object is deleted.
        plane.wait("time passes", lambda: plane.lines("kept|gone"), 5.0)
        assert plane.get("configmaps", "anchor")
        assert plane.get("configmaps", "b")
        if vanish == "files":
            (folder / "a.yaml").write_text(ANCHOR)
            plane.wait("what is still missing is deleted now", lambda: plane.gone("configmaps", "b"))
        else:
            (tmp_path / "elsewhere").rename(folder)
        plane.wait("nothing is wrong any more", lambda: not plane.problems(), 5.0)
        assert plane.get("configmaps", "anchor")
        assert plane.stop() == 0
    finally:
        plane.bury()
