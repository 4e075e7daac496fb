"""Answers of Prometheus, drawn at random and written as servers write them, or may write them.

Numbers, times and escapes are those of Prometheus (util/jsonutil, Go's encoding/json); the order
of keys and the white space also vary, since proxies parse answers and write them anew.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

if TYPE_CHECKING:
    from collections.abc import Mapping

#: For machines that are busy with other things.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
#: What may confuse a parser that cuts JSON at the level of bytes.
NASTY = (
    '"',
    "\\",
    '\\"',
    '},"values":[[',
    '"},"values":[[1,"2"]]},{"metric":{"',
    "]]}]}}",
    '"],["',
    "\n",
    "\x00",
    "\u2028",
    "<b>&amp;",
    "é",
    "\N{GRINNING FACE}",
    "NaN",
    ",",
)
SPECIAL = ("NaN", "+Inf", "-Inf", "Inf", "0", "-0", "1e-07", "1e+21", "5e-324", "0.1")
EMPTY_BUCKETS = {"count": "3", "sum": "1.5", "buckets": [[0, "0.5", "1", "3"]]}


@dataclass(frozen=True)
class Series:
    """One series: labels, values as text and histograms by time [ms]."""

    labels: Mapping[str, str]
    samples: Mapping[int, str]
    histograms: Mapping[int, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """A matrix answer, and what is in it."""

    body: bytes
    series: tuple[Series, ...]

    @property
    def histograms(self) -> int:
        """How many samples are native histograms."""
        return sum(len(one.histograms) for one in self.series)


@dataclass(frozen=True)
class Style:
    """How JSON is written."""

    comma: str = ","
    colon: str = ":"
    indent: str = ""
    ascii: bool = False
    #: Go writes <, > and & as escapes.
    html: bool = True


class Token(str):
    """Text that stands in JSON as it is."""

    __slots__ = ()


STYLES = (
    Style(),
    Style(html=False),
    Style(ascii=True, html=False),
    Style(comma=", ", colon=": ", ascii=True, html=False),
    Style(colon=": ", indent="  "),
)


def render(value: Any, style: Style, depth: int = 0) -> str:
    """Write JSON, with tokens left as they are."""
    if isinstance(value, Token):
        return str(value)
    if not isinstance(value, (dict, list, tuple)):
        return _scalar(value, style)
    if isinstance(value, dict):
        parts = [
            _scalar(k, style) + style.colon + render(v, style, depth + 1) for k, v in value.items()
        ]
        brackets = "{}"
    else:
        parts = [render(v, style, depth + 1) for v in value]
        brackets = "[]"
    inner = "\n" + style.indent * (depth + 1) if style.indent and parts else ""
    outer = "\n" + style.indent * depth if style.indent and parts else ""
    return brackets[0] + inner + (style.comma + inner).join(parts) + outer + brackets[1]


def _scalar(value: object, style: Style) -> str:
    written = json.dumps(value, ensure_ascii=style.ascii)
    if style.html:
        for char in "<>&\u2028\u2029":
            written = written.replace(char, f"\\u{ord(char):04x}")
    return written


def go_float(value: float) -> str:
    """Write a sample's value as Prometheus does: shortest form, an exponent only far out."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    shortest = Decimal(repr(value))
    if value and not 1e-6 <= abs(value) < 1e21:
        digits, _, exponent = f"{shortest.normalize():e}".partition("e")
        return f"{digits}e{exponent[0]}{int(exponent[1:]):02d}"
    plain = f"{shortest:f}"
    return plain.removesuffix(".0")


def go_time(ms: int) -> Token:
    """Write a time as Prometheus does: whole seconds, or three decimals."""
    seconds, rest = divmod(abs(ms), 1000)
    sign = "-" if ms < 0 else ""
    return Token(f"{sign}{seconds}.{rest:03d}" if rest else f"{sign}{seconds}")


characters = st.characters(exclude_categories=["Cs"])
texts = st.lists(st.sampled_from(NASTY) | st.text(characters, max_size=6), max_size=3).map("".join)
names = st.sampled_from(["__name__", "job", "le", "a", "values", "metric"]) | st.text(
    characters, min_size=1, max_size=8
)
label_sets = st.dictionaries(names, texts, max_size=4)
numbers = st.one_of(
    st.sampled_from(SPECIAL),
    st.floats().map(go_float),
    st.integers(-(10**6), 10**6).map(str),
    st.decimals(-1000, 1000, places=3).map(str),
)
#: From before 1970 to 2100, in steps of a second, a quarter, or a millisecond.
moments = st.one_of(
    st.integers(-1000, 4_000_000_000).map(lambda s: s * 1000),
    st.integers(-10, 40).map(lambda n: 1_774_080_000_000 + n * 250),
    st.integers(-1_000_000, 4_000_000_000_000),
)


