from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd

from cilium_analysis import show
from cilium_analysis.source import Record
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


def test_a_window_is_written_in_the_readers_zone() -> None:
    assert show.span(WINDOW) == "2026-03-21 17:00:00 to 19:00:00 Asia/Tokyo, every 30s"
