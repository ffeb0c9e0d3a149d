"""Expressions as a reference server evaluates them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from reconcile.expressions import BrokenExpressionError, EvaluationError, compile_expression

VARIABLES = ("self", "oldSelf")


@pytest.mark.parametrize(
    "text",
    [
        "quantity('1Gi') == quantity('1024Mi')", "quantity('1Gi').isGreaterThan(quantity('1G'))",
        "quantity('50k').add(20) == quantity('50020')", "quantity('50k').sub(quantity('1k')).asInteger() == 49000",
        "quantity('1.5').asApproximateFloat() == 1.5 && !quantity('1.5').isInteger()", "quantity('-1').sign() == -1",
        "!isQuantity('1.2.3') && isQuantity('500m')", "quantity('1').compareTo(quantity('2')) == -1",
        "[1, 2, 3].sum() == 6 && [1, 2].max() == 2 && [2, 1].min() == 1", "[1, 2].isSorted() && !['b', 'a'].isSorted()",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 1, 2], [2, 1]) && !sets.intersects([1], [2])",
        "'abc 123'.find('[0-9]+') == '123' && '1 2 3'.findAll('[0-9]', 2) == ['1', '2'] && ''.find('x') == ''",
        "url('https://user@a.b:80/p%20q?x=1&x=2').getHost() == 'a.b:80'", "url('https://[::1]:80/').getHostname() == '::1'",
        "url('https://a.b:80/p%20q?x=1&x=2').getEscapedPath() == '/p%20q'", "url('https://a.b/').getPort() == ''",
        "url('https://a.b/?x=1&x=2').getQuery()['x'] == ['1', '2']", "isURL('https://a.b') && !isURL('a.b') && isURL('/path')",
        "ip('127.0.0.1').isLoopback() && ip('::1').family() == 6", "ip('10.0.0.1').isGlobalUnicast()",
        "!ip('255.255.255.255').isGlobalUnicast() && ip('224.0.0.5').isLinkLocalMulticast()",
        "!ip.isCanonical('::0001') && ip.isCanonical('::1') && !isIP('1.2.3')", "ip('0.0.0.0').isUnspecified()",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsIP(ip('10.1.1.1'))",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.0.0.0/8').containsCIDR(cidr('::/0'))",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')",
        "cidr('10.0.0.0/8').prefixLength() == 8 && !isCIDR('10.0.0.1')", "ip('169.254.1.1').isLinkLocalUnicast()",
        "semver('1.0.0-alpha.1').isLessThan(semver('1.0.0-alpha.beta')) && semver('1.0.0').isGreaterThan(semver('1.0.0-rc.1'))",
        "semver('1.10.0').compareTo(semver('1.9.0')) == 1 && semver('1.2.3').minor() == 2 && !isSemver('1.2')",
        "semver('1.0.0+a') == semver('1.0.0+b')", "'a,b'.split(',').size() == 2 && 'AB'.lowerAscii() == 'ab'",
        "self.?missing.orValue(3) == 3 && !has(self.missing)", "cel.bind(x, self.a, x + 1) == 2", "math.greatest(1, 2) == 2",
        "timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026 && duration('1h') > duration('59m')",
        "1 < 1.5 && size([1, 2]) >= 1.5 && quantity('1.5').asApproximateFloat() > 1 && sets.contains([1], [1])",
    ],
)  # fmt: skip
def test_expressions_say_what_the_reference_server_has_them_say(text: str) -> None:
    """The functions beyond the language are ours: each is tried."""
    assert compile_expression(text, VARIABLES).evaluate({"self": {"a": 1}}) is True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2, 2].indexOf(2) + [1, 2, 2].lastIndexOf(2)", 3), ("[1].indexOf('1')", -1), ("'abcb'.lastIndexOf('b')", 3),
        ("[3, 1, 2].sort()", [1, 2, 3]), ("['b', 'a'].reverse()", ["a", "b"]), ("'ab'.reverse()", "ba"),
        ("[1, 2, 3, 4].slice(1, 3)", [2, 3]), ("[[1], [2, [3]], 4].flatten()", [1, 2, [3], 4]), ("[[[1]]].flatten(2)", [1]),
        ("[1, 1, 2, 1.0, true].distinct()", [1, 2, True]), ("lists.range(3)", [0, 1, 2]), ("[duration('1s')].sum()", "0:00:01"),
        ("[{'n': 2}, {'n': 1}].sortBy(e, e.n)", [{"n": 1}, {"n": 2}]), ("['bb', 'a'].sortBy(w, size(w))", ["a", "bb"]),
        ("[timestamp('2026-01-02T00:00:00Z'), timestamp('2026-01-01T00:00:00Z')].sort()[0].getDate()", 1),
        ("semver('v1.02', true) == semver('1.2.0')", True), ("isSemver('1', true) && !isSemver('1-a', true)", True),
        ("string(ip('::0001')) + ' ' + string(cidr('10.0.0.0/8')) + ' ' + string(1)", "::1 10.0.0.0/8 1"),
        ("'a %s, %d, %.1f'.format(['b', 1, 2.5])", "a b, 1, 2.5"),
        ("format.dns1123Label().validate('a-b').hasValue()", False),
        ("format.dns1123Label().validate('a.b').value()", ["must not contain dots"]),
        ("format.dns1123LabelPrefix().validate('a-').hasValue() || format.dns1035Label().validate('1a').hasValue()", True),
        ("format.dns1123Subdomain().validate('a.b').hasValue() || format.dns1035LabelPrefix().validate('a-').hasValue()", False),
        ("format.qualifiedName().validate('a.b/c').hasValue() || format.labelValue().validate('').hasValue()", False),
        ("format.qualifiedName().validate('/').value()", ["prefix part must be non-empty", "name part must be non-empty"]),
        ("format.qualifiedName().validate('a/b/c').value()[0].endsWith(\"(e.g. 'example.com/MyName')\")", True),
        ("format.uuid().validate('x').value()", ["does not match the UUID format"]),
        ("format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", False),
        ("format.byte().validate('aGVsbG8=').hasValue() || format.uri().validate('http://a').hasValue()", False),
        ("format.byte().validate('a').value() + format.uri().validate('a').value()",
         ["invalid base64", 'parse "a": invalid URI for request']),
        ("format.date().validate('2026-02-30').value() + format.datetime().validate('2026-01-01').value()",
         ["invalid date", "invalid datetime"]),
        ("format.date().validate('2026-02-28').hasValue()", False),
        ("format.datetime().validate('2026-01-01T00:00:00Z').hasValue()", False),
        ("format.named('uuid').value().validate('x').hasValue() && !format.named('nosuch').hasValue()", True),
        ("['a', 'B'].filter(n, format.dns1123Label().validate(n).hasValue())", ["B"]),
        ("[['b'], ['a']].all(i, v, format.uuid().validate(v.sortBy(x, x)[0]).hasValue())", True),
    ],
)  # fmt: skip
def test_functions_of_lists_versions_and_formats(text: str, value: Any) -> None:
    """Those of newer servers, and those whose values the library cannot make by itself."""
    found = compile_expression(text, VARIABLES).evaluate({"self": {}})
    assert (str(found) if isinstance(found, timedelta) else found) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1, 'a'].sort()", "list elements must have the same type"), ("[[1]].sort()", "list elements must be comparable"),
        ("[1].slice(0, 2)", r"cannot slice\(0, 2\), list is length 1"), ("[1].slice(1, 0)", "must be less than or equal"),
        ("[1].slice(-1, 0)", "negative indexes not supported"), ("[[1]].flatten(-1)", "level must be non-negative"),
        ("semver('1.2-a', true)", "short version cannot contain"),
        ("self.b", "no such key: b"), ("1 / 0 == 1", "division by zero"), ("[1][3]", "index out of bounds: 3"),
        ("self.a + 'x'", "no such overload"), ("quantity('much')", "is no quantity"), ("[].min()", "min called on empty list"),
        ("quantity('1.5').asInteger()", "cannot convert value to integer"), ("cidr('1.2.3.4')", "is no CIDR"),
        ("url('nowhere')", "URL parse error"), ("semver('1')", "MAJOR.MINOR.PATCH"), ("self.a.getHost()", "no such overload"),
    ],
)  # fmt: skip
def test_an_expression_without_a_value_says_why(text: str, why: str) -> None:
    """The text reaches whoever wrote the object that is refused."""
    with pytest.raises(EvaluationError, match=why):
        compile_expression(text, VARIABLES).evaluate({"self": {"a": 1}})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"), ("nosuch > 1", r"ERROR: <input>:1:1: undeclared reference to 'nosuch'"),
        ("self.a ==", "Syntax error"), ("true\n&& nosuch", "<input>:2:4: undeclared"), ("'a' + 1", "no matching overload"),
        ("a" * 20_000, "10000 are allowed"),
    ],
)  # fmt: skip
def test_an_expression_that_does_not_compile_says_where(text: str, why: str) -> None:
    """Line and column are those of the text as it was written."""
    with pytest.raises(BrokenExpressionError, match=why):
        compile_expression(text, VARIABLES)


def test_an_optional_variable_can_be_absent() -> None:
    """`oldSelf.hasValue()` is how a rule tells a create from an update."""
    rule = compile_expression("oldSelf.hasValue() ? oldSelf.value() == 1 : true", VARIABLES, optional=frozenset({"oldSelf"}))
    assert rule.evaluate({"self": 1}) is True
    assert rule.evaluate({"self": 1, "oldSelf": 1}) is True
    assert rule.evaluate({"self": 1, "oldSelf": 2}) is False
    with pytest.raises(BrokenExpressionError, match="<input>:1:"):
        compile_expression("oldSelf.hasValue() && nosuch", VARIABLES, optional=frozenset({"oldSelf"}))


def test_the_language_is_loaded_by_the_first_expression_only() -> None:
    """Who has no rules pays nothing for them, and needs no extra."""
    code = "import sys, reconcile.runtime.api, reconcile.resources; print('cel_expr_python' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("self.numbers.all(i, n, n > i)", True), ("self.numbers.all(i, n, n > i + 1)", False),
        ("self.words.all(key, word, key != word)", True), ("self.numbers.exists(i, n, i == 2 && n == 5)", True),
        ("self.numbers.existsOne(i, n, n == 5)", False), ("self.numbers.exists_one(i, n, n == 1)", True),
        ("self.numbers.transformList(i, n, i * n)", [0, 5, 10]), ("self.numbers.transformList(i, n, n > 1, i)", [1, 2]),
        ("self.words.transformMap(k, v, v + k)", {"a": "xa", "b": "yb"}),
        ("self.words.transformMap(k, v, k == 'a', v)", {"a": "x"}),
        ("self.words.transformMapEntry(k, v, {v: k})", {"x": "a", "y": "b"}),
        # In one another, in those of one variable, and beside them.
        ("self.grid.all(i, row, row.all(j, cell, cell == i * 2 + j))", True),
        ("self.grid.all(row, row.exists(j, cell, j == 1 && cell > 0))", True),
        ("self.numbers.all(n, n > 0) && self.grid.map(row, row.transformList(i, c, c + i)) == [[0, 2], [2, 4]]", True),
        # What only looks like one.
        ("'x.all(i, v, true)'.size()", 17), ("self.words['a'] in ['x', ')', ',']", True),
        ("[1].all(i, v, string(v) + ',)' == '1,)') // .all(a, b, c)", True),
        # Times stay times.
        ("self.at.all(i, t, t.getFullYear() == 2026) && {'a': self.at}.all(k, at, at[0] == self.at[0])", True),
        ("[duration('5s')].all(i, d, d < duration('6s'))", True),
    ],
)  # fmt: skip
def test_macros_of_two_variables(text: str, value: object) -> None:
    """Rules that were written for a newer server have them, and mean what they mean there."""
    at = Timestamp()
    at.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    given = {"numbers": [1, 5, 5], "words": {"a": "x", "b": "y"}, "grid": [[0, 1], [2, 3]], "at": [at]}
    assert compile_expression(text, VARIABLES).evaluate({"self": given}) == value


def test_what_is_wrong_in_a_macro_of_two_variables_is_told() -> None:
    """By its line; and two entries of one key are no map."""
    with pytest.raises(BrokenExpressionError, match=r"ERROR: <input>:2: undeclared reference to 'nosuch'"):
        compile_expression("self.all(a, b,\n nosuch)", VARIABLES)
    with pytest.raises(BrokenExpressionError, match=r"missing '\)'"):
        compile_expression("self.all(a, b, a == b", VARIABLES)
    same = compile_expression("self.transformMapEntry(i, v, {v: i})", VARIABLES)
    with pytest.raises(EvaluationError, match="insert failed: key 'x' already exists"):
        same.evaluate({"self": ["x", "x"]})
