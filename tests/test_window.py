from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilium_analysis.errors import UsageError, WindowError
from cilium_analysis.times import clock, format_duration, interval, parse_duration, parse_time
from cilium_analysis.window import Window, sensible_step

NOW = datetime(2026, 3, 22, 12, 0, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1h30m", 5400), ("500ms", 0.5), ("1d", 86400), ("1w", 604800), ("15", 15)],
)
def test_durations_read_as_prometheus_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "abc", "5 minutes", "-5m", "5x", "1h-30m", "1e9999d"])
def test_a_bad_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(WindowError, match="30s, 5m"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**11))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


def test_times_with_and_without_a_zone() -> None:
    assert parse_time("2026-03-21 08:00", timezone="Asia/Tokyo") == at("2026-03-20T23:00")
    assert parse_time("2026-03-21T08:00+02:00", timezone="Asia/Tokyo") == at("2026-03-21T06:00")
    assert parse_time("2026-03-21T08:00Z") == at("2026-03-21T08:00")
    assert parse_time("now", now=NOW) == NOW
    assert parse_time("-2h", now=NOW) == parse_time("now-2h", now=NOW) == at("2026-03-22T10:00")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "08:00", "-", "nowish", "-2x"])
def test_a_bad_time_is_refused(text: str) -> None:
    with pytest.raises(WindowError):
        parse_time(text, now=NOW)


def test_local_times_that_a_clock_change_makes_ambiguous_are_refused() -> None:
    with pytest.raises(WindowError, match="happens twice"):
        parse_time("2025-10-26 02:30", timezone="Europe/Berlin")
    with pytest.raises(WindowError, match="does not exist"):
        parse_time("2026-03-29 02:30", timezone="Europe/Berlin")
    assert parse_time("2025-10-26T02:30+01:00", timezone="Europe/Berlin") == at("2025-10-26T01:30")


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "europe/nowhere"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(WindowError, match="unknown time zone"):
        Window.parse("2026-03-21 08:00", "2026-03-21 10:00", timezone=name, now=NOW)


def test_the_contract_example() -> None:
    window = Window.parse(
        "2026-03-21 08:00", "2026-03-21 10:00", step="30s", timezone="Asia/Tokyo", now=NOW
    )
    assert (window.start, window.end) == (at("2026-03-20T23:00"), at("2026-03-21T01:00"))
    assert window.step == timedelta(seconds=30)
    assert window.points == 241


def test_a_window_is_widened_to_its_step_but_not_beyond_now() -> None:
    window = Window.parse("2026-03-21T08:00:10Z", "2026-03-21T08:59:31Z", step="1m", now=NOW)
    assert (window.start, window.end) == (at("2026-03-21T08:00"), at("2026-03-21T09:00"))
    late = NOW + timedelta(seconds=31)
    assert Window.parse("-1h", "now", step="1m", now=late).end == NOW
    assert Window.parse("-1h", "2027-01-01", step="1m", now=late).end == NOW


