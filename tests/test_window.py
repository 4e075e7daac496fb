from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cilium_analysis.errors import UsageError, WindowError
from cilium_analysis.source import window_as_json
from cilium_analysis.times import clock, format_duration, interval, parse_duration, parse_time
from cilium_analysis.window import Window, sensible_step

NOW = datetime(2026, 3, 22, 12, 0, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("30s", 30), ("1h30m", 5400), ("500ms", 0.5), ("1d", 86400), ("1w", 604800), ("15", 15)],
        # 365 days, as in Prometheus.
        ("1y", 31_536_000),
    ],
)
def test_durations_read_as_prometheus_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "abc", "5 minutes", "-5m", "5x", "1h-30m", "1e9999d"])
def test_a_bad_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(WindowError, match="30s, 5m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3000000y", f"{'9' * 400}s"])
def test_a_duration_longer_than_python_has_is_refused(text: str) -> None:
    with pytest.raises(WindowError, match="too long"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**11))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


def test_times_with_and_without_a_zone() -> None:
    assert parse_time("2026-03-21 08:00", timezone="Asia/Tokyo") == at("2026-03-20T23:00")
    assert parse_time("2026-03-21T08:00+02:00", timezone="Asia/Tokyo") == at("2026-03-21T06:00")
    assert parse_time("2026-03-21T08:00Z") == at("2026-03-21T08:00")
    assert parse_time("2026-03-21T08:00") == at("2026-03-21T08:00")
    assert parse_time("now", now=NOW) == NOW
    assert parse_time("-2h", now=NOW) == parse_time("now-2h", now=NOW) == at("2026-03-22T10:00")


def test_now_is_the_clock_unless_it_is_given() -> None:
    before = datetime.now(UTC)
    assert before <= parse_time("now") <= datetime.now(UTC)
    assert before - timedelta(hours=2) <= parse_time("-2h")
    assert Window.parse("-2h").end <= datetime.now(UTC)


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
        ("now", "2027-03-21T12:00", "30s", "in the future"),
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
    for wrong in (timedelta(0), timedelta(microseconds=999), timedelta(microseconds=1500)):
        with pytest.raises(WindowError, match="cannot be"):
            Window(NOW - timedelta(hours=1), NOW, wrong)
    for length in (timedelta(0), timedelta(hours=-1)):
        with pytest.raises(WindowError, match="before it has begun"):
            Window(NOW, NOW + length, timedelta(seconds=30))
    with pytest.raises(WindowError, match="unknown time zone"):
        Window(NOW - timedelta(hours=1), NOW, timedelta(seconds=30), timezone="Mars/Olympus")


def test_a_window_is_in_utc_and_the_zone_is_only_how_it_is_read() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begin, end = datetime(2026, 3, 29, tzinfo=berlin), datetime(2026, 3, 29, 6, tzinfo=berlin)
    window = Window(begin, end, timedelta(milliseconds=1), timezone="Europe/Berlin")
    # The clocks change in it.
    assert window.length == timedelta(hours=5)
    assert window.start.isoformat() == "2026-03-28T23:00:00+00:00"
    other = replace(window, timezone="Asia/Tokyo")
    assert (window, hash(window)) == (other, hash(other))


@given(st.integers(0, 10**9), st.integers(2, 10**6), st.sampled_from(["UTC", "Asia/Tokyo"]))
def test_a_window_survives_being_stored(begin: int, points: int, timezone: str) -> None:
    start, step = NOW + timedelta(milliseconds=begin), timedelta(milliseconds=1 + begin % 90_000)
    window = Window(start, start + (points - 1) * step, step, timezone=timezone)
    stored = json.loads(json.dumps(window_as_json(window)))
    again = Window.from_json(stored, timezone=timezone)
    assert (again, again.timezone, again.points) == (window, timezone, points)
    assert Window.from_json(stored).timezone == "UTC"


