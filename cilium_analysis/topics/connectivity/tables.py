"""Tables about connectivity: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.buckets import BOUNDS
from cilium_analysis.topics.connectivity.outages import detect
from cilium_analysis.topics.connectivity.reading import column, keys, names

if TYPE_CHECKING:
    from cilium_analysis.topics.connectivity.data import Connectivity
    from cilium_analysis.topics.connectivity.reading import Outage

#: What stands for a node that the data does not name.
UNKNOWN = "(target not in the data)"
#: What stands for all nodes of a cluster in parts, where the data does not name targets.
SPLIT = "(cluster in parts)"
OUTAGE_COLUMNS = (
    "node",
    "type",
    "observers",
    "share",
    "start",
    "end",
    "minutes",
    "at least",
    "at most",
    "flaps",
    "about",
)
PAIR_COLUMNS = ("source", "target", "type", "minutes", "start", "end", "asymmetric")
_ABOUT = {
    "target": "others did not reach it",
    "source": "it did not reach others",
    "observer": "it did not reach others, targets unknown",
    "unknown": "most observers missed a node",
    "split": "the nodes did not reach each other",
}


def outages(data: Connectivity) -> pd.DataFrame:
    """Give all outages, those of most observers first.

    Returns
    -------
    pandas.DataFrame
        ``node``, ``type``, ``observers`` (how many paths failed of how many), ``share`` of them,
        ``start``, ``end``, ``minutes`` between the two, pauses included, ``at least`` and ``at
        most`` as far as probes tell (NaN if it goes on beyond the window), ``flaps`` (how often it
        failed again after it had come back), and what it is ``about``.
    """
    rows = [
        (
            outage.node or ", ".join(outage.peers) or UNKNOWN,
            " and ".join(outage.types),
            f"{outage.failing:.0f} of {outage.among:.0f}",
            outage.value,
            outage.start,
            outage.end,
            outage.minutes,
            outage.at_least,
            outage.at_most,
            outage.times - 1,
            ("likely: " if outage.likely else "") + _ABOUT[outage.role],
        )
        for outage in detect(data)
    ]
    return pd.DataFrame(rows, columns=list(OUTAGE_COLUMNS))


def missed(data: Connectivity) -> pd.DataFrame:
    """Give how many others each agent itself said that it could not reach.

    Returns
    -------
    pandas.DataFrame
        ``node`` (the observer), ``type`` (node, or its health endpoint), ``most`` others missed
        at a time, ``minutes`` in which any were, ``now`` at the end; only agents that missed any,
        the worst first.
    """
    step = data.window.step.total_seconds() / 60
    table = frames.labels(data.now.missed)[["node", "type"]].assign(
        most=data.now.missed.max().to_numpy(),
        minutes=(data.now.missed > 0).sum().to_numpy() * step,
        now=data.now.missed.iloc[-1].fillna(0.0).to_numpy() if len(data.now.missed) else np.nan,
    )
    table = table[table["most"] > 0]
    order = ["minutes", "most"]
    return table.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def pairs(data: Connectivity, *, most: int = 20) -> pd.DataFrame:
    """Give the pairs of nodes of which the first could not reach the second.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``target``, ``type``, ``minutes`` in which it failed, ``start`` and ``end`` of
        the failures, and whether they are ``asymmetric`` (``yes``, ``no`` or ``unknown``): the
        target reached the source meanwhile. Empty where the data names no targets.
    """
    inside = frames.between(data.now.pairs, data.window.start, data.window.end)
    step = data.now.fine.step
    rows = []
    for source, target in sorted({key[:2] for key in keys(inside)}):
        levels = inside.columns.get_level_values
        both = inside.loc[:, (levels("source") == source) & (levels("target") == target)]
        failing = both.loc[:, both.gt(0).any()]
        failed = failing.index[failing.gt(0).any(axis=1)]
        if not len(failed):
            continue
        kinds = sorted({str(kind) for *_, kind in keys(failing)}, reverse=True)
        minutes = float(failing.sum().max()) * step.total_seconds() / 60
        asymmetric = _asymmetric(data, source, target, failed)
        span = (failed[0] - step, failed[-1])
        rows.append((source, target, " and ".join(kinds), minutes, *span, asymmetric))
    table = pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
    order = ["minutes", "source", "target"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True).head(most)


def _asymmetric(data: Connectivity, source: str, target: str, when: pd.Index) -> str:
    """Tell whether the target reached the source while the source did not reach it."""
    named = names(data.now.source_targets, "node")
    if target not in names(data.now.observers, "node") or target not in named:
        return "unknown"
    if column(data.now.observers, node=target).reindex(when).notna().mean() < 0.5:
        return "unknown"
    labels = data.now.pairs.columns
    back = (labels.get_level_values("source") == target) & (
        labels.get_level_values("target") == source
    )
    if back.any():
        return "no" if data.now.pairs.loc[when, back].gt(0).any(axis=1).mean() > 0.5 else "yes"
    # Without a failing pair the target reached it, if its failing pairs would have been found.
    missed = data.now.target_failing.loc[
        when, data.now.target_failing.columns.get_level_values(0) == source
    ]
    asked = source in names(data.now.pairs, "target") or not missed.gt(0).to_numpy().any()
    return "yes" if asked and not data.now.crowded else "unknown"


def matrix(data: Connectivity, *, most: int = 25) -> pd.DataFrame:
    """Give the share of the window in which probes from one node (rows) to another failed.

    Parameters
    ----------
    most
        Nodes in rows and in columns, those with most failures first.

    Returns
    -------
    pandas.DataFrame
        0 to 1; NaN where a node would probe itself. The worse of node and endpoint. Empty where
        the data names no targets, or nothing failed.
    """
    inside = frames.between(data.now.pairs, data.window.start, data.window.end)
    if not inside.shape[1]:
        return pd.DataFrame(dtype="float64")
    shares = inside.fillna(0.0).mean()
    shares = shares[shares > 0].groupby(level=["source", "target"]).max()
    rest = shares.rename("share").reset_index()
    table = rest.pivot_table(index="source", columns="target", values="share", fill_value=0.0)
    rows = table.sum(axis=1).sort_values(ascending=False, kind="stable").index[:most]
    columns = table.sum(axis=0).sort_values(ascending=False, kind="stable").index[:most]
    table = table.loc[rows, columns]
    own = np.equal.outer(np.asarray(rows, dtype=object), np.asarray(columns, dtype=object))
    return table.mask(own.astype(bool))


def timeline(data: Connectivity, *, most: int = 30) -> pd.DataFrame:
    """Give the share of failing paths over time, one plain column per node concerned.

    Parameters
    ----------
    most
        Number of nodes.

    Returns
    -------
    pandas.DataFrame
        0 to 1; NaN where nothing is known. The time of a row is the end of its step.
    """
    found: dict[str, pd.Series] = {}
    for outage in detect(data):
        for name, share in _shares(data, outage).items():
            found[name] = (
                pd.concat([found[name], share], axis=1).max(axis=1) if (name in found) else share
            )
    table = pd.DataFrame(dict(list(found.items())[:most]))
    if not len(table):
        return table
    return frames.between(table, data.window.start, data.window.end)


def _shares(data: Connectivity, outage: Outage) -> dict[str, pd.Series]:
    if outage.role != "split":
        return {outage.node or UNKNOWN: outage.share}
    if outage.likely:
        return {SPLIT: outage.share}
    return {
        node: pd.concat(
            [
                column(data.now.target_failing, node=node, type=kind)
                / column(data.now.target_observers, node=node, type=kind)
                for kind in outage.types
            ],
            axis=1,
        ).max(axis=1)
        for node in outage.peers
    }


def latency(data: Connectivity) -> pd.DataFrame:
    """Give quantiles of the latency of successful probes, beside those of the baseline.

    Returns
    -------
    pandas.DataFrame
        ``type``, ``protocol``, ``address_type``; ``p50``, ``p90``, ``p99`` and the same as
        ``usual_…`` [s]: over all pairs of nodes where the data names them, else read off the
        buckets of a histogram (`BOUNDS`), which also gives the share of ``failed probes``.
    """
    keys = ["type", "protocol", "address_type"]
    known = data.baseline.quantiles
    baseline = known.drop(columns=[n for n in BOUNDS if n in known]).add_prefix("usual_")
    if not len(data.now.quantiles):
        return pd.DataFrame(columns=[*keys, *data.now.quantiles.columns, *baseline.columns])
    baseline = baseline.reindex(data.now.quantiles.index)
    table = pd.concat([data.now.quantiles, baseline], axis=1).reset_index()
    # Gauges, which name their targets, have no buckets.
    table[BOUNDS[0]] = table.get(BOUNDS[0], np.nan)
    shown = dict.fromkeys([*keys, *data.now.quantiles.columns, *baseline.columns, BOUNDS[0]])
    return (
        table[list(shown)]
        .sort_values(keys, ascending=[False, True, True], ignore_index=True)
        .rename(columns=lambda name: name.replace("failed", "failed probes"))
    )
