from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pandas as pd

from cilium_analysis import show
from cilium_analysis.source import Record
from cilium_analysis.times import parse_time
from cilium_analysis.window import Window

START = datetime(2026, 3, 21, 8, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=2), timedelta(seconds=30), timezone="Asia/Tokyo")


def test_numbers_are_written_for_people() -> None:
    frame = pd.DataFrame({"packets": [12431.4], "share": [0.914], "change": [31.0], "x": [0.25]})
    text = show.Table(frame)._repr_html_()
    for cell in ("12,431", "91.4%", "+31", "0.25", 'class="ca-number"'):
        assert cell in text
    assert "12,431" in repr(show.Table(frame))


def test_a_named_index_is_shown_and_nan_is_a_dash() -> None:
    frame = pd.DataFrame({"packets": [float("nan")]}, index=pd.Index(["worker-1"], name="node"))
    text = show.Table(frame)._repr_html_()
    assert "worker-1" in text
    assert show.MISSING in text
    assert "Node" in text


def test_hostile_text_is_escaped() -> None:
    bad = "<script>alert(1)</script>"
    for shown in (
        show.Table(pd.DataFrame({bad: [bad]}))._repr_html_(),
        show.Table(pd.DataFrame(), empty=bad)._repr_html_(),
        show.Notes([bad])._repr_html_(),
        show.definition_list({bad: bad}),
        show.journal([Record(bad, WINDOW, 1, 1, 1, 1.0, (bad,))])._repr_html_(),
    ):
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown


def test_an_empty_table_says_so() -> None:
    assert "Nothing here" in show.Table(pd.DataFrame(), empty="Nothing here")._repr_html_()
    assert repr(show.Notes([], empty="Fine.")) == "Fine."


def test_a_long_table_can_be_folded_below_a_line() -> None:
    shown = show.Table(pd.DataFrame({"a": [1]}), folded="1 < 2")._repr_html_()
    assert shown.startswith('<details class="ca-folded"><summary>1 &lt; 2</summary><table')
    assert "<details" not in show.Table(pd.DataFrame({"a": [1]}))._repr_html_()
    queries = show.journal([Record("up", WINDOW, 1, 1, 1, 1.0, ())])._repr_html_()
    assert queries.startswith('<details class="ca-folded ca-unprinted"><summary>1 query')


def test_what_is_not_there_is_a_dash_also_among_whole_numbers() -> None:
    table = pd.DataFrame({"story": pd.array([1, None], dtype="Int64")})
    assert repr(show.Table(table)).split() == ["story", "1", "–"]


def test_times_of_one_day_name_it_once() -> None:
    times = pd.to_datetime(["2026-03-21T15:30Z", "", "2026-03-21T08:00Z"], utc=True)
    table = pd.DataFrame({"since": times, "until": times})
    assert list(show.local(table, "UTC").columns) == [
        "since (2026-03-21 UTC)",
        "until (2026-03-21 UTC)",
    ]
    assert list(show.local(table, "UTC").iloc[:, 0]) == ["15:30:00", "", "08:00:00"]
    # In Tokyo the day had changed between the two.
    assert list(show.local(table, "Asia/Tokyo").columns) == [
        "since (Asia/Tokyo)",
        "until (Asia/Tokyo)",
    ]
    assert show.local(table, "Asia/Tokyo").iloc[0, 0] == "2026-03-22 00:30:00"


def test_a_window_is_written_in_the_readers_zone() -> None:
    assert show.span(WINDOW) == "2026-03-21 17:00:00 to 19:00:00 Asia/Tokyo, every 30s"


def test_durations_and_numbers_have_three_digits_and_the_unit_of_a_person() -> None:
    frame = pd.DataFrame(
        {
            "mean time": [0.0008, 0.0642, 150.0],
            "fill": [0.336, 1.0, 0.0004],
            "x": [0.018754, 103.4, 12345.6],
            "syn": pd.array([34777, 5, 0], dtype="Int64"),
        }
    )
    rows = repr(show.Table(frame)).splitlines()
    assert rows[1].split() == ["0.8", "ms", "33.6%", "0.0188", "34,777"]
    assert rows[2].split() == ["64.2", "ms", "100%", "103", "5"]
    assert rows[3].split() == ["2.5", "min", "0.04%", "12,346", "0"]


def test_a_quantile_is_written_as_far_as_the_buckets_tell() -> None:
    frame = pd.DataFrame(
        {
            "step": ["fast", "inside", "slow", "none"],
            "p50": [0.0025, 0.02, math.inf, math.nan],
            "first bound": 0.005,
            "last bound": 10.0,
        }
    )
    text = repr(show.Table(frame))
    assert [" ".join(row.split()) for row in text.splitlines()[1:]] == [
        "fast < 5 ms",
        "inside 20 ms",
        "slow > 10 s",
        "none –",
    ]
    html = show.Table(frame)._repr_html_()
    assert "bound" not in html.lower()
    assert 'data-value="0.0025"' in html  # sorted by what is estimated
    assert "&lt; 5 ms" in html


def test_columns_have_the_words_of_people() -> None:
    frame = pd.DataFrame({"qtypes": ["A"], "rcode": ["No Error"], "syn-ack": [1], "p95": [0.1]})
    html = show.Table(frame)._repr_html_()
    for words in ("Record types asked for", "Result code", "SYN-ACK", ">p95<"):
        assert words in html


def test_a_tables_times_are_in_its_zone_and_can_be_pasted_back() -> None:
    # The clocks of Berlin were set from 02:00 to 03:00 on that day.
    times = pd.to_datetime(["2026-03-29T00:30Z", "2026-03-29T01:30Z"], utc=True)
    table = show.Table(pd.DataFrame({"since": times}), timezone="Europe/Berlin")
    heading, *cells = repr(table).splitlines()
    assert heading.strip() == "since (2026-03-29 Europe/Berlin)"
    for cell, moment in zip(cells, times, strict=True):
        pasted = parse_time(f"2026-03-29 {cell.strip()}", timezone="Europe/Berlin")
        assert pasted == moment.to_pydatetime()
    assert cells[1].strip() == "03:30:00+02:00"
    assert '<span class="ca-time">2026-03-29</span>' in table._repr_html_()
