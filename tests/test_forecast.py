"""Trends against known truths: their slopes, how often their intervals hold it, their dates."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis.statistics.forecast import FAR, Trend, Trends, line_errors, runs_out, student

NOW = datetime(2026, 3, 21, 10, tzinfo=UTC)
POINTS = 240
STEP = timedelta(seconds=30)
DAYS = np.arange(POINTS) * (STEP / timedelta(days=1))


def series(values: object, step: timedelta = STEP) -> pd.Series:
    levels = np.asarray(values, dtype=float)
    index = pd.date_range(NOW - step * (len(levels) - 1), NOW, periods=len(levels))
    return pd.Series(levels, index=index)


def fitted(values: object) -> Trend:
    trend = Trends().fit(series(values))
    assert trend is not None
    return trend


def newest(values: object) -> Trend:
    trend = Trends().latest(series(values))
    assert trend is not None
    return trend


def noise(alike: float, rng: np.random.Generator, size: int = POINTS) -> np.ndarray:
    """Noise in which each value is so much like the one before; a random walk for 1."""
    shocks = rng.normal(size=size)
    values = np.empty(size)
    values[0] = shocks[0] / math.sqrt(1 - alike**2) if alike < 1 else 0.0
    for place in range(1, size):
        values[place] = alike * values[place - 1] + shocks[place]
    return values


@given(
    level=st.floats(-1e6, 1e6),
    slope=st.floats(-1e5, 1e5),
    size=st.integers(8, 600),
)
def test_a_straight_line_is_itself(level: float, slope: float, size: int) -> None:
    days = np.arange(size) * (STEP / timedelta(days=1))
    trend = fitted(level + slope * days)
    near = pytest.approx(slope, rel=1e-6, abs=1e-9 * (1 + abs(level)) / days[1])
    assert trend.slope == near
    assert trend.low == near
    assert trend.high == near
    assert trend.level == pytest.approx(level + slope * days[-1], rel=1e-6, abs=1e-6)
    assert trend.end == NOW


@given(st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(math.nan)), min_size=1, max_size=60))
def test_any_numbers_give_an_interval_around_the_slope(values: list[float]) -> None:
    for trend in (Trends().fit(series(values)), Trends().latest(series(values))):
        if trend is None:
            continue
        assert trend.low <= trend.slope <= trend.high
        assert math.isfinite(trend.level)
        assert sum(not math.isnan(value) for value in values) >= Trends().fewest


# Of 1000 seeds each, the interval of 95 % holds the truth for 0.95 to 0.985 of noise whose values
# are alike by 0 to 0.95, and for 0.92 of random walks. 400 give or take 0.02.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("alike", "least"), [(0.0, 0.92), (0.5, 0.92), (0.8, 0.92), (0.95, 0.92), (1.0, 0.87)]
)
@pytest.mark.parametrize("slope", [0.0, 300.0])
def test_the_interval_holds_the_truth_as_often_as_it_says(
    alike: float, least: float, slope: float
) -> None:
    rng = np.random.default_rng(7)
    trends = [fitted(slope * DAYS + noise(alike, rng)) for _ in range(400)]
    held = np.mean([t.low <= slope <= t.high for t in trends])
    assert held >= least


@pytest.mark.parametrize(("alike", "most"), [(0.0, 60.0), (0.5, 60.0), (0.8, 60.0)])
def test_the_interval_is_no_wider_than_useful(alike: float, most: float) -> None:
    """In units of the noise's deviation per day; the window is a twelfth of a day."""
    rng = np.random.default_rng(8)
    trends = [fitted(noise(alike, rng) * math.sqrt(1 - alike**2)) for _ in range(50)]
    assert np.median([t.high - t.low for t in trends]) < most


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.5, 0.8, 0.95])
def test_noise_rises_no_more_often_than_it_may(alike: float) -> None:
    """Also where the newest course is looked for: at most 5 % rise, give or take."""
    rng = np.random.default_rng(9)
    rising = [newest(noise(alike, rng)).rising for _ in range(300)]
    assert np.mean(rising) <= 0.06


