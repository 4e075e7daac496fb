"""What may stand where somebody types, and how values are written there."""

from __future__ import annotations

import pytest

from cilium_analysis.magics.syntax import Cursor, cursor, written
from cilium_analysis.queries import parse_matchers

DROPS = "cilium_drop_count_total"


@pytest.mark.parametrize(
    ("before", "kind", "typed"),
    [
        ("", "expression", ""),
        ("cil", "expression", "cil"),
        ("sum(rate(cil", "expression", "cil"),
        ("1 + ", "expression", ""),
        ("x and ", "expression", ""),
        ("sum(x) ", "keyword", ""),
        ("x of", "keyword", "of"),
        ("sum by (rea", "label", "rea"),
        ("sum(x) by (a, ", "label", ""),
        ("x * on (", "label", ""),
        ("x{", "label", ""),
        ('x{a="b", c', "label", "c"),
        ("x{a=", "nothing", ""),
        ("rate(x[", "duration", ""),
        ("rate(x[5", "duration", "5"),
        ("x offset ", "duration", ""),
        ("# sum", "nothing", ""),
        ("sum # by (\n (", "expression", ""),
        ('label_replace(x, "a', "nothing", "a"),
    ],
)
def test_what_may_stand_there(before: str, kind: str, typed: str) -> None:
    found = cursor(before)
    assert (found.kind, found.typed) == (kind, typed)


def test_labels_are_those_of_the_metric_that_is_meant() -> None:
    assert cursor("sum by (", f") (rate({DROPS}[5m]))").metric == DROPS
    assert cursor(f"sum(rate({DROPS}[5m])) by (").metric == DROPS
    assert cursor(f"{DROPS}{{").metric == DROPS
    assert cursor(f'sum(rate({DROPS}{{node="a", ').metric == DROPS


@pytest.mark.parametrize("sign", ['"', "'", "`"])
def test_a_value_knows_its_label_metric_and_quotes(sign: str) -> None:
    found = cursor(f"{DROPS}{{a='x', reason={sign}Pol")
    assert found == Cursor("value", "Pol", DROPS, "reason", sign)
    assert cursor(f"{DROPS}{{reason=~{sign}a|b").pattern


@pytest.mark.parametrize(
    "value", ['"} or up{a="', "a\\", "a\nb", "\x1b[31m", "\u202eabc", "a'b`c", "日本", "a.b|c(d)"]
)
def test_no_value_leaves_its_quotes(value: str) -> None:
    text = written(value, Cursor("value", "", "x", "a", '"'))
    assert text is not None
    assert text.isprintable()
    if value.isprintable() or value == "a\nb":
        assert [matcher.value for matcher in parse_matchers(f'a="{text}"')] == [value]
    single = written(value, Cursor("value", "", "x", "a", "'"))
    assert single is not None
    assert cursor(f"x{{a='{single}'").kind == "nothing"
    assert cursor(f"x{{a='{single}', ").kind == "label"


def test_a_value_in_a_pattern_means_itself_only() -> None:
    where = Cursor("value", "", "x", "a", '"', pattern=True)
    assert written("a.b|c", where) == "a\\\\.b\\\\|c"
    assert written("worker-1", where) == "worker-1"


def test_what_backticks_cannot_hold_is_not_offered() -> None:
    where = Cursor("value", "", "x", "a", "`")
    assert written("a`b", where) is None
    assert written("a\nb", where) is None
    assert written('a"b', where) == 'a"b'
