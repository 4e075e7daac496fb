from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cilium_analysis.statistics import deviations
from cilium_analysis.statistics.rises import Rises, join
from cilium_analysis.times import parse_duration

RISES = Rises()


def noise(seed: int, level: float, bins: int = 240) -> np.ndarray:
    return np.random.default_rng(seed).poisson(level, bins).astype(float)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.3, 3.0, 40.0, 1000.0])
def test_poisson_noise_is_quiet(level: float) -> None:
    found = [RISES.find(noise(2 * s, level), noise(2 * s + 1, level)) for s in range(50)]
    assert found == [[]] * 50


def test_counts_that_grow_with_what_they_are_of_do_not_rise() -> None:
    more = np.where(np.arange(240) < 120, 1.0, 8.0)
    rng = np.random.default_rng(5)
    usual, counts = rng.poisson(2.0, 240).astype(float), rng.poisson(2.0 * more).astype(float)
    assert RISES.find(counts, usual) == [(120, 240)]
    assert RISES.find(counts, usual, exposure=more) == []
    counts[200:220] += 60.0
    ((first, last),) = RISES.find(counts, usual, exposure=more)
    assert (first, last) == (200, 220)


def clusters(seed: int, bins: int) -> np.ndarray:
    """Compound Poisson: now and then a few packets together, five on average."""
    rng = np.random.default_rng(seed)
    events = rng.poisson(0.3, bins)
    more = rng.negative_binomial(np.maximum(events, 1), 0.2)
    return np.where(events > 0, events + more, 0).astype(float)


def test_clustered_noise_is_almost_always_quiet() -> None:
    both = [clusters(seed, 480) for seed in range(1000)]
    alarms = sum(bool(RISES.find(counts[:240], counts[240:])) for counts in both)
    assert alarms <= 2


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    level=st.sampled_from([0.0, 0.1, 2.0, 30.0]),
    first=st.integers(20, 120),
    length=st.integers(4, 100),
    times=st.floats(8, 100),
)
def test_a_step_is_found_where_it_is(
    seed: int, level: float, first: int, length: int, times: float
) -> None:
    counts = noise(seed, level)
    more = noise(seed + 1, max(level, 1.0) * times, length)
    # A smaller one is not worth a report, and Poisson's are small at times.
    assume(more.sum() > 1.2 * RISES.least)
    counts[first : first + length] += more
    found = RISES.find(counts, noise(seed + 2, level))
    assert len(found) == 1
    assert abs(found[0][0] - first) <= 1
    assert abs(found[0][1] - (first + length)) <= 1


def test_one_burst_in_one_bin_is_found() -> None:
    counts = noise(1, 0.1)
    counts[77] = 500.0
    assert RISES.find(counts, noise(2, 0.1)) == [(77, 78)]


def test_a_small_rise_that_lasts_is_found() -> None:
    counts = noise(1, 1.0)
    counts[100:200] += noise(2, 3.0, 100)
    ((first, last),) = RISES.find(counts, noise(3, 1.0))
    assert abs(first - 100) <= 3
    assert abs(last - 200) <= 3


def test_twice_the_background_is_not_a_rise() -> None:
    assert RISES.find(noise(1, 20.0), noise(2, 10.0)) == []


@pytest.mark.parametrize("nothing", [np.empty(0), np.full(240, np.nan)])
def test_without_a_baseline_the_quieter_half_of_the_window_has_to_do(nothing: np.ndarray) -> None:
    for seed, level in enumerate((0.0, 0.1, 1.0, 10.0, 100.0)):
        counts = noise(seed, level)
        assert RISES.find(counts, nothing) == []
        counts[100:160] += noise(seed, 8 * max(level, 1.0), 60)
        ((first, last),) = RISES.find(counts, nothing)
        assert abs(first - 100) <= 2
        assert abs(last - 160) <= 2
    assert RISES.find(nothing, nothing) == []


def test_one_old_cluster_hardly_moves_the_level() -> None:
    usual = noise(1, 0.1)
    usual[50] = 10_000.0
    assert RISES.level(usual) < 0.2


def test_short_windows_work() -> None:
    assert RISES.find(np.array([0.0, 100.0]), np.array([0.0, 0.0])) == [(1, 2)]


def test_join() -> None:
    assert join([(5, 9), (0, 3), (8, 12)]) == [(0, 3), (5, 12)]
    assert join([(0, 3), (5, 9)], bridge=2) == [(0, 9)]
    assert join([]) == []


