"""Figures for pages: narrow, in the page's colours, and harmless whoever drew them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from cilium_analysis import plots
from cilium_analysis.figures import AS_PAGE, FIGURE, NARROW, STYLE, WIDE, is_harmless, picture
from cilium_analysis.plots.page import Drawing, bundle

TIMES = pd.date_range("2026-03-21 08:00", periods=240, freq="30s", tz="UTC", unit="ms")
HOSTILE = '</text><script>alert(1)</script>" d="M 1.2.3" onload="alert(2)" $x$ \x00\u202e&lt;]]>'
SVG = "http://www.w3.org/2000/svg"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def rates(*names: str) -> pd.DataFrame:
    wave = 40 + 3 * np.sin(np.arange(len(TIMES)))
    return pd.DataFrame({name: wave / (n + 1) for n, name in enumerate(names)}, index=TIMES)


def drawn(ax: Axes) -> dict[str, str]:
    figure = ax.figure
    assert isinstance(figure, Drawing)
    shown: dict[str, str] = bundle(figure)[FIGURE]
    return shown


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter(f"{{{SVG}}}text")]


def size(svg: str) -> float:
    return float(re.findall(r'viewBox="0 0 ([\d.]+)', svg)[0])


def test_a_figure_is_drawn_wide_and_narrow_and_small() -> None:
    names = ("Policy denied", "CT: Truncated or invalid header", "Stale or unroutable IP")
    figure = drawn(plots.stacked(rates(*names), unit="packets/s"))
    assert (size(figure[WIDE]), size(figure[NARROW])) == (720, 324)
    for svg in figure.values():
        assert {*names, "packets/s", "Time (UTC)", "2026-Mar-21"} <= set(texts(svg))
        assert len(svg) < 30_000
        assert min(map(float, re.findall(r"font(?:-size)?: ([\d.]+)px", svg))) >= 9


def test_its_ink_follows_the_page() -> None:
    svg = drawn(plots.lines(rates("a"), unit="endpoints"))[WIDE]
    assert 'fill="currentColor"' in svg
    assert "prefers-color-scheme:dark" in svg
    drawn_in = set(re.findall(r"(?:fill|stroke): (#\w+)", svg))
    assert drawn_in == {plots.colour("a").lower()}


def test_the_level_parts_of_a_line_are_one_step() -> None:
    flat = pd.DataFrame({"a": np.where(np.arange(len(TIMES)) < 100, 1.0, 5.0)}, index=TIMES)
    svg = drawn(plots.stacked(flat))[WIDE]
    assert len(svg) < 8_000
    fill = f"fill: {plots.colour('a').lower()}"
    (area,) = re.findall(rf'd="(M[^"]*)"[^>]*style="{fill}', svg.replace("z", ""))[-1:]
    assert len(re.findall("[hvl]", area)) <= 12


@pytest.mark.parametrize("kind", ["heatmap", "matrix", "outages"])
def test_a_colour_is_strong_where_much_is(kind: str) -> None:
    table = pd.DataFrame([[1.0, 0.5], [0.2, np.nan]], index=["a", "b"], columns=["x", "y"])
    if kind == "outages":
        frame = rates("n", "m").clip(0, 1)
        svg = drawn(plots.outages(frame))[NARROW]
        assert "data:image/png;base64," in svg
    else:
        shown = 1000 * table.fillna(0.0) if kind == "heatmap" else table
        svg = drawn(getattr(plots, kind)(shown))[NARROW]
        colour = "#08519c" if kind == "heatmap" else "#a63603"
        assert len(re.findall(f"fill: {colour}", svg)) >= 3
    assert is_harmless({WIDE: svg, NARROW: svg})


def test_many_cells_and_many_points_are_one_image() -> None:
    nodes = [f"ip-10-0-{n}.eu-central-1.compute.internal" for n in range(60)]
    table = pd.DataFrame(np.random.default_rng(1).random((60, 60)), index=nodes, columns=nodes)
    for ax in (plots.matrix(table), plots.heatmap(1000 * table)):
        figure = drawn(ax)
        assert is_harmless(figure)
        assert all(len(svg) < 150_000 for svg in figure.values())
    long = rates("a", "b").sample(9_000, replace=True, random_state=1)
    long.index = pd.date_range("2026-03-21", periods=9_000, freq="30s", tz="UTC")
    assert all(len(svg) < 150_000 for svg in drawn(plots.stacked(long)).values())


def test_long_names_have_two_lines_on_a_phone() -> None:
    name = "ip-10-0-12-34.eu-central-1.compute.internal"
    table = pd.DataFrame({"packets": [40.0], "expected": [1.0]}, index=[name])
    narrow = texts(drawn(plots.comparison(table))[NARROW])
    assert name not in narrow
    assert {"ip-10-0-12-34.eu-", "central-1.compute."} & set(narrow)


def test_names_stay_text() -> None:
    table = pd.DataFrame([[5.0, 1.0]], index=[HOSTILE], columns=[HOSTILE, "y"])
    for ax in (
        plots.stacked(rates(HOSTILE), unit=HOSTILE),
        plots.heatmap(table, unit=HOSTILE),
        plots.comparison(table.set_axis(["packets", "expected"], axis=1), unit=HOSTILE),
        plots.stacked(pd.DataFrame(), empty=HOSTILE),
    ):
        figure = drawn(ax)
        assert is_harmless(figure)
        assert any("alert(1)" in text for text in texts(figure[WIDE]))
        page = picture(figure, alt=HOSTILE)
        assert page.count("<") == 4
        assert "alert(1)<" not in page


def test_elsewhere_a_figure_is_shown_as_always(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plots.lines(rates("a")).figure
    assert isinstance(figure, Drawing)
    monkeypatch.delenv(AS_PAGE, raising=False)
    with pytest.raises(NotImplementedError):
        figure._ipython_display_()


def svg(inside: str, root: str = "") -> str:
    opened = f'<svg xmlns="{SVG}" xmlns:xlink="http://www.w3.org/1999/xlink" {root}>'
    return f"{opened}<style>{STYLE}</style>{inside}</svg>"


def test_what_ours_have_is_harmless() -> None:
    path = '<defs><path id="a" d="M0 0h3"/></defs><use xlink:href="#a" x="3"/>'
    good = svg(f'<g clip-path="url(#b)">{path}<text transform="rotate(40 1 2)">a</text></g>')
    assert is_harmless({WIDE: good, NARROW: good})
    assert not is_harmless({WIDE: good})
    assert not is_harmless(good)
    assert not is_harmless({WIDE: good, NARROW: 3})


@pytest.mark.parametrize(
    "bad",
    [
        "<script>alert(1)</script>",
        '<g onload="alert(1)"/>',
        '<a href="https://evil.example"><text>a</text></a>',
        '<image href="https://evil.example/a.png"/>',
        '<image xlink:href="data:image/svg+xml,%3Csvg/%3E"/>',
        "<foreignObject><p/></foreignObject>",
        "<style>@import url(//evil.example)</style>",
        '<g style="fill: url(//evil.example)"/>',
        '<g style="fill: \\75rl(//evil.example)"/>',
        '<g clip-path="url( #a)"/>',
        '<g id="a"><use href="#a"/></g>',
        '<use href="//evil.example/a.svg#b"/>',
        '<animate attributeName="href"/>',
        '<set xmlns="urn:other"/>',
        "<g",
        "&amp;&unknown;",
        "<!-- -->",
        "<?xml-stylesheet href='//evil.example'?>",
    ],
)
def test_what_ours_do_not_have_is_left_out(bad: str) -> None:
    assert not is_harmless({WIDE: svg(bad), NARROW: svg("")})
    assert not is_harmless({WIDE: svg(""), NARROW: svg(bad)})


def test_entities_are_refused_before_they_are_read() -> None:
    bomb = '<!DOCTYPE svg [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>' + svg("<text>&c;</text>")
    assert not is_harmless({WIDE: bomb, NARROW: bomb})
