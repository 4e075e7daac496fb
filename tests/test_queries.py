from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis.errors import ParameterError
from cilium_analysis.queries import Matcher, Query, parse_matchers

STEP = timedelta(seconds=30)


def test_matchers_are_read() -> None:
    found = parse_matchers(' {cluster="prod", node=~"worker-.*",x!="",y!~"a|b",} ')
    assert found == (
        Matcher("cluster", "=", "prod"),
        Matcher("node", "=~", "worker-.*"),
        Matcher("x", "!=", ""),
        Matcher("y", "!~", "a|b"),
    )
    assert parse_matchers("") == ()


@pytest.mark.parametrize(
    "text",
    ["cluster", "cluster=prod", 'a="b" c="d"', 'a="b"} or vector(1) {x="y"', 'a=="b"', ",", 'a="b'],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="label matchers"):
        parse_matchers(text)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        (r"worker-\d+", r"worker-\\d+"),
        (r"worker-\\d+", r"worker-\\d+"),
        (r"10\.0\.0\..*", r"10\\.0\\.0\\..*"),
        (r"\\.", r"\\."),
        (r"\w\s\'", r"\\w\\s\\'"),
        (r"say \"hi\"", r"say \"hi\""),
        (r"a\nb", r"a\nb"),
        (r"tab\tx", "tab\tx"),
        (r"\x41\101\u00e9\U0001F600", "AAé\N{GRINNING FACE}"),
        (r"\xc3\xa9", "é"),
        (r"\x4", r"\\x4"),
        (r"\777", r"\\777"),
    ],
)
def test_a_backslash_reaches_the_server_as_promql_means_it(typed: str, sent: str) -> None:
    (found,) = parse_matchers(f'node=~"{typed}"')
    assert str(found) == f'node=~"{sent}"'


@pytest.mark.parametrize("value", [r"\xff", r"\ud800", r"\UFFFFFFFF", "\udcff"])
def test_a_value_that_is_no_text_is_refused(value: str) -> None:
    with pytest.raises(ParameterError, match="is not UTF-8"):
        parse_matchers(f'a="{value}"')


@given(st.text(max_size=20))
def test_no_value_can_leave_its_quotes(value: str) -> None:
    written = str(Matcher("a", "=", value))
    assert parse_matchers(written) == (Matcher("a", "=", value),)


def test_a_query_is_filled_in() -> None:
    query = Query('sum(max_over_time(x{<match>}[<range>])) + y{a="b",<match>}', "", "")
    assert query.render(step=STEP) == 'sum(max_over_time(x{}[30s])) + y{a="b"}'
    match = parse_matchers('c="<range>"')
    assert query.render(match=match, step=STEP) == (
        'sum(max_over_time(x{c="<range>"}[30s])) + y{a="b",c="<range>"}'
    )
