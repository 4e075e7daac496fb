"""What titles of findings are made of: ends, nodes, rates, durations. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.texts import number

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping, Sequence

#: One source, destination or status is named when it has this share of a rise;
NAMED_FROM = 0.8
#: with less than this the title says "mostly", as its numbers are of the whole.
WHOLE = 0.99
#: An account names values that have so much of it together, and need not say more.
NEARLY_ALL = 0.95
#: Failures of a smaller share of the traffic they belong to are no warning, however many;
TRIFLE = 0.001
#: nor is a handful of a share that is not much larger.
FEW = 100.0
FEW_SHARE = 0.01


def total(counts: pd.DataFrame) -> float:
    """Give the sum of all values."""
    return float(counts.to_numpy(dtype="float64", na_value=0.0).sum())


def only(counts: pd.DataFrame, labels: Mapping[str, str | Collection[str]]) -> pd.DataFrame:
    """Give the series with these labels; a label that a frame lacks is ``""``.

    Parameters
    ----------
    counts
        A label frame.
    labels
        For each label the value, or the values, to keep.
    """
    for name, wanted in labels.items():
        chosen = [wanted] if isinstance(wanted, str) else list(wanted)
        known = name in counts.columns.names
        texts = counts.columns.get_level_values(name) if known else [""] * counts.shape[1]
        counts = counts.loc[:, pd.Index(texts).isin(chosen)]
    return counts


def trifling(amount: float, share: float) -> bool:
    """Tell whether failures are too few, or too small a part of their traffic, for a warning.

    Parameters
    ----------
    amount
        Number of failures.
    share
        Of the lookups, requests or packets that they are part of, 0 to 1.
    """
    return share < TRIFLE or (share < FEW_SHARE and amount < FEW)


def between(parties: Mapping[str, str], most: Container[str] = ()) -> str:
    """Name source and destination, as far as they are known, for the middle of a sentence.

    Parameters
    ----------
    parties
        ``source`` and ``destination``.
    most
        Those of the two that have most of it, and not all: from `largest`.
    """
    ends = {"from": "source", "to": "destination"}
    return "".join(
        f" {'mostly ' if end in most else ''}{word} {parties[end]}"
        for word, end in ends.items()
        if parties.get(end)
    )


def largest(sums: pd.Series) -> tuple[str, bool]:
    """Name the one value of a label that has most of the counts.

    Parameters
    ----------
    sums
        Of each value.

    Returns
    -------
    tuple
        The value, ``""`` if none has most; and whether it has less than all of it.
    """
    if not sums.sum() or sums.max() < NAMED_FROM * sums.sum():
        return "", False
    name = str(sums.idxmax())
    return name, beyond(sums, [name])


def several(sums: pd.Series) -> str:
    """Name up to three values of a label that together have nearly all of the counts.

    Parameters
    ----------
    sums
        Of each value.

    Returns
    -------
    str
        Such as ``a and b``; ``mostly a``, if one has most of it; empty, if none of this is so.
    """
    ranked = sums[sums > 0].sort_values(ascending=False, kind="stable")
    for most in range(1, min(3, len(ranked)) + 1):
        names = [str(name) for name in ranked.index[:most]]
        if ranked.iloc[:most].sum() >= NEARLY_ALL * ranked.sum():
            return f"{', '.join(names[:-1])} and {names[-1]}" if most > 1 else names[0]
    name, _ = largest(ranked)
    return f"mostly {name}" if name else ""


def place(named: Sequence[str], nodes: int, *, elsewhere: bool = False, ranked: bool = True) -> str:
    """Name up to three nodes, or say how many there are; nameless where all are added up.

    Parameters
    ----------
    named
        Nodes.
    nodes
        How many there are in all.
    elsewhere
        Whether other nodes have a part too: from `beyond`.
    ranked
        Whether the first one has most of it.
    """
    if not any(named):
        return f"somewhere on {nodes} nodes" if nodes > 1 else "on an unknown node"
    mostly = "mostly " if elsewhere else ""
    if len(named) <= 3:
        # Of all nodes of a cluster together only the cluster is known.
        return f"{mostly}on " + ", ".join(name.rstrip("/") for name in named)
    # Of all nodes alike none has most of it.
    ranked = ranked and len(named) < nodes
    first = f", {'above all' if elsewhere else 'most on'} {named[0]}" if ranked else ""
    return f"{mostly}on {len(named)} of {nodes} nodes{first}"


def beyond(sums: pd.Series, named: Sequence[str]) -> bool:
    """Tell whether others than those named have a part of the sum that matters."""
    return bool(sums[list(named)].sum() < WHOLE * sums.sum())


def short(value: float) -> str:
    """Write a rate with three digits."""
    return "an unknown rate" if math.isnan(value) else number(value)