@st.composite
def series(draw: st.DrawFn, grid: list[int], *, histograms: bool = True) -> Series:
    """A series at some points of a common grid, or at all of them."""
    own = grid if draw(st.booleans()) else sorted(draw(st.sets(st.sampled_from(grid))))
    values = {ms: draw(numbers) for ms in own}
    others = draw(st.sets(moments, max_size=2)) - set(values) if histograms else set()
    return Series(draw(label_sets), values, dict.fromkeys(sorted(others), EMPTY_BUCKETS))


def identity(one: Series) -> tuple[tuple[str, str], ...]:
    """Tell series apart as Prometheus does: an empty label is no label."""
    return tuple(sorted((name, value) for name, value in one.labels.items() if value))


@st.composite
def matrices(draw: st.DrawFn, *, histograms: bool = True) -> tuple[Series, ...]:
    """Series with distinct labels."""
    grid = sorted(draw(st.sets(moments, min_size=1, max_size=6)))
    found = draw(st.lists(series(grid, histograms=histograms), max_size=5, unique_by=identity))
    return tuple(one for one in found if one.samples or one.histograms)


@st.composite
def answers(draw: st.DrawFn, *, histograms: bool = True) -> Written:
    """A range query's answer, in any order and any style."""
    found = draw(matrices(histograms=histograms))
    shuffled = draw(st.booleans())
    rows = [_row(draw, one, shuffled=shuffled) for one in found]
    data: dict[str, Any] = {"resultType": "matrix", "result": rows}
    if draw(st.booleans()):
        data["stats"] = {"samples": {"totalQueryableSamples": 1}}
    envelope: dict[str, Any] = {"status": "success"}
    if draw(st.booleans()):
        envelope["isPartial"] = draw(st.booleans())
    envelope["data"] = data
    if draw(st.booleans()):
        envelope["warnings"] = draw(st.lists(texts, min_size=1, max_size=2))
    if shuffled:
        envelope["data"] = dict(draw(st.permutations(list(data.items()))))
        envelope = dict(draw(st.permutations(list(envelope.items()))))
    style = draw(st.sampled_from(STYLES))
    end = draw(st.sampled_from(["", "\n", " \r\n"]))
    return Written((render(envelope, style) + end).encode(), found)


def _row(draw: st.DrawFn, one: Series, *, shuffled: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": dict(one.labels)}
    if one.samples:
        row["values"] = [[go_time(ms), value] for ms, value in one.samples.items()]
    if one.histograms:
        row["histograms"] = [[go_time(ms), value] for ms, value in one.histograms.items()]
    return dict(draw(st.permutations(list(row.items())))) if shuffled else row


def plainly(body: bytes) -> pd.DataFrame:
    """The label frame of an answer by the most obvious means."""
    cells: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for row in json.loads(body, parse_float=Decimal)["data"]["result"]:
        key = tuple(sorted((name, value) for name, value in row["metric"].items() if value))
        for moment, value in row.get("values", []):
            cells.setdefault(key, {})[int(moment * 1000)] = float(value)
    names = sorted({name for key in cells for name, _ in key}) or ["__name__"]
    columns = {tuple(dict(key).get(name, "") for name in names): key for key in cells}
    times = sorted({moment for column in cells.values() for moment in column})
    nan = float("nan")
    table = [[cells[columns[c]].get(t, nan) for c in sorted(columns)] for t in times]
    arrays = [[column[level] for column in sorted(columns)] for level in range(len(names))]
    return pd.DataFrame(
        np.array(table, dtype=np.float64).reshape(len(times), len(columns)),
        index=pd.DatetimeIndex(np.array(times, dtype="datetime64[ms]"), tz="UTC", name="time"),
        columns=pd.MultiIndex.from_arrays(arrays, names=names),
    )


def assert_label_frame(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert_frame_equal(found, wanted, check_exact=True, check_freq=True, check_column_type=True)
    assert found.index.dtype == "datetime64[ms, UTC]"
    # assert_frame_equal takes 0.0 and -0.0 for the same.
    assert np.array_equal(np.signbit(found.to_numpy()), np.signbit(wanted.to_numpy()))
