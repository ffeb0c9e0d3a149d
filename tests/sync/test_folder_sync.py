"""The folder and the cluster: what is applied, kept, told and taken back. One pass at a time, in virtual time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from reconcile.errors import Tree, UnavailableError
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind, Resource, kind, kind_of
from reconcile.registry import Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.sync import Folder, FolderSync, SyncSettings
from reconcile.runtime.testing.virtual import VirtualClock, run_virtual
from reconcile.views import field, struct


@struct
class ThingSpec:
    size: int = field(default=1, minimum=0)
    tags: list[str] = field(factory=list)


@kind("test.example.com", "v1")
class Thing(Resource):
    """Something to declare in files."""

    spec: ThingSpec = field(factory=ThingSpec)


@kind("", "v1", namespaced=False, builtin=True)
class Namespace(Resource):
    """A stand-in for the built-in kind."""


@kind("", "v1", builtin=True)
class Event(Resource):
    """A stand-in for the built-in kind."""

    message: str = ""
    reason: str = ""
    type_: str = field(default="", name="type")
    count: int = 0
    first_timestamp: str = ""
    last_timestamp: str = ""
    involved_object: dict[str, str] = field(factory=dict)
    source: dict[str, str] = field(factory=dict)


THING = """\
apiVersion: test.example.com/v1
kind: Thing
metadata: {name: NAME}
spec:
  size: SIZE
