"""When samples are there at all tells downsampled and late storage from scrape gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from cilium_analysis.topics import freshness
from cilium_analysis.window import Window

START = datetime(2026, 3, 21, 8, tzinfo=UTC)


def window_of(*, hours: float = 2.0, step: float = 15.0, before: float = 0.0) -> Window:
    start = START - timedelta(hours=before)
    return Window(start, start + timedelta(hours=hours), timedelta(seconds=step))


def scraped(
    window: Window, every: float, *, targets: int = 3, since: float = 0.0, until: float = 1e9
) -> pd.DataFrame:
    """A sample in every step that is a multiple of a scrape interval [s from the start]."""
    step = window.step.total_seconds()
    seconds = np.arange(window.points) * step
    there = (seconds % max(every, step) == 0) & (seconds >= since) & (seconds <= until)
    index = pd.date_range(window.start, window.end, freq=window.step, name="time", unit="ms")
    return pd.DataFrame({f"n{place}": there for place in range(targets)}, index=index)


@pytest.mark.parametrize(("tier", "words"), [(300, "5 min"), (3600, "1 h")])
@pytest.mark.parametrize("every", [15, 60])
def test_older_samples_that_are_further_apart_are_downsampled(
    tier: int, words: str, every: int
) -> None:
    window = window_of(hours=12)
    seam = 6 * 3600
    frame = scraped(window, tier, until=seam) | scraped(window, every, since=seam)
    (said,) = freshness.downsampled(frame, window=window_of())
    assert said.startswith(f"Samples up to 14:00 UTC are {words} apart, later ones")
    assert f"later ones {'15 s' if every == 15 else '1 min'}:" in said


def test_a_baseline_may_be_downsampled_and_the_window_not() -> None:
    before, now = window_of(before=2), window_of()
    (said,) = freshness.downsampled(scraped(before, 300), scraped(now, 30), window=now)
    assert "Samples up to 08:00 UTC are 5 min apart, later ones 30 s" in said
    levels = scraped(before, 300).astype("float64").replace(0.0, np.nan)
    assert freshness.downsampled(levels, scraped(now, 30), window=now) == [said]


@pytest.mark.parametrize("every", [15, 60, 120, 300])
def test_a_regular_scrape_interval_is_not_downsampled(every: int) -> None:
    frame = scraped(window_of(), every)
    assert freshness.downsampled(frame, window=window_of()) == []
    assert (
        freshness.downsampled(scraped(window_of(before=2), every), frame, window=window_of()) == []
    )


def test_scrape_gaps_are_not_downsampled() -> None:
    window = window_of()
    frame = scraped(window, 15)
    frame.iloc[40:60] = False
    frame.iloc[100:120] = False
    assert freshness.downsampled(frame, window=window_of()) == []
    one = scraped(window, 15, targets=10)
    one["n0"] = (
        scraped(window, 300, targets=1, until=3600)["n0"]
        | (scraped(window, 15, targets=1, since=3600)["n0"])
    )
    assert freshness.downsampled(one, window=window) == [], "one target of ten is its own matter"


def test_hourly_samples_are_downsampled_even_without_denser_ones() -> None:
    (said,) = freshness.downsampled(scraped(window_of(hours=12, step=60), 3600), window=window_of())
    assert "are 1 h apart: older data are downsampled" in said


def test_a_step_that_is_too_long_tells_nothing() -> None:
    window = window_of(hours=24, step=600)
    assert freshness.downsampled(scraped(window, 600), window=window) == []


@pytest.mark.parametrize(("every", "step"), [(15, 15), (60, 15), (60, 60), (300, 60)])
def test_samples_missing_at_the_end_for_all_are_late(every: int, step: int) -> None:
    window = window_of(step=step)
    (said,) = freshness.late(scraped(window, every, until=6000), window)
    assert "The newest samples of all 3 targets are of 09:40 UTC, 20 min before" in said
    assert "unknown" in said
    (said,) = freshness.late(scraped(window, every, targets=1, until=6000), window)
    assert "of the only target" in said


@pytest.mark.parametrize("every", [15, 60, 300])
def test_samples_up_to_the_end_are_in_time(every: int) -> None:
    window = window_of()
    assert freshness.late(scraped(window, every), window) == []
    assert freshness.late(scraped(window, every, until=7200 - 2 * every), window) == []


def test_targets_that_end_one_by_one_are_no_delay() -> None:
    window = window_of()
    frame = scraped(window, 15, targets=4)
    frame.iloc[400:, :3] = False
    assert freshness.late(frame, window) == []
    for place in range(4):
        frame.iloc[300 + 40 * place :, place] = False
    assert freshness.late(frame, window) == []


def test_nothing_scraped_is_no_delay() -> None:
    window = window_of()
    nothing = scraped(window, 15) & False
    assert freshness.late(nothing, window) == []
    assert freshness.late(nothing.iloc[:, :0], window) == []
    assert freshness.downsampled(nothing, nothing.iloc[:, :0], window=window) == []
