"""Snapshots go from ours to a real etcd and back: the way out, when one machine is not enough, and the way in."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from reconcile.runtime.store import inspection
from reconcile.runtime.store.etcd.bolt import Bolt, write
from reconcile.runtime.store.etcd.errors import SnapshotError
from tests.etcd.conftest import our_process, program, real_etcd_process
from tests.etcd.etcdctl import Etcdctl

_LIMIT_S = 30


def _wait(etcdctl: Etcdctl) -> Etcdctl:
    while "is healthy" not in etcdctl("endpoint", "health"):
        pass
    return etcdctl


def _hash(etcdctl: Etcdctl) -> int:
    return int(etcdctl("endpoint", "hashkv").split(", ")[1])


def _fill(etcdctl: Etcdctl, seed: int) -> None:
    """A history with deletes, several generations, large values, leases, users, roles, and a compaction."""
    chance = random.Random(seed)
    for number in range(12):
        keys = chance.sample(range(20), 6)  # a txn changes a key once
        lines = [f"put k{key} {'x' * chance.randrange(3000)}v{number}" for key in keys[:4]] + [f"del k{key}" for key in keys[4:]]
        etcdctl("txn", stdin="\n" + "\n".join(lines) + "\n\n\n")
    etcdctl("put", "large", "x" * 100_000)
    for command in (
        ["lease", "grant", "600"], ["compaction", "5"], ["user", "add", "root:secret"], ["user", "grant-role", "root", "root"],
        ["role", "add", "some"], ["role", "grant-permission", "some", "read", "a", "b"], ["del", "k1"],
    ):  # fmt: skip
        etcdctl(*command)


def _restore(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "reconcile.cli", "store", "restore", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    return done.returncode, done.stdout + done.stderr


def _told(etcdctl: Etcdctl) -> list[str]:
    """What must be the same on both sides."""
    commands = (
        ["get", "", "--prefix", "--keys-only"], ["get", "k2"], ["get", "k", "--prefix", "--rev", "9"], ["lease", "list"],
        ["user", "list"], ["user", "get", "root"], ["role", "get", "some"], ["get", "k2", "--rev", "4"],
    )  # fmt: skip
    return [etcdctl(*command) for command in commands]


def test_a_snapshot_of_ours_starts_a_real_etcd_and_comes_back(tmp_path: Path) -> None:
    """The same revisions, hash, leases, users and compaction on both sides; and life goes on from there on either."""
    saved, back = str(tmp_path / "ours.db"), str(tmp_path / "theirs.db")
    with our_process(tmp_path / "first") as (address, _):
        ours = _wait(Etcdctl(address))
        _fill(ours, 1)
        assert f"Snapshot saved at {saved}" in ours("snapshot", "save", saved)
        told, hash_kv, revision = _told(ours), _hash(ours), ours("endpoint", "status").split(", ")
        assert "Error" not in ours("snapshot", "status", saved)
    restored = [str(program("etcdutl")), "snapshot", "restore", saved, "--data-dir", str(tmp_path / "etcd")]
    subprocess.run(restored, check=True, capture_output=True, timeout=_LIMIT_S)
    with real_etcd_process(tmp_path) as address:
        theirs = _wait(Etcdctl(address))
        assert (_told(theirs), _hash(theirs)) == (told, hash_kv), revision
        for command in (["put", "more", "1"], ["del", "k2"], ["compaction", "9"], ["defrag"]):
            assert "Error" not in theirs(*command)
        theirs("snapshot", "save", back)
        told, hash_kv = _told(theirs), _hash(theirs)
    code, output = _restore("--data-dir", str(tmp_path / "second"), back)
    assert code == 0, output
    report = inspection.verify(tmp_path / "second")
    assert (report.problems, report.hash_kv) == ((), hash_kv)
    with our_process(tmp_path / "second") as (address, _):
        ours = _wait(Etcdctl(address))
        assert (_told(ours), _hash(ours)) == (told, hash_kv)


def test_users_whose_passwords_cannot_be_checked_lock_nobody_out_unnoticed(tmp_path: Path) -> None:
    """A real etcd hashes with bcrypt: a store that nobody could log in to is not made without a word."""
    saved = str(tmp_path / "theirs.db")
    with real_etcd_process(tmp_path) as address:
        theirs = _wait(Etcdctl(address))
        for command in (["user", "add", "root:secret"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
            theirs(*command)
        theirs("--user", "root:secret", "snapshot", "save", saved)
    code, output = _restore("--data-dir", str(tmp_path / "first"), saved)
    assert (code, "--auth-off" in output, (tmp_path / "first" / "member.db").exists()) == (1, True, False)
    assert _restore("--data-dir", str(tmp_path / "first"), saved, "--auth-off")[0] == 0
    with our_process(tmp_path / "first") as (address, _):
        ours = _wait(Etcdctl(address))
        assert ours("user", "get", "root") == "User: root\nRoles: root\n"
        ours("user", "passwd", "root", "--interactive=false", stdin="new\n")
        ours("auth", "enable")
        assert ours("--user", "root:new", "put", "a", "1") == "OK\n"
        # Ours knows its own hashes again.
        ours("--user", "root:new", "snapshot", "save", f"{saved}.ours")
    assert _restore("--data-dir", str(tmp_path / "second"), f"{saved}.ours")[0] == 0
    with our_process(tmp_path / "second") as (address, _):
        ours = Etcdctl(address)
        assert ours("put", "a", "1").endswith("user name is empty")
        assert ours("--user", "root:new", "get", "a") == "a\n1\n"


_items = some.dictionaries(some.binary(min_size=1, max_size=600), some.binary(max_size=5000), max_size=60)


@given(some.dictionaries(some.sampled_from([b"key", b"meta", b"z"]), _items))
def test_what_is_written_is_read(buckets: dict[bytes, dict[bytes, bytes]]) -> None:
    """Empty buckets, long values, many keys."""
    database = _database({name: sorted(items.items()) for name, items in buckets.items()})
    for name, items in buckets.items():
        assert list(Bolt(memoryview(database)).items(name)) == sorted(items.items())
    assert list(Bolt(memoryview(database)).items(b"absent")) == []


def _database(buckets: dict[bytes, list[tuple[bytes, bytes]]]) -> bytes:
    file = io.BytesIO()
    write(file, list(buckets.items()) or [(b"empty", [])])
    return file.getvalue()


def test_a_tree_of_many_levels_is_read() -> None:
    """Long keys make few branches a page: several levels."""
    items = [(b"%06d" % number + bytes(500), b"v%d" % number) for number in range(2_000)]
    assert list(Bolt(memoryview(_database({b"deep": items}))).items(b"deep")) == items


def test_a_damaged_file_is_refused_and_a_torn_meta_page_is_not_needed() -> None:
    """Each page says who it is; of two metas the newer that is whole counts."""
    items = [(b"%04d" % number, bytes(100)) for number in range(500)]
    whole = bytearray(_database({b"key": items}))
    for spoiled, good in ((4096 + 40, True), (40, True), (0, False)):
        damaged = bytearray(whole)
        for at in (spoiled,) if good else (40, 4096 + 40):
            damaged[at] ^= 1
        if good:
            assert list(Bolt(memoryview(damaged)).items(b"key")) == items
        else:
            with pytest.raises(SnapshotError, match="no whole bbolt meta page"):
                Bolt(memoryview(damaged))
    for damaged in (whole[: 6 * 4096], whole[: 3 * 4096] + bytes(4096) + whole[4 * 4096 :]):
        with pytest.raises(SnapshotError, match="page"):
            list(Bolt(memoryview(bytes(damaged))).items(b"key"))
