from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cilium_analysis import frames

LABELS = st.dictionaries(
    st.sampled_from(["__name__", "node", "reason", "x"]), st.text(max_size=3), max_size=3
)


def build(series: list[dict[str, str]], values: list[list[float]]) -> pd.DataFrame:
    times = np.arange(len(values), dtype=np.int64) * 30_000
    return frames.build(times, np.array(values, dtype=float), series)


def test_the_shape_of_a_label_frame() -> None:
    frame = build([{"node": "b"}, {"reason": "x", "node": "a"}], [[1, 2], [np.nan, 3]])
    assert frame.index.name == "time"
    assert str(frame.index.dtype) == "datetime64[ms, UTC]"
    assert frame.columns.names == ["node", "reason"]
    assert list(frame.columns) == [("a", "x"), ("b", "")]
    assert frame["a", "x"].tolist() == [2.0, 3.0]
    assert (frame.dtypes == "float64").all()


def test_without_labels_there_is_one_empty_name() -> None:
    frame = build([{}], [[1], [2]])
    assert frame.columns.names == ["__name__"]
    assert list(frame.columns) == [("",)]


def test_an_empty_frame_keeps_its_names() -> None:
    frame = frames.empty(["reason", "node"])
    assert frame.shape == (0, 0)
    assert frame.columns.names == ["node", "reason"]
    assert frame.index.name == "time"
    assert str(frame.index.dtype) == "datetime64[ms, UTC]"
    assert frames.empty().columns.names == ["__name__"]


def test_tidy_has_one_row_per_sample() -> None:
    frame = build([{"node": "a"}, {"node": "b"}], [[1, np.nan], [2, 3]])
    rows = frames.tidy(frame)
    assert list(rows.columns) == ["time", "node", "value"]
    assert rows["node"].tolist() == ["a", "a", "b"]
    assert rows["value"].tolist() == [1.0, 2.0, 3.0]
    assert rows["time"].tolist() == [frame.index[0], frame.index[1], frame.index[1]]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sum", "max", "min", "mean"])
@given(
    series=st.lists(LABELS, min_size=1, max_size=6, unique_by=lambda d: tuple(sorted(d.items()))),
    values=hnp.arrays(
        "float64", (3, 6), elements=st.one_of(st.just(np.nan), st.integers(0, 9).map(float))
    ),
    by=st.lists(st.sampled_from(["node", "reason", "absent"]), unique=True),
)
def test_group_agrees_with_pandas(
    how: frames.How, series: list[dict[str, str]], values: np.ndarray, by: list[str]
) -> None:
    frame = build(series, values[:, : len(series)].tolist())
    merged = frames.group(frame, by, how=how)
    keys = [tuple(labels.get(name, "") for name in sorted(by)) or ("",) for labels in series]
    for key in set(keys):
        mine = merged.loc[:, [column == key for column in merged.columns]].iloc[:, 0]
        columns = [i for i, other in enumerate(keys) if other == key]
        theirs = pd.DataFrame(values[:, columns])
        options = {"min_count": 1} if how == "sum" else {}
        expected = getattr(theirs, how)(axis=1, **options)
        np.testing.assert_allclose(mine.to_numpy(), expected.to_numpy())


def test_group_of_nothing_is_nothing() -> None:
    assert frames.group(frames.empty(["node"]), ["node"]).shape == (0, 0)


def test_relabel_and_levels() -> None:
    frame = build([{"node": "a", "pod": "p"}], [[1.0]])
    assert list(frames.relabel(frame, "node", ["z"]).columns) == [("z", "p")]
    assert frames.with_levels(frame, ["x", "node"]).columns.names == ["node", "x"]
    assert list(frames.with_levels(frame, ["x", "node"]).columns) == [("a", "")]
    assert list(frame.columns) == [("a", "p")], "the frame given is left as it was"


def test_totals_are_summed_over_time_in_the_order_asked_for() -> None:
    times = np.array([0, 30_000], dtype=np.int64)
    values = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, 5.0]])
    series = [{"a": "x", "b": "1"}, {"a": "y", "b": "1"}, {"a": "x", "b": "2"}]
    frame = frames.build(times, values, series)
    assert frames.totals(frame, ["b"]).to_dict() == {"1": 6.0, "2": 5.0}
    both = frames.totals(frame, ["b", "a"])
    assert both.index.names == ["b", "a"]
    assert both.to_dict() == {("1", "x"): 4.0, ("1", "y"): 2.0, ("2", "x"): 5.0}


def test_totals_of_nothing_keep_their_levels() -> None:
    none = frames.totals(frames.empty(), ["b", "a"])
    assert none.empty
    assert none.dtype == "float64"
    assert none.index.names == ["b", "a"]


def test_the_step_of_a_frame() -> None:
    times = np.array([0, 60_000, 120_000])
    frame = frames.build(times, np.ones((3, 1)), [{"a": "b"}])
    assert frames.step_seconds(frame) == 60.0
    assert frames.step_seconds(frame[:1]) == 0.0


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "y"]), st.text(max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_labels_chosen_and_set_are_those_of_a_table_of_labels(rows: list[tuple[str, ...]]) -> None:
    columns = pd.MultiIndex.from_tuples(rows, names=["k", "l", "m"])
    # Some of the labels that the index knows do not occur any more.
    frame = pd.DataFrame(np.ones((2, len(rows))), columns=columns).iloc[:, :4]
    table = frames.labels(frame)
    chosen = frames.with_levels(frame, ["m", "new", "k"])
    assert list(chosen.columns) == list(
        table.assign(new="")[["k", "m", "new"]].itertuples(index=False, name=None)
    )
    values = [str(number % 2) for number in range(frame.shape[1])]
    again = frames.relabel(frame, "l", values)
    assert list(again.columns) == list(
        table.assign(l=values)[["k", "l", "m"]].itertuples(index=False, name=None)
    )
    assert frames.group(again, ["l"]).to_numpy().sum() == 2 * frame.shape[1]