"""


def thing(name: str, size: object = 1) -> str:
    return THING.replace("NAME", name).replace("SIZE", str(size))


@attrs.define
class Host:
    """Stands in for the cluster that runs operators."""

    api: ApiServer
    running: list[Operator] = attrs.field(factory=list)

    async def start_operator(self, operator: Operator) -> None:
        self.running.append(operator)
        for cls in operator.kinds:
            self.api.serve(kind_of(cls))

    async def stop_operator(self, operator: Operator) -> None:
        self.running.remove(operator)


@attrs.frozen
class Failing:
    """A handler that fails, as the engine reports it."""

    file: str
    handler: str = "extra"
    object: str = "Extra default/e"
    error: str = "KeyError"
    message: str = "'no'"
    traceback: str = "Traceback ..."
    line: int = 9


@attrs.define
class World:
    """One folder, one API server, and the sync between them."""

    root: Path
    clock: VirtualClock
    api: ApiServer
    host: Host
    told: list[str] = attrs.field(factory=list)
    failing: list[Failing] = attrs.field(factory=list)
    sync: FolderSync = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.restart()

    @property
    def client(self) -> InProcessClient:
        return InProcessClient(self.api)

    def restart(self, **settings: bool) -> None:
        """A new sync that remembers nothing, as after a restart."""
        self.sync = FolderSync(
            self.client, self.clock, self.root, name="test", host=self.host, changes=never,
            failing=lambda: self.failing,
            settings=SyncSettings(**settings), told=self.told.append,
        )  # fmt: skip

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    async def passes(self) -> None:
        """A pass, and another when removals are due."""
        await self.sync.sync()
        await self.clock.sleep(1)
        await self.sync.sync()

    async def sizes(self) -> dict[str, int]:
        page = await self.client.list(kind_of(Thing))
        return {tree["metadata"]["name"]: tree["spec"]["size"] for tree in page.items}

    async def folder(self) -> Tree:
        status: Tree = (await self.client.get(kind_of(Folder), "test"))["status"]
        return status


async def never() -> AsyncIterator[None]:
    return
    yield


def universe(test: Callable[[World], Awaitable[None]]) -> Callable[[Path], None]:
    """Run a test in a world of its own, in virtual time."""

    def run(tmp_path: Path) -> None:
        async def scenario(clock: VirtualClock) -> None:
            async with await Store.open(":memory:", clock, database=InlineDatabase) as store:
                api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
                for cls in (Thing, Folder, Event):
                    api.serve(kind_of(cls))
                await InProcessClient(api).create(kind_of(Namespace), {"metadata": {"name": "default"}})
                root = tmp_path / "folder"
                root.mkdir()
                await test(World(root, clock, api, Host(api)))

        run_virtual(scenario)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@universe
async def test_a_file_dropped_edited_and_deleted_is_followed(world: World) -> None:
    """The main job of the sync."""
    world.write("a.yaml", thing("a", 1) + "---\n" + thing("b", 2))
    await world.passes()
    assert await world.sizes() == {"a": 1, "b": 2}

    world.write("a.yaml", thing("a", 5) + "---\n" + thing("b", 2))
    await world.passes()
    assert await world.sizes() == {"a": 5, "b": 2}

    world.write("a.yaml", thing("a", 5))
    await world.passes()
    assert await world.sizes() == {"a": 5}

    (world.root / "a.yaml").unlink()
    await world.passes()
    assert await world.sizes() == {}


@universe
async def test_a_file_that_breaks_keeps_the_last_good_state_and_says_where(world: World) -> None:
    """Nobody loses a service to a typo."""
    world.write("a.yaml", thing("a", 3))
    await world.passes()

    world.write("a.yaml", thing("a", 3) + "  tags: [x\n")
    await world.passes()

    assert await world.sizes() == {"a": 3}
    (problem,) = (await world.folder())["problems"]
    assert (problem["file"], problem["line"]) == ("a.yaml", 7)
    (event,) = (await world.client.list(kind_of(Event))).items
    assert event["message"].startswith("a.yaml:7:")

    world.write("a.yaml", thing("a", 4))
    await world.passes()
    assert await world.sizes() == {"a": 4}
    assert (await world.folder())["problems"] == []


@universe
async def test_what_the_server_refuses_is_told_at_the_line_of_the_field(world: World) -> None:
    """The server names a path; people look for a line."""
    world.write("a.yaml", thing("a", "many") + "---\n" + thing("b", 2))
    await world.passes()

    assert await world.sizes() == {"b": 2}
    (problem,) = world.sync.problems
    assert (problem.file, problem.line, problem.column) == ("a.yaml", 5, 9)
    assert problem.message == "Thing a: spec.size is 'many'"
    assert problem.hint.startswith("give a whole number")


@universe
async def test_a_field_that_the_kind_does_not_have_is_told_and_nothing_of_the_object_is_applied(world: World) -> None:
    """A misspelt field that is silently dropped is found in production."""
    world.write("a.yaml", thing("a", 1))
    await world.passes()
    world.write("a.yaml", thing("a", 2) + "  colour: red\n")
    await world.passes()

    assert await world.sizes() == {"a": 1}
    (problem,) = world.sync.problems
    assert (problem.line, problem.message) == (6, "Thing a: unknown field spec.colour")


@universe
async def test_a_file_that_vanishes_for_a_moment_deletes_nothing(world: World) -> None:
    """Editors and version control replace files by removing and writing them."""
    world.write("a.yaml", thing("a"))
    world.write("b.yaml", thing("b"))
    await world.passes()
    before = (await world.client.get(kind_of(Thing), "a", "default"))["metadata"]["uid"]

    (world.root / "a.yaml").unlink()
    await world.sync.sync()
    world.write("a.yaml", thing("a"))
    await world.passes()

    assert (await world.client.get(kind_of(Thing), "a", "default"))["metadata"]["uid"] == before


@universe
async def test_a_file_that_is_emptied_and_written_again_deletes_nothing(world: World) -> None:
    """Some editors truncate first: the moment between is not a wish to delete."""
    world.write("a.yaml", thing("a"))
    await world.passes()

    world.write("a.yaml", "")
    await world.passes()

    assert await world.sizes() == {"a": 1}


@universe
async def test_a_renamed_file_keeps_its_objects(world: World) -> None:
    """The objects are what matters, not where they are written down."""
    world.write("a.yaml", thing("a"))
    await world.passes()
    before = (await world.client.get(kind_of(Thing), "a", "default"))["metadata"]["uid"]

    (world.root / "a.yaml").rename(world.root / "z.yaml")
    await world.passes()

    assert (await world.client.get(kind_of(Thing), "a", "default"))["metadata"]["uid"] == before


@universe
async def test_when_everything_vanishes_at_once_everything_is_kept(world: World) -> None:
    """An unmounted disk or a wrong `rm` must not take the cluster with it."""
    for name in ("a", "b", "c"):
        world.write(f"{name}.yaml", thing(name))
    await world.passes()

    for name in ("a", "b", "c"):
        (world.root / f"{name}.yaml").unlink()
    await world.passes()

    assert await world.sizes() == {"a": 1, "b": 1, "c": 1}
    assert (await world.folder())["held"] == 3
    assert "vanished" in world.sync.problems[0].message

    world.restart(allow_empty=True)
    await world.passes()
    assert await world.sizes() == {}


@universe
async def test_a_folder_that_is_gone_deletes_nothing(world: World) -> None:
    """The same, for the folder itself."""
    world.write("a.yaml", thing("a"))
    await world.passes()

    world.root.rename(world.root.with_name("elsewhere"))
    await world.passes()

    assert await world.sizes() == {"a": 1}
    assert "is gone" in world.sync.problems[0].message


@universe
async def test_what_was_deleted_while_nobody_watched_is_pruned_at_the_next_start(world: World) -> None:
    """The memory of what came from the folder is on the objects."""
    world.write("a.yaml", thing("a"))
    world.write("b.yaml", thing("b"))
    await world.passes()

    (world.root / "b.yaml").unlink()
    world.restart()
    await world.passes()

    assert await world.sizes() == {"a": 1}


@universe
async def test_what_a_controller_made_with_copied_labels_is_not_pruned_at_the_next_start(world: World) -> None:
    """A controller that copies labels (Endpoints have those of their Service) does not make a thing of the folder."""
    world.write("a.yaml", thing("a"))
    await world.passes()
    original = await world.client.get(kind_of(Thing), "a", "default")
    meta = {"name": "copy", "labels": original["metadata"]["labels"], "annotations": original["metadata"]["annotations"]}
    await world.client.create(kind_of(Thing), {"metadata": meta, "spec": {"size": 5}}, "default", field_manager="controller")

    world.restart()
    await world.passes()

    assert await world.sizes() == {"a": 1, "copy": 5}


@universe
async def test_what_others_made_is_never_pruned(world: World) -> None:
    """Only what came from the folder leaves with the folder."""
    await world.client.create(kind_of(Thing), {"metadata": {"name": "mine"}, "spec": {}}, "default")
    world.write("a.yaml", thing("a"))
    world.write("b.yaml", thing("b"))
    await world.passes()

    (world.root / "a.yaml").unlink()
    await world.passes()

    assert set(await world.sizes()) == {"b", "mine"}


@universe
async def test_an_object_that_is_declared_twice_is_a_problem_and_the_first_is_in_force(world: World) -> None:
    """Two files that fight would flap for ever."""
    world.write("a.yaml", thing("a", 1))
    world.write("b.yaml", thing("a", 2))
    await world.passes()

    assert await world.sizes() == {"a": 1}
    (problem,) = world.sync.problems
    assert problem.file == "b.yaml"
    assert "declared twice, first in a.yaml:1" in problem.message


@universe
async def test_a_kind_that_nobody_serves_is_named_with_what_comes_near(world: World) -> None:
    """A misspelt kind is the most common mistake."""
    world.write("a.yaml", thing("a").replace("kind: Thing", "kind: Thin"))
    await world.passes()

    (problem,) = world.sync.problems
    assert (problem.line, problem.hint) == (2, "did you mean Thing?")


@universe
async def test_an_object_of_a_namespace_that_comes_later_is_applied_then(world: World) -> None:
    """Order in files must not matter."""
    world.write("a.yaml", thing("a").replace("{name: a}", "{name: a, namespace: late}"))
    await world.passes()
    assert await world.sizes() == {}

    world.write("b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: late}\n")
    await world.passes()
    assert await world.sizes() == {"a": 1}
    assert not world.sync.problems


@universe
async def test_a_change_made_by_hand_holds_until_the_file_changes(world: World) -> None:
    """`scale` must be of use in a watched folder."""
    world.write("a.yaml", thing("a", 1))
    await world.passes()
    tree = await world.client.get(kind_of(Thing), "a", "default")
    await world.client.update(kind_of(Thing), {**tree, "spec": {"size": 9}}, "default", field_manager="hand")

    await world.passes()
    assert await world.sizes() == {"a": 9}

    world.write("a.yaml", thing("a", 2))
    await world.passes()
    assert await world.sizes() == {"a": 2}


PROGRAM = """\
from reconcile import Resource, kind, on

