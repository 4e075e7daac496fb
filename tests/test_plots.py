"""Plots are tested on their artists, not on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from cilium_analysis import plots

TIMES = pd.date_range("2026-03-21 08:00", periods=60, freq="30s", tz="UTC", unit="ms")
HOSTILE = r"$\frac{1}{0}$ <b> _^%{"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def rates(columns: int = 3) -> pd.DataFrame:
    values = np.outer(np.ones(60), np.arange(columns, 0, -1.0))
    return pd.DataFrame(values, index=TIMES, columns=[f"reason {i}" for i in range(columns)])


def drawn(ax: Axes) -> Axes:
    """Render, so that bad text or ticks would raise."""
    plt.savefig(BytesIO(), format="png")
    return ax


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_a_stack_adds_up_and_is_labelled() -> None:
    ax = drawn(plots.stacked(rates(), unit="packets/s"))
    assert sorted(legend(ax)) == ["reason 0", "reason 1", "reason 2"]
    paths = [path for c in ax.collections for path in c.get_paths()]
    top = max(float(np.asarray(path.vertices)[:, 1].max()) for path in paths)
    assert top == pytest.approx(6.0)
    assert ax.get_ylabel() == "packets/s"


def test_times_are_those_of_the_readers_clock() -> None:
    ax = drawn(plots.stacked(rates(), timezone="Asia/Tokyo"))
    assert "Asia/Tokyo" in ax.get_xlabel()
    labels = [tick.get_text() for tick in ax.get_xticklabels()]
    assert any(label.startswith("17:") for label in labels)


def test_small_parts_are_drawn_together() -> None:
    ax = drawn(plots.stacked(rates(9), most=4))
    assert plots.OTHERS in legend(ax)
    assert len(legend(ax)) == 5
    kept = plots.largest(rates(9), most=4)
    assert kept.sum(axis=1).tolist() == rates(9).sum(axis=1).tolist()


def test_the_given_axes_are_used() -> None:
    _, ax = plt.subplots()
    assert plots.stacked(rates(), ax=ax) is ax
    assert plots.shade(ax, [(TIMES[3], TIMES[9])]) is ax
    assert plots.heatmap(pd.DataFrame([[1.0]]), ax=ax) is ax
    assert plots.comparison(pd.DataFrame({"packets": [1.0], "expected": [2.0]}), ax=ax) is ax


def test_a_heat_map_shows_every_number() -> None:
    table = pd.DataFrame([[12431.0, 0.0], [3.0, 7.0]], index=["a", "b"], columns=["x", "y"])
    ax = drawn(plots.heatmap(table, unit="packets"))
    assert sorted(text.get_text() for text in ax.texts) == sorted(["12.4k", "3", "7"])


def test_a_comparison_has_a_pair_of_bars_per_row() -> None:
    table = pd.DataFrame(
        {"packets": [40.0, 2.0], "expected": [1.0, 2.0]}, index=["Policy denied", "Other"]
    )
    ax = drawn(plots.comparison(table, unit="packets"))
    assert sorted(bar.get_width() for bar in ax.patches if isinstance(bar, Rectangle)) == [
        1.0,
        2.0,
        2.0,
        40.0,
    ]
    assert len(legend(ax)) == 2


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame(), "No data in this window"),
        (rates() * np.nan, "No data in this window"),
        (rates() * 0, "None in this window"),
    ],
)
def test_nothing_is_said_in_words(frame: pd.DataFrame, said: str) -> None:
    ax = drawn(plots.stacked(frame))
    assert ax.texts[0].get_text() == said
    assert not ax.axison


def test_empty_tables_are_said_in_words() -> None:
    for ax in (plots.heatmap(pd.DataFrame()), plots.comparison(pd.DataFrame())):
        assert drawn(ax).texts[0].get_text().startswith("No data in this window")


def test_text_from_labels_cannot_break_a_plot() -> None:
    table = pd.DataFrame([[5.0, 1.0]], index=[HOSTILE], columns=[HOSTILE, "y"])
    drawn(plots.heatmap(table, unit=HOSTILE))
    drawn(plots.comparison(table.set_axis(["packets", "expected"], axis=1), unit=HOSTILE))
    drawn(plots.stacked(rates(1).set_axis([HOSTILE], axis=1), unit=HOSTILE))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.314, "0.31"), (41.25, "41"), (999.4, "999"), (12431.0, "12.4k"), (3e6, "3M")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert plots.short(value) == text


def test_lines_keep_gaps_and_draw_the_highest_first() -> None:
    index = pd.date_range("2026-03-21 08:00", periods=4, freq="30s", tz="UTC")
    frame = pd.DataFrame(
        {f"n{i}": [1.0 * i, np.nan, 2.0 * i, 0.0] for i in range(1, 10)}, index=index
    )
    ax = plots.lines(frame, unit="endpoints", most=3)
    assert [line.get_label() for line in ax.get_lines()] == ["n9", "n8", "n7"]
    assert np.isnan(np.asarray(ax.get_lines()[0].get_ydata())[1])
    assert len({line.get_linestyle() for line in ax.get_lines()}) == 3
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "and 6 more below"
    assert ax.get_ylabel() == "endpoints"


def test_a_thing_has_one_colour_whatever_is_beside_it() -> None:
    frame = rates(6).set_axis(["worker-3", "worker-1", "worker-2", "db", "web", "n3"], axis=1)
    fewer = frame[["worker-3", "db"]][::2]
    for names in (list(frame), list(fewer)):
        lines = plots.lines(frame[names]).get_lines()
        areas = plots.stacked(frame[names]).collections
        for drawn_as in (lines, areas):
            assert [part.get_label() for part in drawn_as] == names
        assert [line.get_color() for line in lines] == [plots.colour(name) for name in names]
        for name, area in zip(names, areas, strict=True):
            (face,) = np.asarray(area.get_facecolor())
            assert to_hex(tuple(face)).upper() == plots.colour(name)


def test_numbered_things_lie_apart_and_what_fails_is_red() -> None:
    for names in ([f"worker-{n}" for n in range(1, 11)], [f"n{n}" for n in range(12)]):
        assert len({plots.colour(name) for name in names}) == len(names)
    assert plots.colour("DROPPED") == plots.colour("5xx") == plots.colour("Server Failure")
    assert plots.colour("FORWARDED") == plots.colour("2xx") == plots.colour("No Error")
    assert plots.colour("FORWARDED") != plots.colour("DROPPED")


def test_what_is_drawn_in_one_plot_has_colours_of_its_own() -> None:
    for names in (
        ["200", "404", "500", "403", "401", "429", "502", "503", "504", "no response"],
        ["FORWARDED", "DROPPED", "ERROR", "AUDIT", "REDIRECTED", "TRACED", "TRANSLATED"],
        ["SYN", "SYN-ACK", "ACK", "PSH", "FIN", "RST"],
        ["No Error", "Non-Existent Domain", "Server Failure", "Query Refused"],
        ["INGRESS", "EGRESS", "unknown"],
    ):
        alike = {name: plots.colour(name) for name in names}
        assert len({*alike.values(), plots.colour(plots.OTHERS)}) == len(alike) + 1


def test_things_of_one_colour_differ_in_their_pattern() -> None:
    names = [f"{i}-x" for i in range(60)]
    same = [name for name in names if plots.colour(name) == plots.colour(names[0])][:2]
    frame = rates(2).set_axis(same, axis=1)
    lines, areas = plots.lines(frame).get_lines(), plots.stacked(frame).collections
    assert len({line.get_linestyle() for line in lines}) == 2
    assert [area.get_hatch() for area in areas] == [None, "///"]
    assert lines[0].get_color() == lines[1].get_color()


def test_lines_of_nothing_say_so() -> None:
    ax = plots.lines(pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC")))
    assert [text.get_text() for text in ax.texts] == ["No data in this window"]


def test_nothing_is_marked_where_nothing_is_drawn() -> None:
    ax = plots.stacked(pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC")))
    start = pd.Timestamp("2026-03-21 08:00", tz="UTC").to_pydatetime()
    plots.shade(ax, [(start, start + pd.Timedelta("2h").to_pytimedelta())])
    ax.figure.canvas.draw()
    assert len(ax.patches) == 0
