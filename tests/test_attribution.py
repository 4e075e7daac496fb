from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilium_analysis.errors import ParameterError
from cilium_analysis.statistics.attribution import attribute, explain

NAMES = ["reason", "direction", "node"]
SIZES = (5, 3, 8)
seeds = st.integers(0, 10_000)


def leaves(seed: int) -> pd.Series:
    """All combinations of a few labels, large and small."""
    labels = [[f"{name}-{n}" for n in range(size)] for name, size in zip(NAMES, SIZES, strict=True)]
    index = pd.MultiIndex.from_product(labels, names=NAMES)
    values = np.random.default_rng(seed).lognormal(4.0, 1.0, len(index))
    return pd.Series(values, index=index)


def inside(index: pd.Index, combination: tuple[str, ...]) -> np.ndarray:
    columns = [
        index.get_level_values(at) == label for at, label in enumerate(combination) if label != "*"
    ]
    chosen: np.ndarray = np.all(columns, axis=0)
    return chosen


def named(table: pd.DataFrame) -> set[tuple[str, ...]]:
    return set(table.index[:-1])


@st.composite
def combinations(draw: st.DrawFn) -> tuple[str, ...]:
    depth = draw(st.sampled_from([(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]))
    return tuple(
        f"{NAMES[at]}-{draw(st.integers(0, SIZES[at] - 1))}" if at in depth else "*"
        for at in range(3)
    )


tables = st.tuples(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=12),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=12),
    seeds,
)


@pytest.mark.slow
@settings(max_examples=200)
@given(tables)
def test_changes_add_up_whatever_the_tables_hold(
    drawn: tuple[list[tuple[str, str]], list[tuple[str, str]], int],
) -> None:
    """Births, deaths, duplicates, zeros, nothing at all."""
    rng = np.random.default_rng(drawn[2])
    sides = [
        pd.Series(
            rng.choice([0.0, 1.0, 7.5, 1e6], len(rows)),
            index=pd.MultiIndex.from_tuples(rows, names=["one", "other"])
            if rows
            else pd.MultiIndex.from_arrays([[], []], names=["one", "other"]),
        )
        for rows in drawn[:2]
    ]
    table = attribute(*sides)
    whole = sides[1].sum() - sides[0].sum()
    assert table["change"].sum() == pytest.approx(whole, abs=1e-6)
    assert table.index[-1] == ("*", "*")
    assert ("*", "*") not in named(table)
    assert table.index.is_unique
    if whole:
        assert table["share"].sum() == pytest.approx(1.0)
    else:
        assert table["share"].isna().all()


@settings(deadline=None)
@given(seed=seeds, cause=combinations(), factor=st.sampled_from([0.0, 0.3, 2.0, 5.0, 50.0]))
def test_one_cause_without_noise_is_named_exactly(
    seed: int, cause: tuple[str, ...], factor: float
) -> None:
    before = leaves(seed)
    after = before.copy()
    chosen = inside(before.index, cause)
    after[chosen] *= factor
    table = attribute(before, after)
    assert named(table) == {cause}
    assert table["change"].iloc[0] == pytest.approx((after - before)[chosen].sum())
    assert table["share"].iloc[0] == pytest.approx(1.0)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_two_causes_in_noise_are_both_named(noise: float) -> None:
    causes = {("reason-1", "direction-0", "*"), ("*", "*", "node-3")}
    hits = 0
    for seed in range(20):
        before = leaves(seed)
        after = before * np.random.default_rng(seed + 1).normal(1.0, noise, len(before))
        for cause, factor in zip(sorted(causes), (3.0, 6.0), strict=True):
            after[inside(before.index, cause)] *= factor
        hits += named(attribute(before, after)) == causes
    assert hits >= 19


@settings(deadline=None)
@given(seed=seeds, cause=combinations())
def test_a_birth_is_named(seed: int, cause: tuple[str, ...]) -> None:
    after = leaves(seed)
    before = after[~inside(after.index, cause)]
    assert named(attribute(before, after)) == {cause}
    assert named(attribute(after, before)) == {cause}


def test_one_leaf_that_is_born_is_named_whole() -> None:
    before = leaves(1)
    born = pd.Series({("new", "direction-1", "node-2"): 900.0}).rename_axis(NAMES)
    table = attribute(before, pd.concat([before, born]))
    assert named(table) == {("new", "direction-1", "node-2")}