# Pauses


def pattern(*lengths: int, rate: float = 50.0) -> np.ndarray:
    """Counts that come and go, for so many steps each."""
    return np.concatenate([np.full(n, rate * (place % 2 == 0)) for place, n in enumerate(lengths)])


def stretches(counts: np.ndarray, level: float = 0.0) -> list[tuple[int, int]]:
    found = RISES.find(counts + noise(1, level, len(counts)), noise(2, level))
    return sorted(found)


def test_a_long_pause_parts_a_rise_in_two() -> None:
    assert stretches(pattern(16, 34, 16)) == [(0, 16), (50, 66)]
    assert stretches(pattern(16, 34, 16, 20)) == [(0, 16), (50, 66)]


def test_a_short_pause_or_one_that_is_no_surprise_does_not() -> None:
    assert stretches(pattern(16, 10, 16)) == [(0, 42)]
    assert stretches(pattern(1, 30, 1, 30, 1, rate=10.0)) == [(0, 63)]


def test_a_pause_has_what_is_ordinary() -> None:
    assert stretches(pattern(16, 34, 16), level=4.0) == [(0, 16), (50, 66)]
    assert stretches(pattern(16, 10, 16), level=4.0) == [(0, 42)]


def test_what_was_not_observed_is_no_pause() -> None:
    counts = pattern(16, 34, 16)
    counts[16:50] = np.nan
    assert stretches(counts) == [(0, 66)]


def test_what_comes_and_goes_is_one() -> None:
    often = pattern(*[10, 30] * 6)
    assert stretches(often) == [(0, 210)]


@pytest.mark.parametrize("seconds", [5, 15, 30, 60])
def test_a_pause_is_a_time(seconds: int) -> None:
    those, ten = RISES.at(timedelta(seconds=seconds)), 600 // seconds
    for quiet, parts in ((240, 1), (480, 2), (720, 2)):
        counts = pattern(ten, quiet // seconds, ten, ten, rate=10.0 * seconds)
        assert len(those.find(counts, noise(1, 0.0))) == parts


# Expectation and scores


def columns(*series: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(one, dtype="float64") for one in series], axis=1)


def test_scores_do_not_depend_on_the_unit() -> None:
    rng = np.random.default_rng(1)
    usual, now = rng.normal(10.0, 1.0, (240, 1)), rng.normal(10.0, 1.0, (240, 1))
    now[100:140] += 6.0
    score, place = deviations.extremes(usual, now, counts=False)
    milli, again = deviations.extremes(1000 * usual, 1000 * now, counts=False)
    assert score == pytest.approx(milli)
    assert place == again
    assert 100 <= place[0] < 140
    assert score[0] > 5


@pytest.mark.parametrize("seed", range(5))
def test_what_is_as_before_scores_low(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.01, 50.0, 200)
    usual, now = rng.poisson(rates, (240, 200)), rng.poisson(rates, (240, 200))
    scores, _ = deviations.extremes(usual.astype(float), now.astype(float), counts=True)
    assert np.mean(np.abs(scores) > 3.0) < 0.02


def test_a_series_that_is_born_in_the_window_counts_from_nothing() -> None:
    usual = columns(np.full(100, np.nan))
    now = columns(np.r_[np.full(50, np.nan), np.full(50, 20.0)])
    found = deviations.expect(usual, now, counts=True)
    assert found.level[0] == 0.0
    scores, _ = deviations.extremes(usual, now, counts=True)
    assert scores[0] > 10
    fallen, _ = deviations.extremes(now[50:], usual, counts=True)
    assert fallen[0] < -3


def test_a_burst_in_the_baseline_does_not_hide_one_in_the_window() -> None:
    rng = np.random.default_rng(3)
    usual = rng.poisson(5.0, (1000, 1)).astype(float)
    usual[500] = 5000.0
    now = rng.poisson(5.0, (200, 1)).astype(float)
    now[50:80] = 60.0
    scores, _ = deviations.extremes(usual, now, counts=True)
    assert scores[0] > 5
    assert deviations.expect(usual, now, counts=True).level[0] == pytest.approx(5.0, abs=0.6)