@pytest.mark.parametrize(
    ("start", "end", "step", "says"),
    [
        ("2026-03-21T10:00", "2026-03-21T08:00", "30s", "before it has begun"),
        ("2026-03-21T10:00", "2026-03-21T10:00", "30s", "before it has begun"),
        ("2027-03-21T10:00", "2027-03-21T12:00", "30s", "in the future"),
        ("2026-03-21T08:00", "2026-03-21T10:00", "0", "step of zero"),
        ("2026-03-21T08:00", "2026-03-21T08:10", "1h", "longer than the window"),
        ("2026-03-21T08:00", "2026-03-21T08:10", "soon", "not a duration"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(
    start: str, end: str, step: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Window.parse(start, end, step=step, now=NOW)


def test_a_window_needs_zones_and_a_positive_step() -> None:
    naive = datetime(2026, 3, 21)
    with pytest.raises(WindowError, match="needs a time zone"):
        Window(naive, NOW, timedelta(seconds=30))
    with pytest.raises(WindowError, match="cannot be"):
        Window(NOW - timedelta(hours=1), NOW, timedelta(0))


@given(st.integers(min_value=60, max_value=10**8))
def test_the_step_chosen_gives_a_sensible_number_of_points(seconds: int) -> None:
    step = sensible_step(timedelta(seconds=seconds))
    assert step >= timedelta(seconds=30)
    assert timedelta(seconds=seconds) / step <= 500


@given(st.integers(min_value=2, max_value=5000), st.integers(min_value=3, max_value=700))
def test_splitting_keeps_every_point_once(points: int, most: int) -> None:
    step = timedelta(seconds=30)
    window = Window(NOW, NOW + (points - 1) * step, step)
    pieces = list(window.split(most))
    seen = [piece.start + i * step for piece in pieces for i in range(piece.points)]
    assert seen == [window.start + i * step for i in range(points)]
    assert all(piece.points <= most for piece in pieces)


def test_baselines() -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s", now=NOW)
    assert window.baseline("previous").start == at("2026-03-21T06:00")
    assert window.baseline("previous").end == window.start
    assert window.baseline("1d").start == at("2026-03-20T08:00")
    assert window.baseline("1w").end == at("2026-03-14T10:00")
    explicit = window.baseline("2026-03-20T01:00Z/2026-03-20T02:00Z")
    assert (explicit.start, explicit.step) == (at("2026-03-20T01:00"), window.step)


@pytest.mark.parametrize("second", [0, 1, 10, 29, 59])
@pytest.mark.parametrize("length", ["1h", "3d"])
def test_a_baseline_may_end_where_the_window_begins(second: int, length: str) -> None:
    """Whatever both are widened to."""
    begin = f"2026-03-20T08:00:{second:02}Z"
    long = {"1h": "2026-03-20T09:00:07Z", "3d": "2026-03-23T08:00:07Z"}
    window = Window.parse(begin, long[length], now=NOW + timedelta(days=30))
    base = window.baseline(f"2026-03-20T06:00:11Z/{begin}")
    assert base.end == window.start
    assert base.start <= at("2026-03-20T06:00:11")
    later = window.start + window.step
    with pytest.raises(WindowError):
        window.baseline(f"2026-03-20T06:00Z/{later.isoformat()}")


def test_a_day_back_is_a_day_on_the_readers_clock() -> None:
    window = Window.parse(
        "2026-03-29 08:00",
        "2026-03-29 10:00",
        step="30s",
        timezone="Europe/Berlin",
        now=at("2026-04-01T00:00"),
    )
    assert window.baseline("1d").start == at("2026-03-28T07:00")
    assert window.start == at("2026-03-29T06:00")


@pytest.mark.parametrize("text", ["1h", "0s", "last week", "2026-03-21T09:00Z/2026-03-21T11:00Z"])
def test_a_baseline_that_overlaps_or_cannot_be_read_is_refused(text: str) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s", now=NOW)
    with pytest.raises(WindowError):
        window.baseline(text)


FAR = ["0001-01-01", "9999-12-31T23:59", "0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"]


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([*FAR, "-1000000d", "-9999y", "2026-03-21"]),
    end=st.sampled_from([*FAR, "now", "2026-03-22"]),
    step=st.sampled_from([None, "1ms", "1d", "1000y", "9999y"]),
    name=st.sampled_from(["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"]),
    now=st.sampled_from([None, datetime.max.replace(tzinfo=UTC)]),
    baseline=st.sampled_from(["previous", "1d", "9999y", "0001-01-01/0001-01-02"]),
)
def test_a_window_beyond_the_calendar_is_an_error_of_ours(
    start: str, end: str, step: str | None, name: str, now: datetime | None, baseline: str
) -> None:
    with suppress(WindowError):
        window = Window.parse(start, end, step=step, timezone=name, now=now)
        assert list(window.split(-(-window.points // 3) + 3))[-1].end <= window.end
        window.extended(before=timedelta(days=5000), after=timedelta(days=5000))
        assert window.baseline(baseline).end <= window.start


def test_a_time_in_a_sentence_has_its_zone_and_its_day_where_there_are_several() -> None:
    window = Window.parse("2026-03-21 08:00", "2026-03-21 10:00", step="30s", timezone="Asia/Tokyo")
    assert window.told(window.start) == "08:00 Asia/Tokyo"
    assert window.told(window.start + timedelta(seconds=5)) == "08:00:05 Asia/Tokyo"
    assert window.told(window.start - timedelta(days=1)) == "2026-03-20 08:00 Asia/Tokyo"
    night = Window.parse("2026-03-29 01:00", "2026-03-29 05:00", timezone="Europe/Berlin")
    assert night.told(night.end) == "05:00+02:00 Europe/Berlin"


def test_seconds_are_written_where_a_column_wants_them() -> None:
    start = datetime(2026, 3, 21, 8, tzinfo=UTC)
    assert clock(start, "UTC") == "08:00"
    assert clock(start, "UTC", seconds=True) == "08:00:00"
    end = start + timedelta(hours=2)
    assert interval(start, end, "UTC", seconds=True) == "2026-03-21 08:00:00 to 10:00:00 UTC"