def test_neither_a_restart_nor_a_burst_moves_the_slope() -> None:
    level = 20 + 48.0 * DAYS
    level[100:110] = 0.0
    level[150:155] = 500.0
    assert fitted(level).slope == pytest.approx(48.0, rel=0.02)


def test_whole_numbers_are_no_obstacle() -> None:
    assert fitted(np.floor(20 + 240.0 * DAYS)).slope == pytest.approx(240.0, rel=0.05)
    flat = fitted(np.full(POINTS, 17.0))
    assert (flat.slope, flat.low, flat.high, flat.rising) == (0.0, 0.0, 0.0, False)


def test_what_is_not_known_is_not_zero() -> None:
    level = 5 + 100.0 * DAYS
    level[60:120] = math.nan
    trend = fitted(level)
    assert trend.slope == pytest.approx(100.0)
    assert trend.low == pytest.approx(100.0)


def test_a_course_that_changed_only_lately_is_no_trend() -> None:
    ramp = np.interp(np.arange(36), [0, 30, 35], [0.0, 60.0, 60.0])
    assert Trends().latest(series(ramp)) is None


def test_too_little_is_no_trend() -> None:
    assert Trends().fit(series(np.arange(7.0))) is None
    assert Trends().latest(series(np.full(POINTS, math.nan))) is None


@pytest.mark.parametrize("scatter", [0.0, 0.004])
def test_the_newest_course_is_found(scatter: float) -> None:
    rng = np.random.default_rng(3)
    ramp = np.interp(np.arange(POINTS), [0, 80, 239], [0.1, 0.1, 0.8])
    trend = newest(ramp + scatter * rng.normal(size=POINTS))
    true = 0.7 / (DAYS[239] - DAYS[80])
    assert trend.slope == pytest.approx(true, rel=0.02)
    assert trend.low <= true * 1.001
    assert trend.high >= true * 0.999
    assert abs(trend.start - (NOW - 159 * STEP)) < timedelta(minutes=5)


def test_a_rise_that_is_over_is_over() -> None:
    ramp = np.interp(np.arange(POINTS), [0, 60, 180, 239], [20.0, 20.0, 90.0, 90.0])
    trend = newest(np.floor(ramp))
    assert not trend.rising
    assert trend.level == 90.0
    assert abs(trend.start - (NOW - 59 * STEP)) < timedelta(minutes=5)


def test_a_step_is_not_a_slope() -> None:
    trend = newest(np.where(np.arange(POINTS) < 150, 20.0, 50.0))
    assert (trend.slope, trend.level) == (0.0, 50.0)


def test_when_it_runs_out() -> None:
    when = runs_out(0.7, 0.1, (0.05, 0.3), 1.0, NOW)
    assert when.expected is not None
    assert when.expected - NOW == pytest.approx(timedelta(days=3), abs=timedelta(seconds=1))
    assert when.earliest is not None
    assert when.latest is not None
    assert when.earliest - NOW == pytest.approx(timedelta(days=1), abs=timedelta(seconds=1))
    assert when.latest - NOW == pytest.approx(timedelta(days=6), abs=timedelta(seconds=1))


def test_when_it_never_runs_out() -> None:
    still = runs_out(0.7, 0.0, (-0.1, 0.1), 1.0, NOW)
    assert still.expected is None
    assert still.latest is None
    assert still.earliest == NOW + timedelta(days=(1.0 - 0.7) / 0.1)
    assert runs_out(0.7, math.nan, (math.nan, math.nan), 1.0, NOW).expected is None
    assert runs_out(0.7, 1e-300, (-math.inf, math.inf), 1.0, NOW).expected is None
    assert runs_out(1.2, -1.0, (-2.0, 0.0), 1.0, NOW).expected == NOW


