"""Counters in pinned maps: which these are, and what of their values is no reset."""

from __future__ import annotations

import pandas as pd
import pytest

from cilium_analysis import counters
from tests.test_counters import drops, label_frame, total


@pytest.mark.parametrize(
    ("name", "pinned"),
    [
        ("cilium_drop_count_total", True),
        ("cilium_drop_bytes_total", True),
        ("cilium_forward_count_total", True),
        ("cilium_forward_bytes_total", True),
        ("cilium_drop_count_total_sum", False),
        ("hubble_drop_total", False),
    ],
)
def test_a_name_tells_whether_a_counter_is_pinned(name: str, pinned: bool) -> None:
    """One that is not counts from 0 again, also if it has the labels of one that is."""
    history: dict[tuple[str, ...], list[float]]
    history = {(name, "a", "x", "EGRESS"): [1000, 1010, 0, 1013]}
    frame = label_frame(history, "__name__ instance reason direction")
    assert total(counters.increase(frame)) == (13 if pinned else 10 + 1013)
    assert total(counters.increase(frame, pinned=not pinned)) == (10 + 1013 if pinned else 13)


@pytest.mark.parametrize(
    ("labels", "pinned"),
    [("reason direction", True), ("reason instance", False), ("direction instance", False)],
)
def test_without_a_name_reason_and_direction_tell(labels: str, pinned: bool) -> None:
    frame = label_frame({("x", "y"): [1000, 1010, 0, 1013]}, labels)
    assert total(counters.increase(frame)) == (13 if pinned else 10 + 1013)


@pytest.mark.parametrize(
    ("minutes", "zeros", "gained"),
    [(0.5, 9, 13), (0.5, 10, 1013), (1, 4, 13), (1, 5, 1013), (10, 1, 13), (10, 2, 1013)],
)
def test_a_copy_is_back_after_five_minutes_or_the_next_sample(
    minutes: float, zeros: int, gained: float
) -> None:
    frame = drops({("a", "x"): [1000.0, *[0.0] * zeros, 1013.0, 1013.0]})
    frame.index = pd.date_range(frame.index[0], periods=len(frame), freq=pd.Timedelta(minutes, "m"))
    assert total(counters.increase(frame)) == pytest.approx(gained)
    # Times that a server left out change nothing.
    frame.index = [*frame.index[:-1], frame.index[-1] + pd.Timedelta(hours=3)]
    assert total(counters.increase(frame)) == pytest.approx(gained)


@pytest.mark.parametrize(
    ("values", "gained", "events"),
    [
        ([1000, 1010, 920, 1020], 20, [("artefact", 1010)]),
        ([1000, 1010, 900, 1020], 10 + 900 + 120, [("reset", 900)]),
        ([1000, 1010, 1004, 1010], 10, [("artefact", 1010)]),
        ([1000, 1010, 1004, 1003, 1020], 20, [("artefact", 1010)]),
        ([1000, 1010, 1004, 0, 1020], 20, [("artefact", 1010)]),
        ([1000, 1010, 0, 1004, 1020], 20, [("artefact", 1010)]),
        ([1000, 0, 1005, 0, 1009], 9, [("artefact", 1000), ("artefact", 1005)]),
        ([1000, 0, 5, 1009], 1009, [("reset", 0)]),
        ([1000, 1000, 4, 4], 4, [("reset", 4)]),
        ([10, 1010, 0, 1013, 5, 6], 1000 + 3 + 5 + 1, [("artefact", 1010), ("reset", 5)]),
    ],
)
def test_what_falls_a_little_or_to_zero_and_returns_is_no_reset(
    values: list[float], gained: float, events: list[tuple[str, float]]
) -> None:
    reading = counters.read(drops({("a", "x"): values}))
    assert total(reading.increase) == gained
    assert list(zip(reading.events["event"], reading.events["amount"], strict=True)) == events


def test_a_fall_of_a_sum_says_by_how_much_and_when() -> None:
    frame = label_frame({("", "x"): [900, 910, 600, 600, 550]}, "node reason")
    events = counters.read(frame).events
    assert events["amount"].tolist() == [310, 50]
    assert events["time"].tolist() == [frame.index[2], frame.index[4]]