@given(st.integers(min_value=60, max_value=10**8))
def test_the_step_chosen_gives_a_sensible_number_of_points(seconds: int) -> None:
    step = sensible_step(timedelta(seconds=seconds))
    assert step >= timedelta(seconds=30)
    assert timedelta(seconds=seconds) / step <= 500


@pytest.mark.parametrize(
    ("length", "step"),
    [
        *[("20m", "30s"), ("4h10m", "30s"), ("4h11m", "1m"), ("12h", "2m"), ("1d", "5m")],
        *[("3d", "10m"), ("5d", "15m"), ("1w", "30m"), ("2w", "1h"), ("30d", "2h"), ("75d", "4h")],
        *[("100d", "6h"), ("200d", "12h"), ("1y", "1d"), ("1000d", "2d"), ("1000d1m", "3d")],
    ],
)
def test_the_step_chosen_is_one_that_people_use(length: str, step: str) -> None:
    """The finest that gives at most 500 points."""
    assert sensible_step(parse_duration(length)) == parse_duration(step)


@given(
    begin=st.integers(1, 10**8),
    length=st.integers(1, 10**6),
    ahead=st.integers(-100, 10**5),
    step=st.integers(1, 10**6),
)
def test_points_are_multiples_of_the_step_and_hold_what_was_asked_for(
    begin: int, length: int, ahead: int, step: int
) -> None:
    """As VictoriaMetrics rounds times, so that all servers give the same points; in seconds."""
    assume(step <= length + min(ahead, 0))
    start = NOW - timedelta(seconds=begin)
    end, now = start + timedelta(seconds=length), start + timedelta(seconds=length + ahead)
    window = Window.parse(start.isoformat(), end.isoformat(), step=f"{step}s", now=now)
    assert window.start.timestamp() % step == window.end.timestamp() % step == 0
    assert timedelta(0) <= start - window.start < window.step
    last = min(end, now)
    assert window.end <= now
    assert abs(window.end - last) < window.step
    assert window.end >= last or window.end + window.step > now
    assert window.start < window.end


def test_an_end_at_a_step_stays() -> None:
    window = Window.parse("-1h", step="1m", now=NOW)
    assert (window.start, window.end) == (NOW - timedelta(hours=1), NOW)
    assert Window.parse("-4h", "-2h", step="2h", now=NOW).points == 2
    assert Window.parse("-1h", "2026-03-22T11:59:30Z", step="1m", now=NOW).end == NOW


@given(st.integers(2, 100), st.integers(1, 1000))
def test_the_middle_is_a_point_of_the_window(points: int, seconds: int) -> None:
    step = timedelta(seconds=seconds)
    window = Window(NOW, NOW + (points - 1) * step, step)
    true = window.start + window.length / 2
    assert (window.middle - window.start) % step == timedelta(0)
    assert timedelta(0) <= true - window.middle < step


def test_a_window_grows_at_both_ends() -> None:
    window = Window(NOW - timedelta(hours=1), NOW, timedelta(seconds=30))
    wider = window.extended(before=timedelta(minutes=5), after=timedelta(minutes=2))
    assert (wider.start, wider.end) == (at("2026-03-22T10:55"), at("2026-03-22T12:02"))
    assert window.extended(after=timedelta(minutes=2)).start == window.start


@given(st.integers(min_value=2, max_value=5000), st.integers(min_value=3, max_value=700))
def test_splitting_keeps_every_point_once(points: int, most: int) -> None:
    step = timedelta(seconds=30)
    window = Window(NOW, NOW + (points - 1) * step, step)
    pieces = list(window.split(most))
    seen = [piece.start + i * step for piece in pieces for i in range(piece.points)]
    assert seen == [window.start + i * step for i in range(points)]
    assert all(piece.points <= most for piece in pieces)


def test_pieces_are_no_larger_than_prometheus_answers_and_no_smaller_than_a_window() -> None:
    step = timedelta(seconds=30)
    most = Window(NOW, NOW + 10_999 * step, step)
    assert [piece.points for piece in most.split()] == [11_000]
    assert [piece.points for piece in replace(most, end=most.end + step).split()] == [5501, 5500]
    assert [piece.points for piece in Window(NOW, NOW + 3 * step, step).split(3)] == [2, 2]
    with pytest.raises(WindowError, match="3 points"):
        list(most.split(2))