@given(
    level=st.floats(0, 1), slope=st.floats(1e-6, 1e3), wide=st.floats(0, 1e3), limit=st.just(1.0)
)
def test_dates_come_in_order(level: float, slope: float, wide: float, limit: float) -> None:
    when = runs_out(level, slope, (slope - wide, slope + wide), limit, NOW)
    dates = [when.earliest, when.expected, when.latest]
    known = [moment for moment in dates if moment is not None]
    assert known == sorted(known)
    assert dates[: len(known)] == known
    assert all(NOW <= moment <= NOW + FAR + timedelta(days=1) for moment in known)


# The parts, by a second way


@pytest.mark.parametrize(
    ("probability", "freedom", "printed"),
    [
        *[(0.95, 3, 2.353), (0.95, 10, 1.812), (0.95, 30, 1.697)],
        *[(0.975, 3, 3.182), (0.975, 5, 2.571), (0.975, 10, 2.228), (0.975, 30, 2.042)],
        *[(0.995, 5, 4.032), (0.995, 10, 3.169), (0.995, 30, 2.750), (0.975, 10**6, 1.960)],
    ],
)
def test_quantiles_of_student_are_those_of_printed_tables(
    probability: float, freedom: float, printed: float
) -> None:
    near = 0.02 if freedom < 10 else 0.0005
    assert student(probability, freedom) == pytest.approx(printed, rel=near)
    assert student(probability, 0.99) == math.inf


@given(st.integers(0, 10_000), st.integers(3, 20), st.floats(-1e4, 1e4))
def test_errors_are_those_of_a_line_through_each_part(seed: int, size: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    days, values = np.cumsum(rng.uniform(0.1, 2.0, size)), level + rng.normal(size=size)
    errors = line_errors(days, values)
    for first, last in itertools.combinations(range(size + 1), 2):
        part = slice(first, last)
        degree = min(1, last - first - 1)
        line = np.polynomial.Polynomial.fit(days[part], values[part], degree)
        left = float(((values[part] - line(days[part])) ** 2).sum())
        assert errors[first, last] == pytest.approx(left, abs=1e-8)


@pytest.mark.parametrize("size", [30, 60, 96])
def test_the_interval_of_independent_noise_is_about_that_of_sen(size: int) -> None:
    """A little wider: it uses Student's t, and what looks like memory counts."""
    widths = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = 3.0 * np.arange(size) + rng.normal(size=size)
        trend = Trends().fit(series(values, timedelta(days=1)))
        assert trend is not None
        pairs = itertools.combinations(enumerate(values), 2)
        slopes = sorted((b - a) / (j - i) for (i, a), (j, b) in pairs)
        slope = float(np.median(slopes))
        assert trend.slope == pytest.approx(slope)
        start = float(np.median(values - slope * np.arange(size)))
        assert trend.level == pytest.approx(start + slope * (size - 1))
        apart = 1.96 * math.sqrt(size * (size - 1) * (2 * size + 5) / 18)
        low, high = (slopes[round((len(slopes) + way * apart) / 2)] for way in (-1, 1))
        assert trend.low <= low + 1e-9
        assert trend.high >= high - 1e-9
        widths.append((trend.high - trend.low) / (high - low))
    assert 1.0 <= np.median(widths) < 1.25


def test_many_samples_are_merged_into_medians() -> None:
    """Outliers are gone before the line is fitted, and the ends are those of the series."""
    level = 7.0 + 0.5 * np.arange(960)
    level[::10] = 1e6
    trend = Trends().fit(series(level, timedelta(days=1)))
    assert trend is not None
    assert trend.slope == pytest.approx(0.5, rel=1e-3)
    assert trend.level == pytest.approx(7.0 + 0.5 * 959, abs=1.0)
    assert (trend.length, trend.end) == (timedelta(days=959), NOW)
    assert trend.rise == pytest.approx(0.5 * 959, rel=1e-3)
