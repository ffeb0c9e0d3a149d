"""The real etcdctl, unmodified, prints the same against `reconcile store serve` as against a real etcd."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.etcd.etcdctl import WAIT_S, Etcdctl, differences, end, line, ours_and_theirs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Etcdctl, Etcdctl]]:
    """Ours and a real one; one for all tests of this file, which all run the same commands on both."""
    with ours_and_theirs(tmp_path_factory.mktemp("etcdctl")) as both:
        yield both


_SAME: list[tuple[list[str], str]] = [
    (["put", "greeting", "hello"], ""),
    (["put", "greeting", "there", "--prev-kv", "-w", "json"], ""),
    (["get", "greeting", "-w", "json"], ""),
    (["get", "", "--prefix", "--keys-only"], ""),
    (["get", "greeting", "--rev", "2"], ""),
    (["get", "greeting", "--rev", "99"], ""),
    (["get", "greeting", "-w", "fields"], ""),
    (["put", "a/1", "x"], ""),
    (["put", "a/2", "y"], ""),
    (["get", "a/", "--prefix", "--order", "DESCEND", "--sort-by", "CREATE", "--limit", "1"], ""),
    (["get", "a", "b", "--count-only", "-w", "fields"], ""),
    (["get", "a/1", "--from-key"], ""),
    (["txn"], 'mod("a/1") > "0"\n\nput a/3 z\nget a/ --prefix\n\nput never "1"\n\n'),
    (["txn", "-w", "json"], 'value("a/1") = "no"\n\nput never "1"\n\ndel a/3\n\n'),
    (["txn"], "\nput twice 1\nput twice 2\n\n\n"),
    (["del", "a/", "--prefix", "--prev-kv"], ""),
    (["del", "missing"], ""),
    (["put", "k", "v", "--lease", "4d2"], ""),
    (["put", "k", "--ignore-value"], ""),
    (["lease", "revoke", "4d2"], ""),
    (["lease", "timetolive", "4d2"], ""),
    (["lease", "list"], ""),
    (["compaction", "3"], ""),
    (["compaction", "3"], ""),
    (["compaction", "3000"], ""),
    (["get", "greeting", "--rev", "2"], ""),
    (["watch", "greeting", "--rev", "2"], ""),
    (["defrag"], ""),
    (["alarm", "list"], ""),
    (["alarm", "disarm"], ""),
    (["endpoint", "hashkv"], ""),
    (["endpoint", "health"], ""),
    (["get", "a", "--from-key", "--limit", "2", "--keys-only", "--write-out", "simple"], ""),
    (["get", "greeting", "--consistency", "s", "--print-value-only"], ""),
    (["get", "greeting", "--hex"], ""),
    (["get", "", "--prefix", "--sort-by", "VALUE", "--order", "ASCEND"], ""),
    (["get", "", "--prefix", "--sort-by", "VERSION"], ""),
    (["get", ""], ""),
    (["put", "", "x"], ""),
    (["put", "with-lease", "x", "--lease", "dead"], ""),
    (["put", "greeting", "--ignore-lease"], ""),
    (["put", "greeting", "again", "--ignore-lease", "--prev-kv"], ""),
    (["put", "empty", ""], ""),
    (["get", "empty"], ""),
    (["put", "stdin"], "from the input"),
    (["get", "stdin", "-w", "fields"], ""),
    (
        ["txn", "--interactive"],
        'create("greeting") = "2"\nlease("greeting") = "0"\nver("greeting") > "1"\n\nget greeting\nput n 1\n\n\n',
    ),
    (["txn"], 'nonsense("a") = "1"\n\n\n\n'),
    (["del", "a", "c"], ""),
    (["del", "n", "--from-key"], ""),
    (["del", "", "--prefix", "-w", "json"], ""),
    (["lease", "revoke", "dead"], ""),
    (["lease", "keep-alive", "--once", "dead"], ""),
    (["lease", "timetolive", "dead", "--keys", "-w", "json"], ""),
    (["lease", "list", "-w", "json"], ""),
    (["compaction", "0"], ""),
    (["compaction", "--physical", "5"], ""),
    (["endpoint", "health", "-w", "json"], ""),
    (["endpoint", "hashkv", "-w", "json"], ""),
    (["endpoint", "health", "--cluster"], ""),
    (["member", "add", "other", "--peer-urls", "bad"], ""),
    (["member", "promote", "1"], ""),
    (["member", "update", "1", "--peer-urls", "http://127.0.0.1:1"], ""),
    (["downgrade", "validate", "x"], ""),
    (["downgrade", "cancel"], ""),
    (["move-leader", "x"], ""),
    (["alarm", "list", "-w", "json"], ""),
    (["snapshot", "save"], ""),
    (["version"], ""),
    (["member", "remove", "1"], ""),
    (["move-leader", "1"], ""),
    (["auth", "status"], ""),
    (["auth", "enable"], ""),
    (["user", "list"], ""),
    (["user", "get", "nobody"], ""),
    (["role", "list"], ""),
]  # fmt: skip (one line a command)


def test_each_command_prints_the_same_as_against_a_real_etcd(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """Scripts parse what etcdctl prints; the commands run in one order, each on what those before it left."""
    assert differences(pair, _SAME) == []


def test_watch_prints_events_as_they_come(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """Interactive watches are how people look at an etcd."""
    printed = []
    for etcdctl in pair:
        revision = json.loads(etcdctl("get", "w", "-w", "json"))["header"]["revision"]
        process = etcdctl.start("watch", "w/", "--prefix", "--prev-kv", "--rev", str(revision + 1))
        for command in (["put", "w/1", "one"], ["put", "w/1", "two"], ["del", "w/1"], ["put", "w/2", "the end"]):
            etcdctl(*command)
        lines: list[str] = []
        while "the end" not in lines:
            lines.append(line(process))
        printed.append(lines)
        end(process)
    assert printed[0] == printed[1]
    assert [line for line in printed[0] if line in ("PUT", "DELETE")] == ["PUT", "PUT", "DELETE", "PUT"]


def test_a_lease_is_granted_kept_alive_and_revoked(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """The id is the server's choice; everything else is the same."""
    for etcdctl in pair:
        granted = re.fullmatch(r"lease (\w+) granted with TTL\(60s\)\n", etcdctl("lease", "grant", "60"))
        assert granted
        lease = granted[1]
        assert etcdctl("put", "leased", "x", "--lease", lease) == "OK\n"
        assert etcdctl("lease", "keep-alive", "--once", lease) == f"lease {lease} keepalived with TTL(60)\n"
        live = etcdctl("lease", "timetolive", lease, "--keys")
        assert re.fullmatch(rf"lease {lease} granted with TTL\(60s\), remaining\((59|60)s\), attached keys\(\[leased\]\)\n", live)
        assert etcdctl("lease", "revoke", lease) == f"lease {lease} revoked\n"
        assert etcdctl("get", "leased") == ""