@kind("test.example.com", "v1")
class Extra(Resource):
    "A kind of the user's."

@on.reconcile(Extra)
def extra(thing: Extra) -> None:
    return None
"""


@universe
async def test_a_program_is_loaded_reloaded_kept_when_it_breaks_and_unloaded(world: World) -> None:
    """Drop a file, edit it, break it, mend it, remove it."""
    world.write("extra.py", PROGRAM)
    world.write("extra.yaml", "apiVersion: test.example.com/v1\nkind: Extra\nmetadata: {name: e}\n")
    await world.passes()
    (first,) = world.host.running
    assert not world.sync.problems

    world.write("extra.py", PROGRAM + "\n\nraise RuntimeError('no')\n")
    await world.passes()
    (problem,) = world.sync.problems
    assert (problem.line, problem.message) == (12, "RuntimeError: no")
    assert "Traceback" in problem.traceback
    assert len(world.host.running) == 1

    world.write("extra.py", PROGRAM.replace("return None", "return"))
    await world.passes()
    assert not world.sync.problems
    assert len(world.host.running) == 1
    assert first is world.host.running[0] or first not in world.host.running

    (world.root / "extra.py").unlink()
    await world.passes()
    assert world.host.running == []


@universe
async def test_a_handler_that_fails_is_a_problem_of_its_file_until_it_succeeds(world: World) -> None:
    """`status` must not say that all is well while a controller raises."""
    world.failing.append(Failing(str(world.root / "extra.py")))
    due_s = await world.sync.sync()

    (problem,) = (await world.folder())["problems"]
    assert (problem["file"], problem["line"], problem["traceback"]) == ("extra.py", 9, "Traceback ...")
    assert problem["message"] == "handler extra on Extra default/e: KeyError: 'no'"
    assert due_s <= 1

    world.failing.clear()
    await world.sync.sync()
    assert (await world.folder())["problems"] == []


@universe
async def test_python_that_is_none_of_our_business_is_left_alone(world: World) -> None:
    """An app's own server.py must not be executed by the control plane."""
    world.write("server.py", "raise SystemExit('executed')\n")
    world.write("broken.py", "this is no Python\n")
    await world.passes()

    assert not world.sync.problems