@settings(deadline=None)
@given(seed=seeds, factor=st.sampled_from([0.0, 0.5, 1.0, 1.7, 10.0]))
def test_a_change_of_everything_alike_names_nothing(seed: int, factor: float) -> None:
    before = leaves(seed)
    noise = np.random.default_rng(seed + 1).normal(1.0, 0.03, len(before))
    table = attribute(before, before * factor * noise)
    assert not named(table)


def test_a_cause_on_top_of_a_change_of_everything_is_named() -> None:
    before = leaves(3)
    after = before * 2.0
    after[inside(before.index, ("*", "direction-2", "node-1"))] *= 5.0
    assert named(attribute(before, after)) == {("*", "direction-2", "node-1")}


@pytest.mark.parametrize("mean", [3.0, 30.0, 3000.0])
def test_counting_noise_alone_names_nothing(mean: float) -> None:
    index = leaves(0).index
    alarms = 0
    for seed in range(30):
        sides = np.random.default_rng(seed).poisson(mean, (2, len(index))).astype(float)
        alarms += bool(named(attribute(*(pd.Series(side, index=index) for side in sides))))
    assert alarms <= 2


@pytest.mark.slow
@settings(deadline=None)
@given(
    seed=seeds,
    order=st.sampled_from(list(itertools.permutations(NAMES))),
    first=combinations(),
    second=combinations(),
)
def test_neither_the_order_of_rows_nor_of_dimensions_matters(
    seed: int, order: tuple[str, ...], first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    before = leaves(seed)
    after = before * np.random.default_rng(seed + 1).normal(1.0, 0.1, len(before))
    for cause in (first, second):
        after[inside(before.index, cause)] *= 4.0
    usual = attribute(before, after)
    mixed = [
        side.reorder_levels([NAMES.index(name) for name in order]).sample(
            frac=1.0, random_state=seed
        )
        for side in (before, after)
    ]
    table = attribute(*mixed)
    assert list(table.index.names) == list(order)
    pd.testing.assert_frame_equal(table.reorder_levels(NAMES), usual, check_exact=True)


@pytest.mark.slow
@settings(deadline=None)
@given(seed=seeds, cause=combinations(), scale=st.sampled_from([1e-9, 1e-3, 1024.0, 1e12]))
def test_the_unit_does_not_matter(seed: int, cause: tuple[str, ...], scale: float) -> None:
    before = leaves(seed)
    after = before * np.random.default_rng(seed + 1).normal(1.0, 0.02, len(before))
    after[inside(before.index, cause)] *= 4.0
    usual, scaled = attribute(before, after), attribute(before * scale, after * scale)
    assert list(usual.index) == list(scaled.index)
    np.testing.assert_allclose(scaled["change"], usual["change"] * scale, rtol=1e-6)


@settings(deadline=None)
@given(seed=seeds, cause=combinations(), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_the_change_of_a_ratio_adds_up_and_is_named(
    seed: int, cause: tuple[str, ...], scale: float
) -> None:
    """A window ten times as long is no change of the ratio."""
    below = leaves(seed) * 100.0
    above = below * 0.02
    now = below * scale
    errors = now * 0.02
    errors[inside(below.index, cause)] *= 10.0
    table = attribute(above, errors, exposure=(below, now))
    whole = errors.sum() / now.sum() - above.sum() / below.sum()
    assert table["change"].sum() == pytest.approx(whole)
    assert table["share"].sum() == pytest.approx(1.0)
    assert named(table) == {cause}
    assert table["share"].iloc[0] == pytest.approx(1.0)


def test_the_mix_alone_is_no_combination_s_ratio() -> None:
    below = leaves(5)
    ratios = np.where(inside(below.index, ("reason-0", "*", "*")), 0.5, 0.01)
    now = below.copy()
    now[inside(below.index, ("reason-0", "*", "*"))] *= 3.0
    table = attribute(below * ratios, now * ratios, exposure=(below, now))
    assert table["change"].sum() > 0
    assert table["share"].sum() == pytest.approx(1.0)


def test_a_plain_index_will_do() -> None:
    before = pd.Series([10.0, 10.0, 10.0], index=pd.Index(["a", "b", "c"], name="reason"))
    table = attribute(before, before + np.array([0.0, 0.0, 90.0]))
    assert list(table.index) == ["c", "*"]
    assert table.index.name == "reason"
    assert list(table["change"]) == [90.0, 0.0]


def test_nothing_gives_the_last_row_alone() -> None:
    empty = leaves(0).iloc[:0]
    for sides in ((empty, empty), (pd.Series(dtype=float), pd.Series(dtype=float))):
        table = attribute(*sides)
        assert table["change"].tolist() == [0.0]
        assert table["share"].isna().all()
    zero = leaves(0) * 0.0
    assert attribute(zero, zero)["change"].tolist() == [0.0]


def test_an_empty_side_needs_no_dimensions() -> None:
    before = leaves(0)
    table = attribute(pd.Series(dtype=float), before)
    assert list(table.index.names) == NAMES
    assert table["change"].sum() == pytest.approx(before.sum())


def test_what_is_missing_counts_as_absent_and_what_is_twice_is_added_up() -> None:
    before = leaves(0)
    halves = pd.concat([before / 2.0, before / 2.0])
    gaps = pd.concat([before, before.rename(lambda label: f"{label}?", level=0) * np.nan])
    assert not attribute(halves, gaps)["change"].round(6).any()


@pytest.mark.parametrize("label", ["", "reason-1,", "{}", "\n", '"', "**", "%s", "нода", "0"])
def test_labels_may_hold_any_text(label: str) -> None:
    before = leaves(4).rename({"reason-1": label}, level="reason")
    after = before.copy()
    after[inside(before.index, (label, "*", "*"))] *= 3.0
    assert named(attribute(before, after)) == {(label, "*", "*")}


def test_numbers_will_do_as_labels() -> None:
    before = leaves(4).rename({f"node-{n}": n for n in range(8)}, level="node")
    after = before.copy()
    after[before.index.get_level_values("node") == 3] *= 3.0
    assert named(attribute(before, after)) == {("*", "*", 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda side: side.rename({"node-1": "*"}, level="node"), "stands for any"),
        (lambda side: side.rename({"node-1": np.nan}, level="node"), "missing"),
        (lambda side: side.rename_axis(["reason", "direction", "pod"]), "dimensions differ"),
        (lambda side: side.droplevel("node"), "dimensions differ"),
        (lambda side: -side, "negative"),
        (lambda side: side * np.inf, "infinite"),
        (lambda side: side.astype(str) + "?", "no number"),
        (lambda side: side.to_frame(), "needs Series"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(change, message) -> None:  # type: ignore[no-untyped-def]
    side = leaves(0)
    with pytest.raises(ParameterError, match=message) as error:
        attribute(side, change(side))
    assert "\n" not in str(error.value)


def test_a_ratio_over_nothing_is_refused() -> None:
    side = leaves(0)
    with pytest.raises(ParameterError, match="exposure"):
        attribute(side, side, exposure=(side, side * 0.0))


# In words


def test_what_changed_less_than_the_rest_is_named_too() -> None:
    rows = {
        ("web", "GET", "1"): (95.0, 5238.0),
        ("web", "GET", "2"): (96.0, 5163.0),
        ("web", "GET", "3"): (90.0, 4555.0),
        ("web", "POST", "1"): (13.6, 4089.0),
        ("web", "POST", "2"): (17.6, 4086.0),
        ("web", "POST", "3"): (12.7, 3530.0),
        ("api", "GET", "4"): (115.5, 117.0),
        ("api", "GET", "5"): (95.6, 85.0),
        ("api", "POST", "4"): (49.1, 55.0),
        ("api", "POST", "5"): (56.9, 52.0),
    }
    index = pd.MultiIndex.from_tuples(list(rows), names=["destination", "method", "node"])
    before, after = (pd.Series([row[at] for row in rows.values()], index=index) for at in (0, 1))
    told = explain(before, after, worth=0.03)
    assert {frozenset(labels.items()) for labels, change in told if change > 100} == {
        frozenset({("destination", "web"), ("method", "POST")}),
        frozenset({("destination", "web")}),
    }
    assert sum(change for _, change in told) == pytest.approx(after.sum() - before.sum())


def test_what_no_combination_explains_is_left_open() -> None:
    index = pd.MultiIndex.from_product([["x", "y"], ["1", "2", "3"]], names=["source", "node"])
    before = pd.Series(100.0, index=index)
    ((labels, change),) = explain(before, before * 2, worth=0.03)
    assert (labels, change) == ({}, pytest.approx(600.0))


def test_the_words_add_up_whatever_is_named() -> None:
    rng = np.random.default_rng(7)
    index = pd.MultiIndex.from_product(
        [list("abc"), list("xyz"), list("123")], names=["k", "l", "m"]
    )
    for _ in range(20):
        before = pd.Series(rng.poisson(30.0, size=27).astype(float), index=index)
        after = before + rng.poisson(2.0, size=27)
        after[index.get_level_values("k") == rng.choice(list("abc"))] *= rng.uniform(0.0, 8.0)
        after[index.get_level_values("l") == rng.choice(list("xyz"))] *= rng.uniform(1.0, 4.0)
        told = explain(before, after, worth=0.03)
        assert sum(change for _, change in told) == pytest.approx(after.sum() - before.sum())


def places(**changes: float) -> tuple[pd.Series, pd.Series]:
    """Give 100 for each destination on each of three nodes, and what is given more or less."""
    index = pd.MultiIndex.from_product(
        [["", "api", "db", "web"], ["1", "2", "3"]], names=["destination", "node"]
    )
    before = pd.Series(100.0, index=index)
    more = [changes.get(f"{name or 'none'}_{node}", 0.0) for name, node in index]
    return before, before + np.array(more)


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"web_1": 50, "web_2": 60}, {"destination": "web"}),
        ({"web_1": 50, "api_1": 60, "db_1": 40}, {"node": "1"}),
        ({"web_1": 50}, {"destination": "web", "node": "1"}),
        # Nearly all of it, and what goes the other way.
        ({"web_1": 50, "web_2": 60, "api_3": 5}, {"destination": "web"}),
        ({"web_1": 50, "web_2": 60, "api_3": -40}, {"destination": "web"}),
        ({"web_1": -50, "web_2": -60, "api_3": 5}, {"destination": "web"}),
        ({"web_1": 50, "web_2": 60, "api_3": 20}, {}),
        # A label that is missing says nothing.
        ({"none_1": 50, "none_2": 60}, {}),
        ({"none_1": 50}, {"node": "1"}),
    ],
)
def test_the_rest_is_named_by_the_labels_that_nearly_all_of_it_has(
    changes: dict[str, float], labels: dict[str, str]
) -> None:
    told = explain(*places(**changes), worth=10.0)
    assert told == [(labels, pytest.approx(sum(changes.values())))]


