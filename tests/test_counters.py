"""Counters, on frames small enough to check by hand, and on generated histories.

The totals on the simulated cluster, against what it really dropped, are in test_drops.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilium_analysis import counters, frames

if TYPE_CHECKING:
    from collections.abc import Mapping

N = np.nan
STEP = 30_000
BEGIN = 1_774_000_000_000 // STEP * STEP


def label_frame(columns: Mapping[tuple[str, ...], list[float]], names: str) -> pd.DataFrame:
    times = BEGIN + STEP * np.arange(len(next(iter(columns.values()))), dtype=np.int64)
    values = np.array(list(columns.values()), dtype=float).T
    series = [dict(zip(names.split(), key, strict=True)) for key in columns]
    return frames.build(times, values, series)


def drops(columns: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """Drop counters by instance and reason, all of one direction."""
    named: dict[tuple[str, ...], list[float]] = {
        ("EGRESS", *key): values for key, values in columns.items()
    }
    return label_frame(named, "direction instance reason")


def total(frame: pd.DataFrame | pd.Series) -> float:
    return float(np.nansum(frame.to_numpy(dtype="float64")))


def test_growth_is_read_between_samples() -> None:
    grown = counters.increase(drops({("a", "x"): [10, 11, 15, 15]}))
    np.testing.assert_array_equal(grown.iloc[:, 0], [N, 1, 4, 0])


def test_index_and_columns_stay() -> None:
    frame = drops({("a", "x"): [1, 2], ("b", "y"): [N, 5]})
    grown = counters.increase(frame)
    pd.testing.assert_index_equal(grown.index, frame.index)
    pd.testing.assert_index_equal(grown.columns, frame.columns)


def test_an_empty_frame_gives_an_empty_frame() -> None:
    assert counters.increase(frames.empty(["instance", "reason"])).shape == (0, 0)
    assert counters.read(frames.empty(["reason"])).events.empty


def test_a_series_born_while_its_target_was_scraped_counts_from_zero() -> None:
    frame = drops({("a", "old"): [7, 7, 7, 7], ("a", "new"): [N, N, 500, 501]})
    reading = counters.read(frame)
    assert total(reading.increase) == 501
    assert reading.increase.xs("new", level="reason", axis=1).iloc[2, 0] == 500
    assert reading.events["event"].tolist() == ["birth"]


def test_a_birth_on_a_node_that_never_dropped_counts_when_it_was_scraped() -> None:
    frame = drops({("a", "x"): [7, 7, 7], ("b", "x"): [N, N, 500]})
    up = label_frame({("a",): [1.0] * 3, ("b",): [1.0] * 3}, "instance")
    assert total(counters.increase(frame, scraped=up)) == 500


def test_that_others_were_scraped_proves_no_birth() -> None:
    reading = counters.read(drops({("a", "x"): [7, 7, 7], ("b", "x"): [N, N, 500]}))
    assert total(reading.increase) == 0
    assert reading.events["event"].tolist() == ["unknown_start"]


def test_a_series_of_a_target_not_scraped_before_has_an_unknown_past() -> None:
    frame = drops({("a", "x"): [7, 7, 7, 7], ("b", "x"): [N, N, 9000, 9003]})
    started_long_ago = float(BEGIN // 1000 - 10**6)
    scraped = label_frame(
        {("a",): [started_long_ago] * 4, ("b",): [N, N, started_long_ago, started_long_ago]},
        "instance",
    )
    reading = counters.read(frame, scraped=scraped)
    assert total(reading.increase) == 3
    assert reading.events["event"].tolist() == ["unknown_start"]


def test_a_process_that_starts_in_the_window_counts_from_zero() -> None:
    frame = drops({("a", "x"): [7, 7, 7, 7], ("b", "x"): [N, N, 9, 12]})
    began = float(BEGIN // 1000 + 40)
    scraped = label_frame({("a",): [1.0] * 4, ("b",): [N, N, began, began]}, "instance")
    assert total(counters.increase(frame, scraped=scraped, pinned=False)) == 12


def test_the_start_of_an_agent_proves_nothing_about_a_pinned_map() -> None:
    frame = drops({("a", "x"): [7, 7, 7, 7], ("b", "x"): [N, N, 120_000, 120_003]})
    began = float(BEGIN // 1000 + 40)
    scraped = label_frame({("a",): [1.0] * 4, ("b",): [N, N, began, began]}, "instance")
    reading = counters.read(frame, scraped=scraped)
    assert total(reading.increase) == 3
    assert reading.events["event"].tolist() == ["unknown_start"]


def test_a_reason_that_an_upgrade_spells_in_another_way_goes_on() -> None:
    frame = drops(
        {
            ("a", "Policy denied (L3)"): [90_000, 90_002, N, N, N],
            ("a", "Policy denied"): [N, N, 90_005, 90_006, 90_006],
            ("a", "Stale or unroutable IP"): [3, 3, 3, 3, 3],
            ("a", "Invalid source ip"): [N, N, 8, 8, 8],
        }
    )
    reading = counters.read(frame)
    assert total(reading.increase) == 2 + 3 + 1 + 8
    assert sorted(reading.events["event"]) == ["birth", "renamed"]


def test_series_of_a_process_that_all_change_their_labels_go_on() -> None:
    frame = label_frame(
        {("a", "v1"): [1000, 1010, N, N], ("a", "v2"): [N, N, 1025, 1030]}, "instance pod_name"
    )
    started = label_frame({("a",): [1.0] * 4}, "instance")
    assert total(counters.increase(frame, scraped=started, pinned=False)) == 10 + 15 + 5
    anew = label_frame({("a",): [1.0, 1.0, BEGIN / 1000, BEGIN / 1000]}, "instance")
    assert total(counters.increase(frame, scraped=anew, pinned=False)) == 10 + 1025 + 5


def test_a_series_born_beside_others_that_go_on_began_at_zero() -> None:
    frame = label_frame(
        {("a", "x"): [5, 6, 7, 8], ("a", "old"): [100, 100, N, N], ("a", "new"): [N, N, 400, 400]},
        "instance pod_name",
    )
    assert total(counters.increase(frame, pinned=False)) == 3 + 400


def test_a_sum_over_nodes_that_falls_was_not_reset() -> None:
    reading = counters.read(label_frame({("", "x"): [900, 910, 600, 606]}, "node reason"))
    assert total(reading.increase) == 16
    assert reading.events["event"].tolist() == ["fall"]


def test_everything_first_scraped_at_once_has_an_unknown_past() -> None:
    frame = drops({("a", "x"): [N, 700, 701], ("b", "x"): [N, 900, 900]})
    assert total(counters.increase(frame)) == 1


def test_a_fall_is_a_reset() -> None:
    reading = counters.read(drops({("a", "x"): [1000, 1010, 4, 6]}))
    np.testing.assert_array_equal(reading.increase.iloc[:, 0], [N, 10, 4, 2])
    assert reading.events["event"].tolist() == ["reset"]


def test_a_pinned_counter_that_falls_to_zero_and_jumps_back_was_only_copied_anew() -> None:
    reading = counters.read(drops({("a", "x"): [1000, 1010, 0, 0, 1013, 1013]}))
    assert total(reading.increase) == 13
    assert reading.events["event"].tolist() == ["artefact"]


def test_a_pinned_counter_that_vanishes_and_jumps_back_only_goes_on() -> None:
    frame = drops({("a", "x"): [1000, N, N, 1013], ("a", "y"): [5, N, 5, 5]})
    grown = counters.increase(frame).xs("x", level="reason", axis=1).iloc[:, 0]
    np.testing.assert_allclose(grown, [N, 13 / 3, 13 / 3, 13 / 3])


def test_a_counter_in_the_process_starts_again_at_zero() -> None:
    frame = label_frame({("hubble_flows_processed_total", "a"): [50, 0, 60]}, "__name__ instance")
    assert total(counters.increase(frame)) == 60


@pytest.mark.parametrize("began", [100, 80])
def test_all_counters_of_a_process_that_started_anew_count_from_zero(began: int) -> None:
    # The start is in the step of a sample, which does not tell, or in one without any.
    frame = label_frame(
        {
            ("a", "200"): [90_000, N, 90_100, N, 5_000, N, 5_100],
            ("a", "500"): [2_000, N, 2_100, N, 6_000, N, 12_000],
            ("b", "500"): [2_000, N, 2_100, N, 6_000, N, 12_000],
        },
        "instance status",
    )
    start, long_ago = float(BEGIN // 1000 + began), 1.0
    scraped = label_frame(
        {("a",): [long_ago] * 4 + [start] * 3, ("b",): [long_ago] * 7}, "instance"
    )
    grown = counters.increase(frame, scraped=scraped)
    sums = grown.sum().xs("500", level="status")
    assert sums.to_dict() == {"a": 100 + 12_000, "b": 10_000}
    assert total(grown.xs("200", level="status", axis=1)) == 100 + 5_100


def test_a_known_start_resets_counters_none_of_which_fell() -> None:
    frame = label_frame({("a", "500"): [20, 21, N, N, 90, 95]}, "instance status")
    start = float(BEGIN // 1000 + 2 * STEP // 1000 + 10)
    scraped = label_frame({("a",): [1.0, 1.0, 1.0, 1.0, start, start]}, "instance")
    grown = counters.increase(frame, scraped=scraped)
    np.testing.assert_array_equal(grown.iloc[:, 0], [N, 1, 0, 45, 45, 5])


def test_when_one_counter_of_a_map_was_reset_all_of_that_map_were() -> None:
    frame = drops(
        {
            ("a", "x"): [1000, N, 2, 3],
            ("a", "burst"): [3, N, 50, 50],
            ("b", "burst"): [3, 3, 50, 50],
        }
    )
    grown = counters.increase(frame)
    assert total(grown.xs("a", level="instance", axis=1)) == 3 + 50
    assert total(grown.xs("b", level="instance", axis=1)) == 47


def test_a_reset_is_shared_by_the_metrics_of_a_map_and_by_no_other() -> None:
    frame = label_frame(
        {
            ("cilium_drop_count_total", "a", "x"): [1000, N, 2, 3],
            ("cilium_drop_bytes_total", "a", "x"): [30, N, 500, 500],
            ("cilium_drop_count_total", "b", "x"): [900, 901, 950, 950],
            ("hubble_drop_total", "b", "x"): [50, 0, 60, 60],
            ("hubble_flows_processed_total", "b", "x"): [20, 25, 70, 70],
        },
        "__name__ instance reason",
    )
    grown = counters.increase(frame)
    gained = {key: total(grown[key]) for key in grown.columns}
    assert [gained[key] for key in sorted(gained)] == [500, 3, 50, 60, 50]


def test_a_series_without_a_sample_says_nothing() -> None:
    reading = counters.read(drops({("a", "x"): [N, N, N], ("a", "y"): [1, 2, 4]}))
    assert reading.increase.xs("x", level="reason", axis=1).isna().to_numpy().all()
    assert total(reading.increase) == 3
    assert reading.events.empty


def test_forward_counters_that_fall_do_not_reset_the_drops_beside_them() -> None:
    frame = label_frame(
        {
            ("cilium_forward_count_total", "a", ""): [10**6, 500, 600],
            ("cilium_drop_count_total", "a", "x"): [900, 901, 902],
        },
        "__name__ instance reason",
    )
    grown = counters.increase(frame)
    assert total(grown.xs("x", level="reason", axis=1)) == 2


def test_a_lagging_replica_is_no_reset() -> None:
    reading = counters.read(drops({("a", "x"): [1000, 1010, 1004, 1020]}))
    assert total(reading.increase) == 20


def test_growth_over_a_gap_is_spread_over_it() -> None:
    frame = drops({("a", "x"): [100, N, N, N, 140, 140], ("b", "x"): [1, 1, 1, 1, 1, 1]})
    grown = counters.increase(frame).xs("a", level="instance", axis=1)
    np.testing.assert_array_equal(grown.iloc[:, 0], [N, 10, 10, 10, 10, 0])


def test_gone_for_long_while_its_target_was_scraped_is_a_new_count() -> None:
    gone = [N] * 20
    frame = drops({("a", "x"): [10, *gone, 500], ("a", "y"): [5.0] * 22})
    assert total(counters.increase(frame)) == 500


def test_a_series_goes_on_under_the_name_of_a_new_pod() -> None:
    names = "direction instance pod reason"
    frame = label_frame(
        {
            ("EGRESS", "a", "cilium-1", "x"): [1000, 1001, N, N],
            ("EGRESS", "a", "cilium-2", "x"): [N, N, 1005, 1006],
        },
        names,
    )
    grown = counters.increase(frame)
    assert total(grown) == 6
    assert total(grown.xs("cilium-2", level="pod", axis=1)) == 5


def test_a_series_that_ends_keeps_what_it_counted() -> None:
    frame = drops({("a", "x"): [5, 9, N, N], ("b", "x"): [1, 1, 1, 1]})
    assert total(counters.increase(frame)) == 4


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[float], float]:
    """Samples of one in-process counter, and what was counted after the first of them."""
    samples: list[float] = [float(draw(st.integers(0, 50)))]
    counted = 0.0
    for _ in range(draw(st.integers(1, 30))):
        kind = draw(st.sampled_from(["grow", "grow", "grow", "gap", "reset"]))
        more = float(draw(st.integers(0, 100)))
        last = next(value for value in reversed(samples) if not np.isnan(value))
        if kind == "gap":
            samples.append(N)
        elif kind == "reset" and more < last:
            samples.append(more)
            counted += more
        else:
            samples.append(last + more)
            counted += more
    return samples, counted


@settings(deadline=None)
@given(histories())
def test_whatever_happens_the_total_is_what_was_counted(history: tuple[list[float], float]) -> None:
    samples, counted = history
    frame = label_frame({("hubble_drop_total", "a"): samples}, "__name__ instance")
    assert total(counters.increase(frame)) == pytest.approx(counted)


@settings(deadline=None)
@given(st.lists(histories(), min_size=2, max_size=4), st.integers(0, 2**16))
def test_the_order_of_series_does_not_matter(
    drawn: list[tuple[list[float], float]], seed: int
) -> None:
    length = min(len(samples) for samples, _ in drawn)
    columns = {("a", f"r{i}"): samples[:length] for i, (samples, _) in enumerate(drawn)}
    frame = drops(columns)
    shuffled = frame.iloc[:, np.random.default_rng(seed).permutation(frame.shape[1])]
    one, other = counters.increase(frame), counters.increase(shuffled)
    pd.testing.assert_frame_equal(one, other[list(one.columns)])


# Pods that are replaced


@pytest.mark.parametrize("anchor", ["instance", "node"])
@pytest.mark.parametrize(
    "label", ["controller_revision_hash", "helm_sh_chart", "pod", "pod_template_generation"]
)
def test_a_series_continues_whatever_of_its_pod_changes(anchor: str, label: str) -> None:
    frame = label_frame(
        {("a", "1", "x"): [1000, 1001, N, N], ("a", "2", "x"): [N, N, 1005, 1006]},
        f"{anchor} {label} reason",
    )
    assert total(counters.increase(frame, pinned=False)) == 1 + 4 + 1


@pytest.mark.parametrize("instance", ["", "a"])
def test_pods_whose_target_is_not_known_are_kept_apart(instance: str) -> None:
    history: dict[tuple[str, ...], list[float]]
    history = {(instance, "p1", "x"): [10, 11, 13], ("", "p2", "x"): [5, 6, 7]}
    frame = label_frame(history, "instance pod reason")
    assert total(counters.increase(frame, pinned=False)) == 3 + 2


def test_an_increase_between_two_pods_is_that_of_the_next_one() -> None:
    frame = label_frame(
        {
            ("a", "cilium-1", "x"): [1000, 1001, N, N, N, N],
            ("a", "cilium-2", "x"): [N, N, N, 1007, 1008, N],
        },
        "instance pod reason",
    )
    grown = counters.increase(frame, pinned=False)
    expected = [[N, 1, N, N, N, N], [N, N, 3, 3, 1, N]]
    np.testing.assert_array_equal(grown.to_numpy().T, expected)


# Gaps


@pytest.mark.parametrize(
    ("values", "increases", "events"),
    [
        ([10, N, 12], [N, 1, 1], []),
        ([10, 11, 12, N, 14, 15], [N, 1, 1, 1, 1, 1], []),
        ([10, 11, 12, N, N, 15, 15], [N, 1, 1, 1, 1, 1, 0], [("gap", 3)]),
        ([10, 11, 12, N, N, 6, 6], [N, 1, 1, 2, 2, 2, 0], [("reset", 6), ("gap", 6)]),
        # Sampled every second row: three times that is a gap.
        ([0, N, 2, N, 4, N, N, N, 8, N, 10], [N] + [1] * 10, []),
        ([0, N, 2, N, 4, N, N, N, N, N, 10, N, 12], [N] + [1] * 12, [("gap", 6)]),
    ],
)
def test_a_gap_is_one_of_three_times_the_usual_distance(
    values: list[float], increases: list[float], events: list[tuple[str, float]]
) -> None:
    reading = counters.read(label_frame({("a",): values}, "instance"), pinned=False)
    np.testing.assert_array_equal(reading.increase.iloc[:, 0], increases)
    assert list(zip(reading.events["event"], reading.events["amount"], strict=True)) == events


def test_a_count_that_began_anew_had_not_begun_when_its_target_was_last_scraped() -> None:
    frame = label_frame(
        {("a", "x"): [10, N, N, N, 6, 7], ("a", "y"): [1, 1, 1, N, N, 1]}, "instance reason"
    )
    reading = counters.read(frame, pinned=False)
    grown = reading.increase.xs("x", level="reason", axis=1).iloc[:, 0]
    np.testing.assert_array_equal(grown, [N, 0, 0, 3, 3, 1])
    # While its target was scraped nothing was missing.
    assert reading.events["event"].tolist() == ["reset"]


def test_a_birth_is_spread_from_the_last_scrape_of_its_target() -> None:
    frame = label_frame(
        {("a", "x"): [N, N, N, N, 6, 7], ("a", "y"): [1, 1, N, N, 1, 1]}, "instance reason"
    )
    grown = counters.increase(frame, pinned=False).xs("x", level="reason", axis=1).iloc[:, 0]
    np.testing.assert_array_equal(grown, [N, N, 2, 2, 2, 1])
    once = drops({("a", "x"): [N, N, 6, N, N], ("a", "y"): [1, 1, 1, 1, 1]})
    grown = counters.increase(once).xs("x", level="reason", axis=1).iloc[:, 0]
    np.testing.assert_array_equal(grown, [N, N, 6, N, N])


@pytest.mark.parametrize(("missing", "gained"), [(10, 20), (11, 30)])
def test_a_series_may_be_missing_for_five_minutes(missing: int, gained: float) -> None:
    """Then it counts from 0 again, as its target was scraped."""
    frame = drops({("a", "x"): [10, *[N] * missing, 30], ("a", "y"): [5.0] * (missing + 2)})
    assert total(counters.increase(frame)) == gained
