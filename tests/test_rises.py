"""Whom a rise is told of, and which rises are one."""

from __future__ import annotations

import pandas as pd
import pytest

from cilium_analysis.topics.bursts import Scraped, fewest, find, spilled
from cilium_analysis.window import Window
from tests.sources import grid
from tests.test_baseline import pattern


def test_few_that_have_most_are_named() -> None:
    assert fewest(pd.Series({"a": 90.0, "b": 8.0, "c": 2.0})) == ("a",)
    assert fewest(pd.Series({"a": 50.0, "b": 40.0, "c": 10.0})) == ("a", "b")


def test_a_rise_on_all_alike_is_one_on_all() -> None:
    alike = pd.Series({f"node-{n}": 10.0 - 0.1 * n for n in range(20)})
    assert len(fewest(alike)) == 20


def test_those_with_hardly_a_part_stay_out() -> None:
    mixed = pd.Series({f"node-{n}": 10.0 if n < 8 else 0.5 for n in range(20)})
    assert fewest(mixed) == tuple(f"node-{n}" for n in range(8))


@pytest.mark.parametrize(
    ("before", "after", "usual", "told"),
    [(0, 4, 0, 4), (9, 0, 0, 9), (9, 4, 0, 13), (12, 9, 10, 0), (30, 10, 10, 20)],
    ids=["at the end", "at the start", "at both", "as usual", "above what is usual"],
)
def test_what_lies_in_the_steps_at_the_edges_belongs_to_a_rise(
    before: float, after: float, usual: float, told: float
) -> None:
    counts = pd.DataFrame({"a": [usual, before, 80.0, 85.0, after, usual]})
    assert spilled(counts, pd.DataFrame({"a": [usual] * 20}), 2, 4) == pytest.approx(told)


def test_a_rise_from_end_to_end_of_the_window_has_no_edges() -> None:
    assert spilled(pd.DataFrame({"a": [80.0, 85.0]}), pd.DataFrame(), 0, 2) == 0.0


def test_each_part_is_an_incident_with_edges_of_its_own() -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
    counts = pattern(20, 40, 20, 41)
    counts[20] = 4.0
    labels = "node source destination"
    now, usual = (grid(window, {("n", "a", "b"): v}, labels) for v in (counts, 0.0))
    seen = Scraped.of(pd.DataFrame({"n": True}, index=now.index))
    found = find(now, usual, by="source", alike=(), scraped=seen, baseline_scraped=seen)
    assert [(each.first, each.last) for each in found] == [(0, 20), (60, 80)]