def test_a_constant_that_moves_is_seen_and_one_that_stays_is_not() -> None:
    still = np.full(100, 7.0)
    moved = np.r_[np.full(50, 7.0), np.full(50, 9.0)]
    scores, _ = deviations.extremes(columns(still, still), columns(still, moved), counts=False)
    assert scores[0] == 0.0
    assert scores[1] > 3
    nothing = np.zeros((100, 1))
    assert deviations.extremes(nothing, nothing, counts=True)[0][0] == 0.0


def test_smoothing_is_the_mean_of_what_is_known() -> None:
    values = columns(np.array([1.0, np.nan, 3.0, 4.0, np.nan, 6.0]))
    smooth = deviations.smoothed(values, width=3)[:, 0]
    for place in range(2, 6):
        run = values[place - 2 : place + 1, 0]
        expected = np.nanmean(run) if (~np.isnan(run)).sum() > 1.5 else np.nan
        assert smooth[place] == pytest.approx(expected, nan_ok=True)


# What is worth telling


@pytest.mark.parametrize(("each", "found"), [(300.0, []), (310.0, [(100, 160)])])
def test_a_rise_is_three_times_the_highest_level_that_the_baseline_allows_for(
    each: float, found: list[tuple[int, int]]
) -> None:
    """Of 240 counts of 100 that is 101.3: two standard errors more."""
    counts = np.full(240, 100.0)
    counts[100:160] = each
    assert RISES.find(counts, np.full(240, 100.0)) == found


@pytest.mark.parametrize(("amount", "found"), [(20.0, []), (21.0, [(50, 51)])])
def test_a_rise_is_twenty_counts_above_what_is_expected(
    amount: float, found: list[tuple[int, int]]
) -> None:
    counts = np.zeros(240)
    counts[50] = amount
    assert RISES.find(counts, np.zeros(240)) == found


@pytest.mark.parametrize(
    ("amount", "more", "found"),
    [
        (170.0, 1.0, []),
        (200.0, 1.0, [(50, 51)]),
        (340.0, 2.0, []),
        (400.0, 2.0, [(50, 51)]),
    ],
)
def test_a_rise_is_three_times_what_is_busy_in_the_baseline(
    amount: float, more: float, found: list[tuple[int, int]]
) -> None:
    """There are peaks of 60 in it; with twice the traffic they would be 120."""
    usual = np.full(240, 10.0)
    usual[::40] = 60.0
    counts = np.full(240, 10.0 * more)
    counts[50] = amount
    assert RISES.find(counts, usual, exposure=np.full(240, more)) == found


def test_a_level_is_a_mean_without_the_extremes() -> None:
    assert RISES.level(np.empty(0)) == RISES.level(np.full(9, np.nan)) == 0.0
    assert RISES.level(np.array([np.nan, 4.0, 6.0])) == pytest.approx(5.0, abs=0.1)
    once = np.zeros(240)
    once[7] = 10_000.0
    assert RISES.level(once) == pytest.approx(1 / 240)


@pytest.mark.parametrize(
    ("step", "bins"), [("15s", 20), ("30s", 10), ("1m", 5), ("2m", 5), ("1h", 5), ("0s", 10)]
)
def test_a_pause_lasts_five_minutes_or_five_bins(step: str, bins: int) -> None:
    at = RISES.at(parse_duration(step))
    usual = np.zeros(240)
    for pause, parts in ((bins, [(0, 32 + bins)]), (bins + 1, [(0, 16), (17 + bins, 33 + bins)])):
        assert sorted(at.find(pattern(16, pause, 16, 20), usual)) == parts


def test_a_rise_that_comes_in_more_than_three_parts_is_one() -> None:
    three, four = pattern(16, 34, 16, 34, 16), pattern(16, 34, 16, 34, 16, 34, 16)
    assert stretches(three) == [(0, 16), (50, 66), (100, 116)]
    assert stretches(four) == [(0, 166)]


def test_rises_on_both_sides_of_the_largest_are_found() -> None:
    counts = noise(1, 0.5)
    places = [(10, 15, 40.0), (60, 61, 90.0), (120, 130, 200.0), (170, 172, 70.0), (225, 240, 30.0)]
    for first, last, rate in places:
        counts[first:last] += rate
    found = sorted(RISES.find(counts, noise(2, 0.5)))
    assert found == [(first, last) for first, last, _ in places]
    counts[140:150] = np.nan
    assert sorted(RISES.find(counts, noise(2, 0.5))) == found