def test_baselines() -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s", now=NOW)
    assert window.baseline("previous").start == at("2026-03-21T06:00")
    assert window.baseline("previous").end == window.start
    assert window.baseline("1d").start == at("2026-03-20T08:00")
    assert window.baseline("1w").end == at("2026-03-14T10:00")
    assert window.baseline() == window.baseline("previous")
    explicit = window.baseline("2026-03-20T01:00Z/2026-03-20T02:00Z")
    assert (explicit.start, explicit.step) == (at("2026-03-20T01:00"), window.step)


def test_times_of_a_baseline_are_those_of_the_reader_and_relative_to_the_end() -> None:
    window = Window.parse(
        "2026-03-21 08:00", "2026-03-21 10:00", step="1m", timezone="Asia/Tokyo", now=NOW
    )
    explicit = window.baseline("2026-03-21 05:00/2026-03-21 08:00")
    assert (explicit.start, explicit.end) == (at("2026-03-20T20:00"), window.start)
    assert (explicit.step, explicit.timezone) == (window.step, "Asia/Tokyo")
    relative = window.baseline("-5h/-2h")
    assert (relative.start, relative.end) == (window.end - timedelta(hours=5), window.start)


@pytest.mark.parametrize(
    "text", ["2026-03-21T10:00Z/2026-03-21T11:00Z", "2026-03-21T10:30Z/2026-03-22T11:00Z"]
)
def test_a_baseline_after_the_window_is_refused_as_what_it_is(text: str) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s", now=NOW)
    with pytest.raises(WindowError, match="later than the window"):
        window.baseline(text)


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
    # Hours are hours: 01:00 on the clock, two hours before 04:00.
    night = replace(window, start=at("2026-03-29T02:00"), end=at("2026-03-29T03:00"))
    assert night.baseline("2h").start == at("2026-03-29T00:00")
    # The time just before stays just before, also if it is a day.
    whole = replace(window, start=at("2026-03-29T06:00"), end=at("2026-03-30T06:00"))
    assert whole.baseline("previous").end == whole.start


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


@pytest.mark.parametrize(
    ("moment", "timezone", "shown"),
    [
        ("2026-03-28T12:00", "Europe/Berlin", "13:00"),
        ("2026-03-29T12:00", "Europe/Berlin", "14:00+02:00"),
        ("2026-03-29T21:59", "Europe/Berlin", "23:59+02:00"),
        ("2026-03-29T22:00", "Europe/Berlin", "00:00"),
        # The clocks change at midnight: to 01:00, from 01:00, and back to 23:00 of the day before.
        ("2025-09-07T11:00", "America/Santiago", "08:00-03:00"),
        ("2025-11-02T04:30", "America/Havana", "00:30-04:00"),
        ("2025-11-02T05:30", "America/Havana", "00:30-05:00"),
        ("2025-10-25T20:30", "Asia/Beirut", "23:30+03:00"),
        ("2025-10-25T21:30", "Asia/Beirut", "23:30+02:00"),
        ("2025-10-25T22:30", "Asia/Beirut", "00:30"),
    ],
)
def test_the_offset_is_shown_all_day_where_the_clocks_change(
    moment: str, timezone: str, shown: str
) -> None:
    assert clock(at(moment), timezone) == shown


def test_an_interval_names_the_day_of_its_end_if_it_is_another_for_the_reader() -> None:
    start, end = at("2026-03-21T14:00"), at("2026-03-21T16:00")
    assert interval(start, end, "UTC") == "2026-03-21 14:00 to 16:00 UTC"
    assert interval(start, end, "Asia/Tokyo") == "2026-03-21 23:00 to 2026-03-22 01:00 Asia/Tokyo"