def test_a_lock_is_held_by_one_and_passed_on(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """etcdctl's lock is a recipe over leases, txns, sorted ranges and watches: a good check of all of them."""
    for etcdctl in pair:
        first = etcdctl.start("lock", "mutex")
        key = line(first)
        second = etcdctl.start("lock", "mutex", "echo", "mine")
        while etcdctl("get", "mutex/", "--prefix", "--count-only", "-w", "fields").count('"Count" : 2') == 0:
            pass
        end(first)
        assert second.communicate(timeout=WAIT_S)[0] == "mine\n"
        assert key.startswith("mutex/")


def test_an_election_has_one_leader_whom_listeners_see(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """The same for elections."""
    for etcdctl in pair:
        leader = etcdctl.start("elect", "office", "alice")
        key, value = line(leader), line(leader)
        assert (key.startswith("office/"), value) == (True, "alice")
        listener = etcdctl.start("elect", "--listen", "office")
        assert (line(listener), line(listener)) == (key, "alice")
        rival = etcdctl.start("elect", "office", "bob")
        while etcdctl("get", "office/", "--prefix", "--count-only", "-w", "fields").count('"Count" : 2') == 0:
            pass
        end(leader)
        for process in (rival, listener):
            assert (line(process).startswith("office/"), line(process)) == (True, "bob")
        for process in (rival, listener):
            end(process)


def test_a_mirror_follows_each_into_the_other(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """make-mirror copies what is there, then what comes: sync pages of a range at one revision, then a watch."""
    for source, target in (pair, pair[::-1]):
        for command in (["put", "m/1", "one"], ["put", "m/2", "two"]):
            source(*command)
        mirror = source.start("make-mirror", "--prefix", "m/", "--dest-prefix", "copy/", "--no-dest-prefix=false", target.address)
        try:
            while target("get", "copy/", "--prefix", "--print-value-only") != "one\ntwo\n":
                pass
            source("del", "m/1")
            source("put", "m/3", "three")
            while target("get", "copy/", "--prefix", "--print-value-only") != "two\nthree\n":
                pass
        finally:
            end(mirror)
        for etcdctl in pair:
            etcdctl("del", "m/", "--prefix")
            etcdctl("del", "copy/", "--prefix")


def test_a_watch_runs_a_command_for_each_event(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """Scripts hang on it; the event is in the environment."""
    for etcdctl in pair:
        revision = json.loads(etcdctl("put", "e", "now", "-w", "json"))["header"]["revision"]
        command = ["sh", "-c", "echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"]
        process = etcdctl.start("watch", "--rev", str(revision), "e", "--", *command)
        told = line(process)
        while '"PUT"' not in told:  # the event itself is printed, too
            told = line(process)
        assert told == '"PUT" "e" "now"'
        end(process)


def test_status_and_members_tell_of_one_member(pair: tuple[Etcdctl, Etcdctl]) -> None:
    """Sizes, ids and versions differ; what is told does not."""
    statuses = [json.loads(etcdctl("endpoint", "status", "-w", "json"))[0]["Status"] for etcdctl in pair]
    assert set(statuses[0]) == set(statuses[1])
    assert all(status["version"].startswith("3.5.") and status["leader"] == status["header"]["member_id"] for status in statuses)
    members = [json.loads(etcdctl("member", "list", "-w", "json"))["members"] for etcdctl in pair]
    assert [len(each) for each in members] == [1, 1]
    assert set(members[0][0]) == set(members[1][0])
