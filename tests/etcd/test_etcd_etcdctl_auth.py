"""etcdctl's auth, user and role commands, from an open store to a guarded one and back, on ours and on a real etcd."""

from __future__ import annotations

from pathlib import Path

from tests.etcd.etcdctl import differences, ours_and_theirs

_ROOT = ["--user", "root:secret"]
_ALICE = ["--user", "alice:hers"]

_SCRIPT: list[tuple[list[str], str]] = [
    (["auth", "status"], ""),
    (["auth", "enable"], ""),
    (["user", "add", "root", "--new-user-password", "secret"], ""),
    (["user", "add", "alice:hers"], ""),
    (["user", "add", "alice:hers"], ""),
    (["user", "add", "cert", "--no-password"], ""),
    (["user", "list"], ""),
    (["role", "add", "team"], ""),
    (["role", "add", "team"], ""),
    (["role", "grant-permission", "team", "readwrite", "team/", "--prefix"], ""),
    (["role", "grant-permission", "team", "read", "shared"], ""),
    (["role", "grant-permission", "team", "write", "w", "x"], ""),
    (["role", "grant-permission", "team", "read", "z", "--from-key"], ""),
    (["role", "grant-permission", "nobody", "read", "a"], ""),
    (["role", "get", "team"], ""),
    (["role", "get", "team", "-w", "json"], ""),
    (["role", "list"], ""),
    (["user", "grant-role", "alice", "team"], ""),
    (["user", "grant-role", "alice", "nobody"], ""),
    (["user", "get", "alice"], ""),
    (["user", "get", "alice", "--detail"], ""),
    (["put", "shared", "seen"], ""),
    (["put", "other", "hidden"], ""),
    (["auth", "enable"], ""),
    (["auth", "status"], ""),
    ([*_ROOT, "auth", "status"], ""),
    ([*_ROOT, "user", "get", "root"], ""),
    (["get", "shared"], ""),
    (["--user", "alice:wrong", "get", "shared"], ""),
    (["--user", "cert:any", "get", "shared"], ""),
    (["--user", "nobody:any", "get", "shared"], ""),
    ([*_ALICE, "get", "shared"], ""),
    ([*_ALICE, "get", "other"], ""),
    ([*_ALICE, "put", "team/a", "1"], ""),
    ([*_ALICE, "put", "shared", "1"], ""),
    ([*_ALICE, "put", "w1", "1"], ""),
    ([*_ALICE, "get", "w1"], ""),
    ([*_ALICE, "get", "zz", "--from-key"], ""),
    ([*_ALICE, "get", "", "--prefix"], ""),
    ([*_ALICE, "del", "team/", "--prefix", "--prev-kv"], ""),
    ([*_ALICE, "txn"], "\nput team/b 2\nget shared\n\n\n"),
    ([*_ALICE, "txn"], "\nput team/b 2\n\nget other\n\n"),
    ([*_ALICE, "txn"], 'mod("other") = "0"\n\nput team/b 2\n\n\n'),
    ([*_ALICE, "watch", "other"], ""),
    ([*_ALICE, "user", "get", "alice"], ""),
    ([*_ALICE, "user", "get", "root"], ""),
    ([*_ALICE, "role", "get", "team"], ""),
    ([*_ALICE, "role", "get", "root"], ""),
    ([*_ALICE, "user", "list"], ""),
    ([*_ALICE, "role", "list"], ""),
    ([*_ALICE, "auth", "disable"], ""),
    ([*_ALICE, "user", "passwd", "alice", "--interactive=false"], "new\n"),
    ([*_ROOT, "endpoint", "health"], ""),
    ([*_ROOT, "endpoint", "hashkv"], ""),
    ([*_ROOT, "alarm", "list"], ""),
    ([*_ROOT, "defrag"], ""),
    ([*_ROOT, "compaction", "3"], ""),
    ([*_ROOT, "lease", "list"], ""),
    ([*_ROOT, "user", "passwd", "alice", "--interactive=false"], "new\n"),
    ([*_ALICE, "get", "shared"], ""),
    (["--user", "alice:new", "get", "shared"], ""),
    (["--user", "alice", "--password", "new", "get", "shared"], ""),
    ([*_ROOT, "role", "revoke-permission", "team", "shared"], ""),
    ([*_ROOT, "role", "revoke-permission", "team", "shared"], ""),
    (["--user", "alice:new", "get", "shared"], ""),
    ([*_ROOT, "user", "revoke-role", "alice", "team"], ""),
    ([*_ROOT, "user", "revoke-role", "alice", "team"], ""),
    ([*_ROOT, "user", "revoke-role", "root", "root"], ""),
    ([*_ROOT, "user", "delete", "root"], ""),
    ([*_ROOT, "role", "delete", "root"], ""),
    ([*_ROOT, "role", "delete", "team"], ""),
    ([*_ROOT, "role", "get", "team"], ""),
    ([*_ROOT, "user", "delete", "alice"], ""),
    ([*_ROOT, "user", "delete", "alice"], ""),
    ([*_ROOT, "get", "", "--prefix"], ""),
    ([*_ROOT, "auth", "disable"], ""),
    ([*_ROOT, "get", "other"], ""),
    (["get", "other"], ""),
    (["auth", "status"], ""),
]  # fmt: skip (one line a command)


def test_each_command_about_users_prints_the_same_as_against_a_real_etcd(tmp_path: Path) -> None:
    """An operator who guards a real etcd guards ours with the same script."""
    with ours_and_theirs(tmp_path) as pair:
        assert differences(pair, _SCRIPT) == []
