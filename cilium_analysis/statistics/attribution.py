"""A total changed: which combinations of labels explain it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.errors import ParameterError
from cilium_analysis.statistics.combinations import Cause, Lattice, Search, distinct, total

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from cilium_analysis.statistics.combinations import Floats, Integers

#: Stands for a dimension that is left open.
ANY = "*"
#: How often `explain` searches what is still unexplained.
PASSES = 3
#: The rest is named by the labels of the leaves that have this share of it.
MOST = 0.95
SUMS = Search()
#: The leaves of one cause differ more in ratios; their differences are no second cause.
RATIOS = Search(relative=0.3)


def attribute(
    before: pd.Series,
    after: pd.Series,
    *,
    exposure: tuple[pd.Series, pd.Series] | None = None,
) -> pd.DataFrame:
    """Explain the change of a total, or of a ratio, by the combinations of labels that changed.

    Parameters
    ----------
    before, after
        Amounts of the leaves, not negative: a level of the index for each dimension. A leaf may be
        missing on either side; one that occurs twice is added up, and NaN counts as missing. For a
        ratio these are the numerators.
    exposure
        The denominators before and after, such as requests for errors or for seconds of latency.

    Returns
    -------
    pandas.DataFrame
        A row per combination, largest change first, then one of all ``"*"`` for the rest. Index:
        the dimensions of `before`, with ``"*"`` where one is left open. Columns, float64:
        ``change``, which adds up to the change of the total or ratio [unit of it], and ``share``
        of the whole change, NaN where that is 0. A leaf of several rows counts for the most
        specific one. For a ratio, a row's change is how far its leaves are above the old overall
        ratio, weighted by their part of the exposure, after minus before.

    Raises
    ------
    ParameterError
        Amounts that are negative, infinite or no numbers; dimensions that differ; a label that is
        missing (NaN) or ``"*"``.

    Notes
    -----
    A change of all leaves alike has no cause among the labels: it stays in the last row.

    Examples
    --------
    Drops of one workload grew on both of its nodes:

    >>> names = ["workload", "node"]
    >>> leaves = pd.MultiIndex.from_product([["web", "db"], ["worker-1", "worker-2"]], names=names)
    >>> attribute(pd.Series(10.0, leaves), pd.Series([90.0, 94.0, 10.0, 11.0], leaves)).round(2)
                   change  share
    workload node
    web      *      164.0   0.99
    *        *        1.0   0.01
    """
    sides = [before, after, *(exposure or ())]
    names = _names(sides)
    leaves = _align([_checked(side) for side in sides], _order(names))
    amounts = leaves.amounts
    if exposure is None:
        search, expected, changes = SUMS, amounts[0], amounts[1] - amounts[0]
    else:
        expected, changes = _expected(amounts[0], *amounts[2:]), _ratio_changes(*amounts)
        search = RATIOS
    lattice = Lattice(leaves.codes)
    causes = search.find(lattice, expected, amounts[1]) if len(leaves.codes) else []
    table = _table(lattice, causes, leaves.labels, changes)
    return _frame(table, float(changes.sum()), before.index if len(before) else _named(sides))


def explain(
    before: pd.Series, after: pd.Series, *, worth: float
) -> list[tuple[dict[str, str], float]]:
    """Name the combinations that have most of the change of a total, and describe the rest.

    `attribute` names leaves that changed alike: where a cause changed one method more than the
    others, it names that method. Here the rest is searched again, so that it has a name too.

    Parameters
    ----------
    before, after
        As for `attribute`.
    worth
        Combinations with less than this share of the change stay in the last entry.

    Returns
    -------
    list
        Labels and change of each combination [unit of the amounts], the most specific first; each
        without the leaves of those before it. The last entry is the rest: its labels are those
        that nearly all of it shares. The changes add up to that of the total.

    Raises
    ------
    ParameterError
        As `attribute` does.
    """
    leaves = before.index.union(after.index)
    before, after = (side.reindex(leaves).fillna(0.0) for side in (before, after))
    least, found = worth * abs(float(after.sum() - before.sum())), []
    for _ in range(PASSES):
        named = attribute(before, after)["change"].iloc[:-1]
        keys = named.index[named.abs() >= least]
        if not len(keys):
            break
        for key in sorted(keys, key=lambda key: int(_below(before.index, key).sum())):
            held = _below(before.index, key)
            found.append((_chosen(leaves.names, key), float((after - before)[held].sum())))
            before, after = before[~held], after[~held]
    rest = after - before
    return [*found, (_shared(rest), float(rest.sum()))]


def _chosen(names: Sequence[Hashable], key: object) -> dict[str, str]:
    pairs = zip(names, key if isinstance(key, tuple) else (key,), strict=True)
    return {str(name): str(value) for name, value in pairs if value not in (ANY, "")}


def _below(leaves: pd.Index, key: object) -> np.ndarray:
    """Tell which leaves belong to a combination."""
    held = np.ones(len(leaves), dtype=bool)
    for name, value in zip(leaves.names, key if isinstance(key, tuple) else (key,), strict=True):
        if value != ANY:
            held &= np.asarray(leaves.get_level_values(str(name)) == value)
    return held


def _shared(changes: pd.Series) -> dict[str, str]:
    """Give the labels that are shared by the few leaves with most of a change."""
    along = changes * np.sign(changes.sum())
    ordered = along[along > 0].sort_values(ascending=False, kind="stable")
    held = ordered[ordered.cumsum().shift(fill_value=0.0) < MOST * ordered.sum()]
    if not len(held) or len(held) == len(changes):
        return {}
    values = {str(n): set(held.index.get_level_values(str(n))) for n in held.index.names}
    return {name: str(one.pop()) for name, one in values.items() if len(one) == 1 and one != {""}}


@dataclass(frozen=True)
class _Leaves:
    """Leaves in one order, which does not depend on that of the rows or dimensions.

    Parameters
    ----------
    codes
        Positions of labels, a row per leaf.
    labels
        Of each dimension.
    amounts
        Of the leaves, for each side.
    """

    codes: Integers
    labels: list[list[object]]
    amounts: list[Floats]


def _named(sides: Sequence[pd.Series]) -> pd.Index:
    """Give the first index that is not empty."""
    return next((side.index for side in sides if len(side)), sides[0].index)


def _names(sides: Sequence[pd.Series]) -> list[Hashable]:
    """Give the dimensions; an empty side may have any index."""
    for side in sides:
        if not isinstance(side, pd.Series):
            raise ParameterError(f"attribution needs Series, not {type(side).__name__}")
    names = list(_named(sides).names)
    for side in sides:
        other = list(side.index.names)
        if len(side) and Counter(other) != Counter(names):
            raise ParameterError(f"the dimensions differ: {names} and {other}")
    return names


def _order(names: list[Hashable]) -> list[Hashable] | None:
    """Give the dimensions in a fixed order; None where several have the same name."""
    return sorted(names, key=repr) if len(set(names)) == len(names) else None


def _checked(side: pd.Series) -> pd.Series:
    """Refuse values that are no amounts, and leave out missing ones."""
    values = pd.to_numeric(side, errors="coerce").astype("float64")
    if (values.isna() & side.notna()).any():
        raise ParameterError("an amount is no number: attribution needs numbers")
    if (values < 0).any() or np.isinf(values.to_numpy()).any():
        raise ParameterError("an amount is negative or infinite: attribution needs 0 or more")
    return values.dropna()


def _align(sides: Sequence[pd.Series], order: list[Hashable] | None) -> _Leaves:
    """Give every leaf its amount on every side, 0 where it is missing."""
    held = [side.index for side in sides if len(side)]
    count = held[0].nlevels if held else 0
    numbered = [_number([_level(index, at, order) for index in held]) for at in range(count)]
    codes = np.stack([one for one, _ in numbered], axis=1) if held else np.empty((0, 1), np.int64)
    first, leaf = distinct(codes)
    amounts, begin = [], 0
    for side in sides:
        own = leaf[begin : begin + len(side)]
        amounts.append(_summed(own, side.to_numpy(), len(first)))
        begin += len(side)
    return _Leaves(codes[first], [labels for _, labels in numbered], amounts)


def _summed(own: Integers, values: Floats, count: int) -> Floats:
    """Add up the amounts of each leaf, in order of size: a sum of floats depends on the order."""
    if np.bincount(own).max(initial=0) > 1:
        order = np.lexsort((values, own))
        own, values = own[order], values[order]
    return total(own, values, count)


def _level(index: pd.Index, at: int, order: list[Hashable] | None) -> tuple[Integers, list[object]]:
    """Give the codes and the labels of one dimension."""
    place = at if order is None else list(index.names).index(order[at])
    if isinstance(index, pd.MultiIndex):
        return np.asarray(index.codes[place], dtype=np.int64), list(index.levels[place])
    codes, labels = pd.factorize(index)
    return codes.astype(np.int64), list(labels)


def _number(levels: list[tuple[Integers, list[object]]]) -> tuple[Integers, list[object]]:
    """Give the labels of all sides the same numbers, in the order of their text."""
    used: set[object] = set()
    for codes, labels in levels:
        if (codes < 0).any():
            raise ParameterError('a label is missing (NaN): name it, for instance ""')
        used.update(labels[code] for code in np.flatnonzero(np.bincount(codes)))
    if ANY in used:
        raise ParameterError(f"a label is {ANY!r}, which stands for any label: rename it")
    ordered = sorted(used, key=lambda label: (str(label), type(label).__name__))
    place = {label: number for number, label in enumerate(ordered)}
    mapped = [
        np.array([place.get(label, -1) for label in labels], dtype=np.int64)[codes]
        for codes, labels in levels
    ]
    return np.concatenate(mapped), ordered


def _expected(numerators: Floats, below: Floats, now: Floats) -> Floats:
    """Give the numerators that the new exposure has at the old ratios.

    A ratio with little exposure is moved towards the overall ratio.
    """
    if not below.sum():
        return np.zeros_like(now)
    overall = numerators.sum() / below.sum()
    trust = float(np.median(below[below > 0]))
    ratios = (numerators + trust * overall) / (below + trust)
    expected: Floats = now * ratios
    return expected


def _ratio_changes(above: Floats, above_now: Floats, below: Floats, now: Floats) -> Floats:
    """Give what each leaf adds to the change of the overall ratio."""
    if not below.sum() or not now.sum():
        raise ParameterError("the exposure of one side is 0: there is no ratio to compare")
    overall = above.sum() / below.sum()
    changes: Floats = (above_now - overall * now) / now.sum() - (
        above - overall * below
    ) / below.sum()
    return changes


def _table(
    lattice: Lattice, causes: list[Cause], labels: list[list[object]], changes: Floats
) -> list[tuple[tuple[object, ...], float]]:
    """Give the labels and change of each combination; a leaf counts for the most specific one."""
    rows = []
    open_ = np.ones(len(changes), dtype=bool)
    for cause in sorted(causes, key=lambda one: int(one.leaves.sum())):
        change = float(changes[cause.leaves & open_].sum())
        open_ &= ~cause.leaves
        rows.append((_combination(lattice, cause, labels), change))
    return sorted(rows, key=lambda row: (-abs(row[1]), [str(label) for label in row[0]]))


def _combination(lattice: Lattice, cause: Cause, labels: list[list[object]]) -> tuple[object, ...]:
    """Give the labels of a combination; if it has only one leaf, all labels of that leaf."""
    only = np.flatnonzero(cause.leaves)
    if len(only) == 1:
        return tuple(
            names[code] for names, code in zip(labels, lattice.leaves[only[0]], strict=True)
        )
    cuboid = lattice.cuboids[cause.cuboid]
    chosen = dict(zip(cuboid.dimensions, cuboid.labels[cause.group], strict=True))
    return tuple(names[chosen[at]] if at in chosen else ANY for at, names in enumerate(labels))


def _frame(
    table: list[tuple[tuple[object, ...], float]], whole: float, like: pd.Index
) -> pd.DataFrame:
    """Add the row of the rest, and bring the dimensions into the caller's order."""
    names = list(like.names)
    order = _order(names) or names
    place = [order.index(name) for name in names] if _order(names) else list(range(len(names)))
    rest = whole - sum(change for _, change in table)
    keys = [tuple(key[at] for at in place) for key, _ in table] + [(ANY,) * len(names)]
    changes = np.array([*(change for _, change in table), rest])
    index = (
        pd.MultiIndex.from_tuples(keys, names=names)
        if isinstance(like, pd.MultiIndex)
        else pd.Index([key[0] for key in keys], name=names[0])
    )
    share = changes / whole if whole else np.full(len(changes), np.nan)
    return pd.DataFrame({"change": changes, "share": share}, index=index)
