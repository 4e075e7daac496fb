"""Which series left their baseline, how far and since when; and what a time of day explains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis.statistics.deviations import (
    deviations,
    expect,
    extremes,
    smoothed,
    spans_days,
    without_days,
)

STEP = pd.Timedelta(minutes=1)
STEPS = 240


def times(number: int, *, start: str = "2026-03-21", step: pd.Timedelta = STEP) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=number, freq=step, tz="UTC")


def split(values: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make a baseline and a window of the same length."""
    frame = pd.DataFrame(values, index=times(len(values)))
    return frame.iloc[:STEPS], frame.iloc[STEPS:]


def only(table: pd.DataFrame) -> Any:
    assert len(table) == 1
    return next(table.itertuples())


def test_a_step_is_dated_from_the_beginning_of_its_first_row() -> None:
    values = np.random.default_rng(1).normal(10.0, 1.0, size=(2 * STEPS, 3))
    values[STEPS + 100 : STEPS + 160, 1] += 20.0
    baseline, window = split(values)
    found = only(deviations(baseline, window, counts=False))
    assert found.series == 1
    assert found.usual == pytest.approx(10.0, abs=0.5)
    assert found.extreme == pytest.approx(30.0, abs=2.0)
    assert found.score > 5
    assert found.earliest <= found.start == window.index[99] <= found.latest
    assert found.end == window.index[159]


def test_of_many_the_farthest_are_given_in_their_order() -> None:
    values = np.random.default_rng(6).normal(10.0, 1.0, size=(2 * STEPS, 6))
    values[STEPS + 100 :] += [20.0, 60.0, 40.0, 80.0, 30.0, 70.0]
    baseline, window = split(values)
    assert list(deviations(baseline, window, counts=False, most=3)["series"]) == [1, 3, 5]
    assert deviations(baseline, window, counts=False, most=0).empty


def test_a_fall_is_a_shift_too() -> None:
    values = np.random.default_rng(2).normal(10.0, 1.0, size=(2 * STEPS, 1))
    values[STEPS + 50 :] -= 10.0
    found = only(deviations(*split(values), counts=False))
    assert found.score < -5
    assert found.start == split(values)[1].index[49]


def test_a_first_row_that_is_only_partly_in_the_incident_is_part_of_it() -> None:
    values = np.zeros((2 * STEPS, 1))
    values[STEPS + 60] = 300.0
    values[STEPS + 61 : STEPS + 90] = 1000.0
    baseline, window = split(values)
    found = only(deviations(baseline, window, counts=True))
    assert found.start == window.index[59]
    assert found.latest >= window.index[60]


def test_a_small_rise_that_wavers_is_one_stretch() -> None:
    rng = np.random.default_rng(3)
    values = rng.poisson(0.05, size=(2 * STEPS, 20)).astype(float)
    values[STEPS + 80 :, :] += rng.poisson(3.0, size=(STEPS - 80, 20))
    baseline, window = split(values)
    table = deviations(baseline, window, counts=True)
    assert len(table) == 20
    late = (table["start"] - window.index[79]).abs() / STEP
    assert (late <= 2).mean() >= 0.9
    assert (table["end"] == window.index[-1]).mean() >= 0.9


def test_the_interval_of_an_onset_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(2 * STEPS, 300))
    places = rng.integers(40, STEPS - 40, size=300)
    for one, place in enumerate(places):
        values[STEPS + place :, one] += rng.uniform(6.0, 12.0)
    baseline, window = split(values)
    table = deviations(baseline, window, counts=False)
    assert len(table) >= 290
    onset = pd.DatetimeIndex(window.index[places[table["series"]]]) - STEP
    within = (table["earliest"] <= onset) & (onset <= table["latest"])
    assert within.mean() >= 0.9


def test_quiet_series_are_not_listed() -> None:
    rng = np.random.default_rng(5)
    gauges, counts = rng.normal(size=(2 * STEPS, 500)), rng.poisson(3.0, size=(2 * STEPS, 500))
    assert len(deviations(*split(gauges), counts=False)) <= 5
    assert len(deviations(*split(counts.astype(float)), counts=True)) <= 5


def test_a_series_that_the_baseline_lacks_is_new() -> None:
    baseline, window = split(np.full((2 * STEPS, 1), 50.0))
    found = only(deviations(baseline.iloc[:, :0], window, counts=True))
    assert found.usual == 0.0
    assert (found.start, found.end) == (window.index[0] - STEP, window.index[-1])


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_hardly_anything_is_no_shift_and_no_error(rows: int) -> None:
    window = pd.DataFrame({"a": [5.0] * rows}, index=times(rows))
    assert deviations(window, window, counts=False).empty


@pytest.mark.parametrize(("row", "before"), [(100, 4), (1, 1)])
def test_a_peak_began_within_the_steps_that_its_mean_is_over(row: int, before: int) -> None:
    values = np.full((2 * STEPS, 1), 10.0)
    values[STEPS + row - 1 : STEPS + row + 1] = 200.0
    values[STEPS + row - 1] = 11.0
    baseline, window = split(values)
    found = only(deviations(baseline, window, counts=False))
    first = row if row > 1 else 2
    assert found.latest == window.index[first]
    assert found.start == window.index[first] - STEP
    assert found.earliest == window.index[max(first - 4, 0)] - STEP
    assert found.extreme == pytest.approx(10.0 + (190.0 + 1.0) / min(5, row + 2), rel=0.2)


# What a baseline makes one expect


@given(st.integers(0, 10_000), st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.7]))
def test_a_level_is_the_mean_of_five_of_which_three_are_known(
    seed: int, rows: int, unknown: float
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 3))
    values[rng.random(values.shape) < unknown] = np.nan
    rolling = pd.DataFrame(values).rolling(5, min_periods=3).mean()
    np.testing.assert_allclose(smoothed(values), rolling, atol=1e-12)