@pytest.mark.parametrize("change", [300.0, -90.0])
def test_what_is_named_leaves_out_labels_that_are_missing_and_what_is_small(change: float) -> None:
    for name, labels in (("web", {"destination": "web"}), ("none", {})):
        alike = {f"{name}_{node}": change for node in "123"}
        told = explain(*places(**alike, api_2=0.01 * change), worth=0.1)
        assert told[0] == (labels, pytest.approx(3 * change))
        assert told[1:] == [({"destination": "api", "node": "2"}, pytest.approx(0.01 * change))]


def test_a_leaf_of_two_combinations_counts_for_the_more_specific_one() -> None:
    before = leaves(2)
    small = inside(before.index, ("reason-1", "direction-0", "*"))
    large = inside(before.index, ("*", "*", "node-3"))
    for factors in ((3.0, 6.0), (0.1, 6.0), (20.0, 0.1)):
        after = before * np.where(small, factors[0], 1.0) * np.where(large, factors[1], 1.0)
        table, change = attribute(before, after)["change"], after - before
        assert table["reason-1", "direction-0", "*"] == pytest.approx(change[small].sum())
        assert table["*", "*", "node-3"] == pytest.approx(change[large & ~small].sum())
        assert table["*", "*", "*"] == pytest.approx(0.0, abs=1e-6)
        assert table.iloc[:-1].abs().is_monotonic_decreasing