@universe
async def test_a_file_that_cannot_be_read_keeps_its_objects(world: World) -> None:
    """A permission mistake is no wish to delete."""
    world.write("a.yaml", thing("a"))
    world.write("b.yaml", thing("b"))
    await world.passes()

    (world.root / "a.yaml").unlink()
    os.symlink("/proc/self/mem", world.root / "a.yaml")
    await world.passes()

    assert await world.sizes() == {"a": 1, "b": 1}
    assert world.sync.problems[0].file == "a.yaml"


@universe
async def test_a_folder_that_cannot_be_looked_into_keeps_its_objects(world: World) -> None:
    """chmod by mistake, a network disk that is away for a moment: what cannot be seen is not known to be gone."""
    world.write("inside/a.yaml", thing("a"))
    world.write("b.yaml", thing("b"))
    await world.passes()
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if str(path).endswith("inside"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(os, "scandir", refuse)
    await world.passes()
    assert await world.sizes() == {"a": 1, "b": 1}
    assert "cannot be read" in world.sync.problems[0].message
    world.restart()  # also for a sync that never saw the file
    await world.passes()
    assert await world.sizes() == {"a": 1, "b": 1}
    monkeypatch.undo()
    (world.root / "inside" / "a.yaml").unlink()
    await world.passes()
    assert await world.sizes() == {"b": 1}


@universe
async def test_a_link_that_leads_nowhere_for_a_moment_keeps_its_objects(world: World) -> None:
    """Nix, stow and ConfigMap volumes replace what links lead to."""
    (world.root.parent / "target.yaml").write_text(thing("a"))
    (world.root / "a.yaml").symlink_to(world.root.parent / "target.yaml")
    await world.passes()
    (world.root.parent / "target.yaml").unlink()
    await world.passes()
    assert await world.sizes() == {"a": 1}


@universe
async def test_an_object_whose_deletion_is_refused_is_deleted_later_and_hinders_no_other(world: World) -> None:
    """It was forgotten at the first try, stayed for ever, and the error ended the whole sync."""
    for name in ("a", "b", "c"):
        world.write(f"{name}.yaml", thing(name))
    await world.passes()
    delete = InProcessClient.delete

    async def refuse(client: InProcessClient, kind: Kind, name: str, *more: Any) -> Tree:
        if name == "a":
            raise UnavailableError("the disk is full")
        return await delete(client, kind, name, *more)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(InProcessClient, "delete", refuse)
    (world.root / "a.yaml").unlink()
    (world.root / "b.yaml").unlink()
    await world.passes()
    assert await world.sizes() == {"a": 1, "c": 1}
    assert "cannot be deleted" in world.sync.problems[0].message
    monkeypatch.undo()
    await world.clock.sleep(10.0)
    await world.passes()
    assert await world.sizes() == {"c": 1}


@universe
async def test_a_pass_that_the_api_refuses_is_made_again(world: World) -> None:
    """A full disk made `up` end, and with it everything that ran."""
    world.write("a.yaml", thing("a"))
    kinds = InProcessClient.kinds
    refusals = 3

    async def refuse(client: InProcessClient) -> Sequence[Kind]:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise UnavailableError("the disk is full")
        return await kinds(client)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(InProcessClient, "kinds", refuse)
    running = asyncio.get_running_loop().create_task(world.sync.run())
    await world.sync.synced.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await world.sizes() == {"a": 1}
    monkeypatch.undo()
    assert sum("cannot be synced now" in line for line in world.told) == 1, "told again and again"


@universe
async def test_a_program_that_exits_is_a_problem_and_not_the_end(world: World) -> None:
    """sys.exit() at the end of a script would have ended the control plane."""
    world.write("script.py", "import sys\nimport reconcile\nsys.exit(3)\n")
    await world.passes()
    assert "SystemExit" in world.sync.problems[0].message


@universe
async def test_a_program_of_which_a_part_fails_to_start_leaves_no_part_running(world: World) -> None:
    """What nobody knows of any more can never be stopped."""
    start = world.host.start_operator

    async def second_fails(operator: Operator) -> None:
        if world.host.running:
            raise RuntimeError("no")
        await start(operator)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(Host, "start_operator", lambda _host, operator: second_fails(operator))
    world.write(
        "two.py", PROGRAM + "\nfrom reconcile import Operator\nother = Operator('other.example.com')\nother.serve(Extra)\n"
    )
    await world.passes()
    monkeypatch.undo()
    assert world.host.running == []
    assert "does not run" in world.sync.problems[0].hint


@universe
async def test_a_kind_that_the_folder_declares_is_waited_for(world: World) -> None:
    """A definition and its objects come in one go: what is right must not be told as a problem first."""

    def declares(_: AdmissionReview) -> None:
        for version in ("v1", "v2"):
            world.api.serve(Kind("test.example.com", version, "Extra", "extras"))

    world.api.add_validator(kind_of(Thing), declares)
    world.write("a.yaml", thing("x").replace("kind: Thing", "kind: Extra"))
    world.write("b.yaml", thing("y").replace("kind: Thing", "kind: Extra").replace("/v1", "/v2"))
    world.write("c.yaml", thing("declares"))
    await world.sync.sync()
    extra = next(kind for kind in await world.client.kinds() if kind.kind == "Extra")
    assert [tree["metadata"]["name"] for tree in (await world.client.list(extra)).items] == ["x", "y"], "any version will do"
    assert not any("problem" in line for line in world.told)