@pytest.mark.parametrize(
    ("baseline", "window", "counts", "level", "half"),
    [
        # Three standard deviations of the mean of five Poisson counts, also where there are none.
        ([100.0] * 200, [100.0], True, 100.0, 3 * np.sqrt(500) / 5),
        ([0.0] * 200, [0.0], True, 0.0, 3 / 5),
        # A twentieth of the level; half of the usual range if that is more.
        ([100.0] * 200, [100.0], False, 100.0, 5.0),
        ([-100.0] * 200, [100.0], False, -100.0, 5.0),
        ([10.0] * 90 + [20.0] * 90 + [30.0] * 90, [0.0], False, 20.0, 10.0),
        # Without any range, a fifth of the largest value, wherever it was; 1 if all is 0.
        ([0.0] * 200, [10.0], False, 0.0, 2.0),
        ([0.0] * 1000 + [100.0] + [0.0] * 1000, [10.0], False, 0.0, 4.0),
        ([0.0] * 200, [0.0], False, 0.0, 1.0),
        ([np.nan] * 200, [10.0], False, 0.0, 2.0),
        # The median of one failure in twenty steps is 0, and its mean is not.
        ([0.0] * 10 + ([1.0] + [0.0] * 19) * 20, [0.0], True, 20 / 410, 3 / 5),
    ],
)
def test_what_is_expected_of_a_series(
    baseline: list[float], window: list[float], counts: bool, level: float, half: float
) -> None:
    # Another one beside it changes nothing.
    sides = (np.array([side, np.arange(len(side)) * 7.0]).T for side in (baseline, window * 20))
    found = expect(*sides, counts=counts)
    assert found.level[0] == pytest.approx(level, rel=0.01)
    assert found.half[0] == pytest.approx(half)
    assert found.scores(np.array([[level + 2 * half, 0.0]]))[0, 0] == pytest.approx(2.0, rel=0.01)


def test_without_a_time_nothing_deviates() -> None:
    scores, places = extremes(np.ones((9, 2)), np.empty((0, 2)), counts=False)
    assert scores.tolist() == places.tolist() == [0, 0]


# The time of day

SLOW = pd.Timedelta(minutes=10)
DAY = 144


def daily(days: int, *, start: str) -> pd.DataFrame:
    """Give a metric that is high by day and low at night."""
    index = times(days * DAY, start=start, step=SLOW)
    noise = np.random.default_rng(days).normal(0.0, 1.0, size=len(index))
    day = 50.0 - 40.0 * np.cos(2 * np.pi * np.arange(len(index)) / DAY)
    return pd.DataFrame({"load": day + noise}, index=index)


def test_the_morning_is_no_shift_and_the_same_level_at_night_is() -> None:
    baseline, today = daily(7, start="2026-03-14"), daily(1, start="2026-03-21")
    assert deviations(baseline, today, counts=False).empty
    night = today.copy()
    night.iloc[6:24] += 30.0  # 01:00 to 04:00, still below an ordinary noon
    found = only(deviations(baseline, night, counts=False))
    assert abs(found.start - night.index[5]) <= 2 * SLOW
    assert found.extreme < baseline["load"].max()


def test_one_incident_in_the_baseline_does_not_become_usual() -> None:
    baseline, today = daily(7, start="2026-03-14"), daily(1, start="2026-03-21")
    baseline.iloc[3 * DAY + 60 : 3 * DAY + 80] += 500.0
    assert deviations(baseline, today, counts=False).empty


def test_a_baseline_below_two_days_says_nothing_of_the_time_of_day() -> None:
    frame = daily(1, start="2026-03-20")
    values = frame.to_numpy()
    assert not spans_days(frame.index)
    same, _ = without_days(values, values, usual_times=frame.index, times=frame.index)
    assert same is values
    assert spans_days(daily(2, start="2026-03-19").index)


def test_a_time_of_day_that_was_never_observed_is_left_alone() -> None:
    frame = daily(3, start="2026-03-18")
    hours = pd.DatetimeIndex(frame.index).hour
    gone = frame.mask(np.asarray(hours >= 12)[:, None] & np.ones(frame.shape, dtype=bool))
    rest, same = without_days(
        gone.to_numpy(), frame.to_numpy(), usual_times=frame.index, times=frame.index
    )
    assert np.isnan(rest[hours >= 12]).all()
    afternoon = (hours >= 13) & (hours < 23)
    np.testing.assert_array_equal(same[afternoon], frame.to_numpy()[afternoon])


def test_what_is_left_of_a_daily_pattern_is_its_level() -> None:
    """Each series has a pattern of its own, and one day with an incident hardly changes it."""
    index = times(3 * 1440, start="2026-03-18")
    day = np.cos(2 * np.pi * np.arange(len(index)) / 1440)
    level, height = np.array([50.0, 1000.0]), np.array([-40.0, 400.0])
    usual = level + height * day[:, None]
    disturbed = usual.copy()
    disturbed[2000:2400] += 500.0
    today = {"usual_times": index, "times": times(1440, start="2026-03-21")}
    for baseline, most in ((usual, 0.005), (disturbed, 0.06)):
        rest, now = without_days(baseline, usual[:1440], **today)
        assert np.abs((rest - (baseline - usual) - level) / height).max() < most
        assert np.abs((now - level) / height).max() < most


def test_a_baseline_spans_days_from_two_of_them_on() -> None:
    assert [spans_days(times(n, step=SLOW)) for n in (0, 1, 2, 216, 280, 288, 432)] == [
        *[False] * 5,
        *[True] * 2,
    ]
