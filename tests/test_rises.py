"""Whom a rise is told of."""

from __future__ import annotations

import pandas as pd

from cilium_analysis.topics.rises import fewest


def test_few_that_have_most_are_named() -> None:
    assert fewest(pd.Series({"a": 90.0, "b": 8.0, "c": 2.0})) == ("a",)
    assert fewest(pd.Series({"a": 50.0, "b": 40.0, "c": 10.0})) == ("a", "b")


def test_a_rise_on_all_alike_is_one_on_all() -> None:
    alike = pd.Series({f"node-{n}": 10.0 - 0.1 * n for n in range(20)})
    assert len(fewest(alike)) == 20


def test_those_with_hardly_a_part_stay_out() -> None:
    mixed = pd.Series({f"node-{n}": 10.0 if n < 8 else 0.5 for n in range(20)})
    assert fewest(mixed) == tuple(f"node-{n}" for n in range(8))
