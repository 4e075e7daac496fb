"""Levels are kept from one scrape to the next, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from cilium_analysis.queries import Query
from cilium_analysis.topics import loading
from cilium_analysis.topics.buckets import plain_number
from cilium_analysis.window import Window
from tests.sources import MemorySource, grid

NAN = float("nan")


def label_frame(columns: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    index = pd.date_range("2026-03-21 09:00", periods=length, freq="30s", tz="UTC", name="time")
    names = pd.MultiIndex.from_tuples(list(columns), names=["node", "state"])
    return pd.DataFrame(np.column_stack(list(columns.values())), index=index, columns=names)


def agents(seen: list[float]) -> pd.DataFrame:
    frame = label_frame({("a", ""): seen})
    return frame.droplevel("state", axis=1)


def kept(levels: pd.DataFrame, state: str, **how: object) -> list[float]:
    return list(loading.held(levels, **how)["a", state].fillna(-1.0))  # type: ignore[arg-type]


def test_a_level_lasts_until_the_next_scrape() -> None:
    levels = label_frame({("a", "ready"): [5, NAN, 6, NAN, 7, NAN]})
    assert kept(levels, "ready") == [5, 5, 6, 6, 7, 7]


def test_what_is_shown_at_two_scrapes_only_is_not_there_between_them() -> None:
    # Twice a state with an endpoint in it, far apart: exported only while there is one.
    waiting = [NAN] * 2 + [2] + [NAN] * 11 + [2] + [NAN] * 5
    ready = [5, NAN] * 10
    levels = label_frame({("a", "ready"): ready, ("a", "waiting"): waiting})
    true = [-1.0] * 2 + [2, 2] + [-1] * 10 + [2, 2] + [-1] * 4
    assert kept(levels, "waiting") == true
    # The same where nothing else of the frame is there, but the agent is known to be scraped.
    alone = label_frame({("a", "waiting"): waiting})
    assert kept(alone, "waiting", scraped=agents([1.0, NAN] * 10)) == true


def test_other_nodes_do_not_end_a_level() -> None:
    levels = label_frame({("a", "ready"): [5, NAN, 6, NAN], ("b", "ready"): [NAN, 1, NAN, 1]})
    assert kept(levels, "ready") == [5, 5, 6, 6]


def test_a_gap_in_the_scrapes_stays_a_gap_but_for_its_first_steps() -> None:
    levels = label_frame({("a", "ready"): [5, NAN] * 4 + [NAN] * 4 + [5, NAN]})
    assert kept(levels, "ready") == [5.0] * 9 + [-1] * 3 + [5] * 2


def test_what_was_asked_for_in_longer_steps_lasts_as_long() -> None:
    levels = label_frame({("a", "ready"): [5, NAN, NAN, NAN, NAN, NAN, 6, NAN, NAN]})
    shown = kept(levels, "ready", scraped=agents([1.0] * 9), every=3)
    assert shown == [5, 5, 5, 5, 5, 5, 6, 6, 6]


@pytest.mark.parametrize("columns", [0, 2])
def test_nothing_stays_nothing(columns: int) -> None:
    levels = label_frame({("a", "x"): [NAN] * 3, ("b", "x"): [NAN] * 3}).iloc[:, :columns]
    result = loading.held(levels, scraped=agents([NAN] * 3))
    pd.testing.assert_frame_equal(result, levels)


STEP = timedelta(seconds=30)
WINDOW = Window(datetime(2026, 3, 21, 9, tzinfo=UTC), datetime(2026, 3, 21, 9, 5, tzinfo=UTC), STEP)


def buckets(columns: dict[str, list[float]], promql: str) -> pd.DataFrame:
    """What a query gives whose server stores bounds as in these columns, in the last steps."""
    wide = loading.led(WINDOW)
    values: dict[tuple[str, ...], object] = {
        (le,): [NAN] * (wide.points - len(each)) + each for le, each in columns.items()
    }
    query = Query(promql, "1", "")
    source = MemorySource({query.render(step=STEP): grid(wide, values, "le")})
    frame = loading.fetch(source, query, WINDOW, match="")
    assert set(frame.columns.names) == {"le", "node"}
    return frame.droplevel("node", axis=1).iloc[-len(next(iter(columns.values()))) :]


def test_bounds_that_an_upgrade_spells_in_another_way_are_one() -> None:
    counted = buckets({"1": [5, 6, NAN], "1.0": [NAN, NAN, 7], "0.5": [1, 1, 2]}, "m_bucket{}")
    assert counted["1"].tolist() == [5, 6, 7]
    assert counted["0.5"].tolist() == [1, 1, 2]
    assert set(counted.columns) == {"0.5", "1"}


def test_increases_by_the_server_do_not_take_another_spelling_for_a_birth() -> None:
    columns: dict[str, list[float]] = {
        "1": [5, 6, NAN, NAN],
        "1.0": [NAN, NAN, 90_000, 7],
        "+Inf": [8, 8, 8, 8],
    }
    counted = buckets(columns, "m{} - m{} offset <range>")
    np.testing.assert_array_equal(counted["1"], [5, 6, NAN, 7])
    assert counted["+Inf"].tolist() == [8, 8, 8, 8]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1.0", "1"),
        ("1", "1"),
        ("0.50", "0.5"),
        ("+Inf", "+Inf"),
        ("1e-05", "1e-05"),
        ("0.05", "0.05"),
        ("x", "x"),
    ],
)
def test_numbers_are_written_in_one_way(text: str, plain: str) -> None:
    assert plain_number(text) == plain
