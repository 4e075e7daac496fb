"""What the tables of several topics are made of: expected amounts, shares, rates. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals

if TYPE_CHECKING:
    from collections.abc import Sequence


def compare(
    now: pd.DataFrame, baseline: pd.DataFrame, by: Sequence[str], *, amount: str, scale: float
) -> pd.DataFrame:
    """Give what was counted in the window beside what the baseline makes one expect.

    Parameters
    ----------
    now, baseline
        Label frames of counts per step, in the window and in the baseline.
    by
        Labels to keep.
    amount
        Name of the column with the counts of the window.
    scale
        Length of the window in lengths of the baseline; NaN without a baseline.

    Returns
    -------
    pandas.DataFrame
        Index ``by``; the counts, ``expected`` (of the baseline, for a window of this length) and
        ``change``.
    """
    table = pd.DataFrame({amount: totals(now, by), "expected": totals(baseline, by)}).fillna(0.0)
    table["expected"] *= scale
    table["change"] = table[amount] - table["expected"]
    return table


def shares(amounts: pd.Series) -> pd.Series:
    """Give the share of each amount in all of them; NaN if they add up to nothing."""
    whole = amounts.sum()
    return amounts / whole if whole else pd.Series(np.nan, index=amounts.index)


def most_changed(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """Give the rows with the largest ``change``, rises and falls alike, as plain columns."""
    table = table.reset_index()
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order[:most]].reset_index(drop=True)


def rates(counts: pd.DataFrame, by: str, *, seconds: float) -> pd.DataFrame:
    """Give rates over time, one plain column per value of a label [1/s].

    Parameters
    ----------
    counts
        Label frame of counts per step.
    by
        The label.
    seconds
        Length of a step [s].
    """
    summed = frames.group(counts, [by]) / seconds
    summed.columns = summed.columns.get_level_values(by)
    return summed


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Give amounts as whole numbers, as they were counted; shares stay as they are."""
    whole = [name for name, dtype in table.dtypes.items() if dtype.kind == "f" and name != "share"]
    return table.assign(**{str(name): table[name].round().astype("int64") for name in whole})
