"""The comparison of outside suites: it must see what differs."""

from __future__ import annotations

from pathlib import Path

from tests.outside.__main__ import differences
from tests.outside.running import read


def test_a_test_that_ends_otherwise_or_is_not_there_is_a_difference() -> None:
    """A run that saw nothing would pass for ever."""
    real = {"a": "passed", "b": "failed", "c": "passed", "d": "skipped"}
    assert differences(real, real) == []
    assert differences({"a": "failed", "b": "passed", "d": "skipped"}, real) == [
        "a: failed on ours, passed on a real etcd",
        "b: passed on ours, failed on a real etcd",
        "c: absent on ours, passed on a real etcd",
    ]


def test_a_report_tells_how_each_test_ended(tmp_path: Path) -> None:
    """An error in a fixture is a failure, too."""
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="tests.m" name="good"/><testcase classname="tests.m" name="bad"><failure/>'
        '</testcase><testcase classname="tests.m" name="worse"><error/></testcase><testcase classname="tests.m" name="not">'
        "<skipped/></testcase></testsuite></testsuites>"
    )
    assert read(report) == {"m::good": "passed", "m::bad": "failed", "m::worse": "failed", "m::not": "skipped"}
