"""What proves that a series began at 0, or that it continues another: by hand, on small frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import counters
from tests.test_counters import BEGIN, STEP, N, drops, label_frame, total

TARGET = ["cluster", "instance", "job", "node", "pod"]
LONG_AGO = BEGIN / 1000 - 10**6


def of(frame: pd.DataFrame, label: str, value: str) -> list[float]:
    """Give the values of the only series with a label."""
    found = frame.xs(value, level=label, axis=1)
    assert found.shape[1] == 1
    return [float(each) for each in found.iloc[:, 0]]


def at(row: float) -> float:
    """Give the time of a row [s since 1970]."""
    return (BEGIN + STEP * row) / 1000


# Targets


@pytest.mark.parametrize("label", TARGET)
def test_each_target_label_tells_targets_apart(label: str) -> None:
    """That one was scraped proves nothing about the other."""
    frame = label_frame({("a", "x"): [7, 7, 7], ("b", "x"): [N, N, 500]}, f"{label} reason")
    reading = counters.read(frame, pinned=False)
    assert total(reading.increase) == 0
    assert reading.events["event"].tolist() == ["unknown_start"]


@pytest.mark.parametrize("known", ["instance", "instance job", "instance node"])
def test_scrapes_are_those_of_the_labels_that_both_have(known: str) -> None:
    frame = label_frame(
        {("a", "1", "x"): [7, 7, 7], ("b", "2", "x"): [N, N, 500], ("c", "3", "x"): [N, N, 60]},
        "instance node reason",
    )
    other = {"instance": (), "instance job": ("j",), "instance node": ("2",)}[known]
    up = label_frame({("b", *other): [N, 1.0, 1.0]}, known)
    reading = counters.read(frame, scraped=up)
    assert of(reading.increase, "instance", "b")[2] == 500
    assert total(reading.increase) == 500
    assert sorted(reading.events["event"]) == ["birth", "unknown_start"]


def test_scrapes_may_have_other_times_than_the_counters() -> None:
    frame = drops({("a", "x"): [N, N, 500, 501]})
    up = label_frame({("a",): [1.0] * 8}, "instance")
    up.index = pd.DatetimeIndex(up.index) - pd.Timedelta(3 * STEP, "ms")
    np.testing.assert_array_equal(counters.increase(frame, scraped=up).iloc[:, 0], [N, N, 500, 1])


@pytest.mark.parametrize(
    ("began", "spread"), [(0, [N, 5, 5, 3]), (1.5, [N, 5, 5, 3]), (-1, [N, N, N, 3])]
)
def test_a_process_of_the_window_counts_from_when_anything_was_scraped(
    began: float, spread: list[float]
) -> None:
    """One that is older may have counted before, if only a little older."""
    frame = label_frame({("a", "x"): [1, N, 1, 1], ("b", "x"): [N, N, 10, 13]}, "instance reason")
    starts: dict[tuple[str, ...], list[float]]
    starts = {("a",): [1.0, N, 1, 1], ("b",): [N, N, at(began), at(began)], ("c",): [N, N, N, 1.0]}
    grown = counters.increase(frame, scraped=label_frame(starts, "instance"), pinned=False)
    np.testing.assert_array_equal(of(grown, "instance", "b"), spread)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_target_that_was_never_scraped_proves_nothing(rows: int) -> None:
    frame = drops({("a", "x"): [1, 2, 3], ("b", "x"): [N, 4, 6]}).iloc[:rows]
    up = label_frame({("a",): [1.0] * 3, ("b",): [N] * 3}, "instance").iloc[:rows]
    reading = counters.read(frame, scraped=up, pinned=False)
    assert total(reading.increase) == (2 + 2 if rows else 0)
    assert reading.events["event"].tolist() == ["unknown_start"] * (rows > 0)


def test_more_series_than_times_and_one_time_alone() -> None:
    many = drops({("a", f"r{n}"): [n, 2 * n] for n in range(6)})
    for pinned in (True, False, None):
        assert total(counters.increase(many, pinned=pinned)) == sum(range(6))
        alone = counters.read(many.iloc[:1], pinned=pinned)
        assert alone.increase.isna().to_numpy().all()
        assert alone.events.empty


# Series of a process, which end and begin with it


def process(first: list[float], second: list[float], **other: list[float]) -> pd.DataFrame:
    columns: dict[tuple[str, ...], list[float]] = {("a", "v1"): first, ("a", "v2"): second}
    return label_frame(columns | {("a", name): each for name, each in other.items()}, "instance v")


def started(*rows: float, length: int) -> pd.DataFrame:
    """Give the start of a process that restarted in some rows."""
    starts = [max([LONG_AGO, *(at(r) for r in rows if r <= t)]) for t in range(length)]
    return label_frame({("a",): starts}, "instance")


@pytest.mark.parametrize(
    ("labels", "starts"),
    [
        ("instance", {("a",): [LONG_AGO, LONG_AGO, at(1.5), at(1.5)]}),
        (
            "instance pod",
            {("a", "p1"): [LONG_AGO, LONG_AGO, N, N], ("a", "p2"): [N, N, at(1.5), at(1.5)]},
        ),
        ("pod", {("p1",): [LONG_AGO, LONG_AGO, N, N], ("p2",): [N, N, at(1.5), at(1.5)]}),
    ],
)
def test_series_of_a_new_pod_with_other_labels_count_from_zero(
    labels: str, starts: dict[tuple[str, ...], list[float]]
) -> None:
    """Whichever labels of the target the starts have; if the start is not known, it is not."""
    frame = label_frame(
        {("a", "p1", "v1"): [1000, 1010, N, N], ("a", "p2", "v2"): [N, N, 1025, 1030]},
        "instance pod source",
    )
    anew = label_frame(starts, labels)
    assert total(counters.increase(frame, scraped=anew, pinned=False)) == 10 + 1025 + 5
    unknown = anew.mask(anew > LONG_AGO, LONG_AGO)
    continued = 15 if labels == "instance" else 0
    assert total(counters.increase(frame, scraped=unknown, pinned=False)) == 10 + continued + 5


@pytest.mark.parametrize(("later", "gained"), [(2.0, 15), (10.0, 1025)])
def test_a_start_that_is_computed_anew_is_no_restart(later: float, gained: float) -> None:
    """The start is computed from a clock that is corrected [s]."""
    starts = label_frame({("a",): [1.0, 1.0, 1.0 + later, 1.0 + later]}, "instance")
    frame = process([1000, 1010, N, N], [N, N, 1025, 1025])
    assert total(counters.increase(frame, scraped=starts, pinned=False)) == 10 + gained


@pytest.mark.parametrize(
    ("restart", "gained"), [(1, 15), (7, 1025), (12, 1025), (13, 15), (17, 15)]
)
def test_only_a_restart_between_the_old_series_and_the_new_ones_matters(
    restart: int, gained: float
) -> None:
    """Within five minutes, which is ten rows; at a restart elsewhere nothing was renamed."""
    frame = process([1010.0] * 12 + [N] * 6, [N] * 12 + [1025.0] * 6)
    known = started(restart, length=18)
    assert total(counters.increase(frame, scraped=known, pinned=False)) == gained


def test_several_series_that_are_renamed_continue_the_sum() -> None:
    frame = process([100, N], [N, 105], v3=[50, N], v4=[N, 60])
    grown = counters.increase(frame, pinned=False)
    assert total(grown) == pytest.approx(15)
    assert of(grown, "v", "v2")[1] == pytest.approx(105 - 150 * 105 / 165)


@pytest.mark.parametrize(("new", "gained"), [(1000, 0), (999, 999), (1001, 1)])
def test_what_is_less_than_before_is_no_continuation(new: float, gained: float) -> None:
    assert total(counters.increase(process([1000, N], [N, new]), pinned=False)) == gained


def test_a_scrape_gap_before_does_not_matter() -> None:
    frame = process([1000, N, 1010, N], [N, N, N, 1025])
    assert total(counters.increase(frame, pinned=False)) == 10 + 15


def test_parts_of_a_second_continue_too() -> None:
    assert total(counters.increase(process([0.5, N], [N, 0.75]), pinned=False)) == 0.25


def test_zeros_continue_zeros() -> None:
    assert total(counters.increase(process([0, N, N], [N, 0, 3]), pinned=False)) == 3


def test_one_series_that_goes_on_shows_that_the_process_was_not_renamed() -> None:
    frame = process([1000, N, N], [N, 1025, 1025], going=[5, 6, N])
    assert total(counters.increase(frame, pinned=False)) == 1 + 1025


# Series of a pinned map, which end only when they are spelled in another way


def test_the_largest_new_series_continues_the_largest_old_one() -> None:
    frame = drops(
        {
            ("a", "old-1"): [100, N],
            ("a", "old-2"): [900, N],
            ("a", "small"): [N, 910],
            ("a", "large"): [N, 1000],
        }
    )
    reading = counters.read(frame)
    assert total(reading.increase) == 910
    reasons = frame.columns.get_level_values("reason")
    pairs = {(reasons[new], reasons[old]) for new, old in reading.renamed}
    assert pairs == {("large", "old-2"), ("small", "old-1")}
    assert reading.events["amount"].tolist() == [100, 810]


@pytest.mark.parametrize(("new", "gained"), [(899, 799), (900, 0), (901, 1), (100, 0), (99, 99)])
def test_a_renamed_series_continues_the_largest_that_it_can(new: float, gained: float) -> None:
    old: dict[tuple[str, str], list[float]] = {("a", "1"): [100, N], ("a", "2"): [900, N]}
    assert total(counters.increase(drops({**old, ("a", "new"): [N, new]}))) == gained
    equal = {**old, ("a", "3"): [900.0, N], ("a", "4"): [100.0, N]}
    assert total(counters.increase(drops({**equal, ("a", "new"): [N, new]}))) == gained


@pytest.mark.parametrize(("rows", "gained"), [(1, 5), (10, 5), (11, 1005)])
def test_a_rename_takes_five_minutes_at_most(rows: int, gained: float) -> None:
    frame = drops(
        {
            ("a", "old"): [1000] + [N] * 12,
            ("a", "new"): [N] * rows + [1005.0] * (13 - rows),
            ("a", "other"): [1] * 13,
        }
    )
    assert total(counters.increase(frame)) == gained


def test_an_upgrade_replaces_the_pod_and_spells_reasons_in_another_way() -> None:
    frame = label_frame(
        {
            ("a", "cilium-1", "Policy denied (L3)"): [90_000, 90_002, N, N],
            ("a", "cilium-2", "Policy denied"): [N, N, 90_005, 90_006],
            ("b", "cilium-3", "Policy denied"): [7, 7, 7, 7],
        },
        "instance pod reason",
    )
    assert total(counters.increase(frame, pinned=True)) == 2 + 3 + 1


def test_pods_of_no_known_node_continue_none_of_each_other() -> None:
    frame = label_frame({("p1", "x"): [1000, N, N], ("p2", "y"): [N, 5000, 5001]}, "pod reason")
    reading = counters.read(frame, pinned=True)
    assert total(reading.increase) == 1
    assert reading.events["event"].tolist() == ["unknown_start"]


def test_a_series_continues_none_of_another_metric_or_target() -> None:
    names = "__name__ instance reason"
    frame = label_frame(
        {
            ("cilium_drop_count_total", "a", "x"): [100, N, N],
            ("cilium_drop_count_total", "b", "x"): [100, 100, 100],
            ("cilium_drop_count_total", "b", "y"): [N, 200, 200],
            ("cilium_drop_bytes_total", "a", "x"): [N, 5000, 5000],
        },
        names,
    )
    reading = counters.read(frame)
    assert total(reading.increase) == 200 + 5000
    assert reading.renamed == ()
