"""The control plane as a whole: what it holds, what it forgets, how it ends."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from reconcile.registry import Operator
from reconcile.resources import builtin_kinds
from reconcile.resources.core import Namespace
from reconcile.runtime.client.kubeconfig import load
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.cluster import ControlPlane, ListenError, ListenSettings, Parts
from reconcile.runtime.network import NoNetworkError, claim_network
from reconcile.runtime.store import HistoryKeep, retention


async def test_history_is_forgotten_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else compacts the store of one machine: without this its file grows for ever."""
    monkeypatch.setattr(retention, "_CHECK_S_MIN", 0.02)
    keep = HistoryKeep(seconds=0, revisions=0)
    async with ControlPlane(tmp_path, SystemClock(), Parts(builtin_kinds(), Namespace), history=keep) as plane:
        store = plane._store
        assert store is not None
        for value in range(5):
            await store.put(b"key", b"%d" % value)
        while store.compacted < store.revision:
            await plane.clock.sleep(0.005)
        kept = store.get(b"key")
        assert kept is not None
        assert kept.value == b"4"


async def test_a_part_that_fails_to_stop_leaves_the_store_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock and its files are let go, whatever else goes wrong at the end."""
    plane = ControlPlane(tmp_path, SystemClock(), Parts(builtin_kinds(), Namespace))
    await plane.start()
    close = plane.engine.close

    async def fails() -> None:
        await close()
        raise RuntimeError("a cleanup of somebody's failed")

    monkeypatch.setattr(plane.engine, "close", fails)
    with pytest.raises(RuntimeError, match="somebody"):
        await plane.stop()
    async with ControlPlane(tmp_path, SystemClock(), Parts(builtin_kinds(), Namespace)):
        pass


async def test_the_api_answers_before_controllers_are_loaded_and_is_ready_when_they_run(tmp_path: Path) -> None:
    """Whoever starts a control plane waits for its API; what nobody waits for comes after it, and readiness says when."""
    app, loaded = Operator("test.example.com"), list[str]()

    @app.on.startup()
    async def started() -> None:
        loaded.append("started")

    def controllers() -> list[Operator]:
        loaded.append("loaded")
        return [app]

    parts = Parts(builtin_kinds(), Namespace, controllers=controllers)
    plane = ControlPlane(tmp_path, SystemClock(), parts, http=ListenSettings())
    await plane.start()
    try:
        await plane.listening()
        access = load(plane.kubeconfig)
        headers = {"Authorization": f"Bearer {access.token}"}
        async with aiohttp.ClientSession(access.server, connector=aiohttp.TCPConnector(ssl=access.tls() or False)) as http:
            async with http.get("/readyz?verbose", headers=headers) as answer:
                assert (answer.status, loaded) == (500, [])
                assert "[-]controllers failed" in await answer.text()
            await plane.start_controllers()
            assert loaded == ["loaded", "started"]
            async with http.get("/readyz?verbose", headers=headers) as answer:
                assert answer.status == 200, await answer.text()
    finally:
        await plane.stop()


async def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    """`OSError(98, ...)` is no answer for a person."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = ListenSettings(port=port)
    with pytest.raises(ListenError, match=f"127.0.0.1:{port}: address already in use"):
        await ControlPlane(tmp_path, SystemClock(), Parts(builtin_kinds(), Namespace), http=settings).start()
    server.close()
    await server.wait_closed()


def test_two_control_planes_never_share_addresses(tmp_path: Path) -> None:
    """Their Pods would take each other's ports."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first = claim_network(one)
    (two / "network").write_text(f"{first.number}\n")  # as after `cp -r one two`
    second = claim_network(two)
    assert first.number != second.number
    first.release()
    second.release()
    again = claim_network(one)
    assert again.number == first.number, "the addresses of kept pods would not be theirs any more"
    again.release()


def test_a_network_in_which_kept_pods_listen_is_taken_by_nobody_else(tmp_path: Path) -> None:
    """After `up --keep` ended, its pods go on; another control plane's pods would find their ports taken."""
    for name in ("kept", "new"):
        (tmp_path / name).mkdir()
    ended = claim_network(tmp_path / "kept")
    ended.release()
    with socket.create_server((f"127.{ended.number}.16.9", 0)):
        (tmp_path / "new" / "network").write_text("0\n")
        # The free number that comes first for this folder, were nobody listening.
        first = claim_network(tmp_path / "new")
        first.release()
        with socket.create_server((f"127.{first.number}.16.9", 0)):
            (tmp_path / "new" / "network").unlink()
            other = claim_network(tmp_path / "new")
            assert other.number not in (first.number, ended.number)
            other.release()
            again = claim_network(tmp_path / "kept")
            assert again.number == ended.number, "its own pods must not drive it away"
            again.release()


def test_when_every_network_is_taken_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `up` too many must not take what is somebody else's."""
    monkeypatch.setattr("reconcile.runtime.network._FIRST", 1000)  # of which nobody has any
    monkeypatch.setattr("reconcile.runtime.network._LAST", 1000)
    first = claim_network(tmp_path)
    try:
        with pytest.raises(NoNetworkError, match="stop one"):
            claim_network(tmp_path)
    finally:
        first.release()