def test_the_change_of_a_ratio_by_hand() -> None:
    """Errors rise from 120 of 10,000 requests to 590 of 11,000; those of w3 from 30 to 500."""
    names = pd.Index([f"w{n}" for n in range(10)], name="workload")
    above, below = pd.Series(10.0, names), pd.Series(1000.0, names)
    above["w3"] = 30.0
    errors, requests = above.copy(), below.copy()
    errors["w3"], requests["w3"] = 500.0, 2000.0
    table = attribute(above, errors, exposure=(below, requests))
    assert list(table.index) == ["w3", "*"]
    whole = 590 / 11_000 - 0.012
    mine = (500 - 0.012 * 2000) / 11_000 - (30 - 0.012 * 1000) / 10_000
    assert list(table["change"]) == pytest.approx([mine, whole - mine])
    assert list(table["share"]) == pytest.approx([mine / whole, 1 - mine / whole])


def test_dimensions_may_have_the_same_name() -> None:
    index = pd.MultiIndex.from_product([list("abc"), list("xyz")], names=["label", "label"])
    before = pd.Series(100.0, index=index)
    after = before.copy()
    after[index.get_level_values(1) == "y"] *= 9.0
    table = attribute(before, after)
    assert (list(table.index), list(table["change"])) == ([("*", "y"), ("*", "*")], [2400.0, 0.0])
