"""Where a query is wrong is shown where the server says."""

from __future__ import annotations

import pytest

from cilium_analysis.errors import QueryRejected, SourceError
from cilium_analysis.magics.pointing import message, place, pointed
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.window import Window
from tests.servers.process import ServerProcess

#: A query, and the part of it that Prometheus 2 and 3 and VictoriaMetrics point at.
WRONG = [
    ("sum by (reason (x)", "(x)", "(x)"),
    ("foo bar", "bar", "bar"),
    ("sum(\n  rate(x[5m])\n  +* y\n)", "* y\n)", "* y\n)"),
    ("1 +", "", ""),
    ("nosuch(x)", "nosuch(x)", "nosuch(x)"),
    ('rate(x{a="b",)', ")", ")"),
    ("sum(x) # c\n +) 1", ") 1", ") 1"),
    ('sum(x{a="ä"} +) + 1', ") + 1", ") + 1"),
    ("x{a=b}", "b}", "b}"),
    ('x{a="' + 500 * "b" + '"} foo * 2 + ' + 100 * "y + " + "1", "foo", "foo"),
]


@pytest.fixture
def server(server_kind: str, request: pytest.FixtureRequest) -> ServerProcess:
    name = server_kind.replace("-", "")
    running: ServerProcess = request.getfixturevalue(name)
    return running


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_real_servers_point_at_the_mistake(
    server: ServerProcess, server_kind: str, number: int
) -> None:
    promql, prometheus, victoria = WRONG[number]
    with Prometheus(server.url) as source, pytest.raises(QueryRejected) as caught:
        source.range(promql, Window.parse("-1h"))
    at, why = place(caught.value.promql, caught.value.reason)
    assert caught.value.promql == promql
    assert at is not None
    assert promql[at:].startswith(victoria if server_kind == "victoria" else prometheus)
    assert why
    assert "unparsed" not in why
    assert "parse error" not in why


def test_the_mark_stands_below_the_mistake() -> None:
    reason = "3:4: parse error: unexpected <op:*> in aggregation"
    assert pointed("sum(\n  rate(x[5m])\n  +* y\n)", reason).split("\n") == [
        "sum(",
        "  rate(x[5m])",
        "  +* y",
        "   ^",
        ")",
        "unexpected <op:*> in aggregation",
    ]


def test_wide_characters_and_tabs_do_not_move_the_mark() -> None:
    assert pointed('\tx{a="日本"} bar', "1:16: parse error: no").split("\n")[1] == (
        "\t" + 5 * " " + 4 * " " + 3 * " " + "^"
    )


def test_of_a_long_line_the_part_around_the_mistake_is_shown() -> None:
    promql = "a" * 500 + " b " + "c" * 500
    first, second, _ = pointed(promql, "1:502: parse error: no").split("\n")
    assert len(first) < 110
    assert first[second.index("^")] == "b"
    assert (first[0], first[-1]) == ("…", "…")


def test_a_reason_without_a_place_marks_nothing() -> None:
    for reason in ("query timed out", "99:1: parse error: no", "1:0: parse error: no"):
        shown = pointed("up", reason)
        assert "^" not in shown
        assert shown.startswith("up\n")


def test_hostile_text_stays_on_its_line() -> None:
    shown = pointed("x \x1b[31m bad", "1:3: parse error: \x1b[31m red\nmore")
    assert "\x1b" not in shown
    assert len(shown.split("\n")) == 3


def test_other_errors_are_their_message() -> None:
    assert message(SourceError("no \x1bsource")) == "no �source"
    assert message(QueryRejected("refused")) == "refused"
