"""`reconcile store`: serve, and look after the file, as an operator does it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.cli.store import kept_history
from reconcile.runtime.store import HistoryKeep
from tests.etcd.client import Client
from tests.etcd.conftest import connected, our_process

_LIMIT_S = 20


def _store(*arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "reconcile.cli", "store", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    return done.returncode, done.stdout + done.stderr


async def _fill(address: str) -> int:
    async with connected(address) as client:
        for number in range(5):
            await client.put(b"k%d" % (number % 2), b"%d" % number)
        await client.delete(b"k0")
        hash_kv: int = (await client.hash_kv()).hash
        return hash_kv


async def _value(client: Client, key: bytes) -> bytes:
    value: bytes = (await client.get(key)).kvs[0].value
    return value


def test_a_served_store_is_locked_inspected_and_stopped_cleanly(tmp_path: Path) -> None:
    """One process has a folder; everybody else is told who, and may still look."""
    folder = tmp_path / "data"
    with our_process(folder) as (address, process):
        hash_kv = asyncio.run(_fill(address))
        code, told = _store("serve", "--data-dir", folder, "--listen", "127.0.0.1:0")
        assert (code, f"{folder} is in use by process {process.pid}; stop it, or name another data folder" in told) == (1, True)
        code, told = _store("compact", "--data-dir", folder)
        assert (code, "etcdctl compaction" in told) == (1, True)
        code, told = _store("verify", "--data-dir", folder)
        assert (code, told.splitlines()[0], told.splitlines()[-2:]) == (0, "revision     7", [f"HashKV       {hash_kv}", "sound"])
        code, told = _store("snapshot", "--data-dir", folder, tmp_path / "s.db")
        assert (code, told.endswith("revision 7\n")) == (0, True)

        process.send_signal(signal.SIGTERM)
        assert process.wait(_LIMIT_S) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"stopped; everything acknowledged is on disk\n"
    assert not list(folder.glob("*-wal"))


def test_a_snapshot_is_restored_into_a_new_folder_only(tmp_path: Path) -> None:
    """A restore over a live store would be the accident that a backup is for."""
    with our_process(tmp_path / "data") as (address, _):
        asyncio.run(_fill(address))
        assert _store("snapshot", "--data-dir", tmp_path / "data", tmp_path / "s.db")[0] == 0
    code, told = _store("restore", "--data-dir", tmp_path / "data", tmp_path / "s.db")
    assert (code, "holds a store already; name a new folder" in told) == (1, True)
    assert _store("restore", "--data-dir", tmp_path / "new", tmp_path / "s.db")[0] == 0

    damaged = bytearray((tmp_path / "s.db").read_bytes())
    damaged[5000] ^= 1
    (tmp_path / "s.db").write_bytes(damaged)
    code, told = _store("restore", "--data-dir", tmp_path / "other", tmp_path / "s.db")
    assert (code, "an undamaged snapshot" in told) == (1, True)

    async def look(address: str) -> bytes:
        async with connected(address) as client:
            return await _value(client, b"k1")

    with our_process(tmp_path / "new") as (address, _):
        assert asyncio.run(look(address)) == b"3"


def test_compact_forgets_history_and_verify_finds_damage(tmp_path: Path) -> None:
    """An operator must learn of damage before the control plane does."""
    folder = tmp_path / "data"
    with our_process(folder) as (address, _):
        asyncio.run(_fill(address))
    code, told = _store("compact", "--data-dir", folder, "--keep", "2")
    assert (code, told.startswith("history begins at revision 5;")) == (0, True)
    assert "compacted    5" in _store("stats", "--data-dir", folder)[1]
    assert _store("verify", "--data-dir", folder)[0] == 0
    with sqlite3.connect(folder / "member.db") as connection:
        connection.execute("DELETE FROM log WHERE id >> 20 = 6")
    connection.close()
    code, told = _store("verify", "--data-dir", folder)
    assert (code, "changes between are lost" in told) == (1, True)


def test_nothing_of_grpc_is_imported_without_being_asked_for() -> None:
    """`reconcile up` has a start-up budget, and grpcio is an extra."""
    code = "import sys, reconcile.cli.up, reconcile.cli.store, reconcile.runtime.store; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=_LIMIT_S, check=False).returncode == 0


@pytest.mark.parametrize("command", ["stats", "verify"])
def test_a_folder_without_a_store_is_refused_in_plain_words(tmp_path: Path, command: str) -> None:
    """A mistyped folder must not become an empty store."""
    code, told = _store(command, "--data-dir", tmp_path)
    assert (code, "Traceback" in told, "member.db" in told) == (1, False, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mode", "retention", "keep"),
    [
        ("periodic", "0", None),
        ("revision", "0", None),
        ("periodic", "30m", HistoryKeep(1800.0, 0)),
        ("periodic", "2", HistoryKeep(7200.0, 0)),
        ("revision", "1000", HistoryKeep(0.0, 1000)),
    ],
)
def test_automatic_compaction_is_asked_for_as_with_etcd(mode: str, retention: str, keep: HistoryKeep | None) -> None:
    """A number alone is hours, or revisions; nothing is forgotten unless somebody asks for it."""
    assert kept_history(mode, retention) == keep


def test_a_retention_that_is_none_is_refused(tmp_path: Path) -> None:
    """History that is lost does not come back."""
    code, output = _store("serve", "--data-dir", tmp_path, "--listen", "127.0.0.1:0", "--auto-compaction-retention", "soon")
    assert (code, "--auto-compaction-retention" in output, "soon" in output) == (1, True, True)
