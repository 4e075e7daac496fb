"""How findings about Hubble's counts are told: names, numbers and doubts."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.metrics import defects
from cilium_analysis.texts import percent
from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import pandas as pd

    from cilium_analysis.window import Window

#: A Hubble that was scraped in less than this share of a stretch's steps makes it doubtful.
ENOUGH_SCRAPED = 0.98
#: A restart so long before a stretch may still explain it.
RESTART_BEFORE = timedelta(minutes=5)
#: Hubble lost so much, as a share of what a finding is about, that it may be wrong.
LOST_SHARE = 0.1
#: Events that readers of Hubble's ring were too slow for: counters are written before the ring is.
RING = "hubble_ring_buffer"
#: One source, destination or status is named when it has this share of a rise;
NAMED_FROM = 0.8
#: with less than this it is said that it has most of it, as the numbers told are of the whole.
WHOLE = 0.99
#: Failures of a smaller share of the traffic they belong to are no warning, however many;
TRIFLE = 0.001
#: nor is a handful of a share that is not much larger.
FEW = 100.0
FEW_SHARE = 0.01


def total(counts: pd.DataFrame) -> float:
    """Add everything up."""
    return float(counts.to_numpy(dtype="float64", na_value=0.0).sum())


def only(counts: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Keep the series with these labels."""
    for name, value in labels.items():
        counts = counts.loc[:, counts.columns.get_level_values(name) == value]
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
    """Name both ends, as far as they are known, for the middle of a sentence.

    Parameters
    ----------
    parties
        ``source`` and ``destination``.
    most
        Those of the two that have most of what is told, and not all: from `largest`.
    """
    ends = {"from": "source", "to": "destination"}
    return "".join(
        f" {'mostly ' if end in most else ''}{word} {parties[end]}"
        for word, end in ends.items()
        if parties.get(end)
    )


def largest(sums: pd.Series) -> tuple[str, bool]:
    """Name the one value of a label that has most of a rise.

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


def place(named: Sequence[str], nodes: int, *, elsewhere: bool = False, ranked: bool = True) -> str:
    """Name up to three nodes, or say how many there are; nameless where all are added up.

    Parameters
    ----------
    named
        Nodes.
    nodes
        How many there are in all.
    elsewhere
        Whether others have a part of what is told too: from `beyond`.
    ranked
        Whether the first one has most of it.
    """
    if not any(named):
        return f"somewhere on {nodes} nodes" if nodes > 1 else "on an unknown node"
    mostly = "mostly " if elsewhere else ""
    if len(named) <= 3:
        # Of all nodes of a cluster together only the cluster is known.
        return f"{mostly}on " + ", ".join(name.rstrip("/") for name in named)
    first = f", {'above all' if elsewhere else 'most on'} {named[0]}" if ranked else ""
    return f"{mostly}on {len(named)} of {nodes} nodes{first}"


def beyond(sums: pd.Series, named: Sequence[str]) -> bool:
    """Tell whether others than those named have a part of a sum that counts."""
    return bool(sums[list(named)].sum() < WHOLE * sums.sum())


def short(value: float) -> str:
    """Write a rate with three digits."""
    if math.isnan(value):
        return "an unknown rate"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def seconds(value: float) -> str:
    """Write a duration with three digits, in the unit that a person would say."""
    return f"{value:.3g} s" if value >= 1 or not value else f"{1000 * value:.3g} ms"


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Write amounts as whole numbers, as they were counted; shares stay as they are."""
    whole = [name for name, dtype in table.dtypes.items() if dtype.kind == "f" and name != "share"]
    return table.assign(**{str(name): table[name].round().astype("int64") for name in whole})


def doubts(
    seen: pd.DataFrame,
    restarts: pd.DataFrame,
    lost: pd.DataFrame,
    *,
    amount: float,
    nodes: Sequence[str],
    start: pd.Timestamp,
    end: pd.Timestamp,
) -> list[str]:
    """Collect what speaks against the numbers of a stretch.

    Parameters
    ----------
    seen
        Frame of bool, one column per node: whether its Hubble was scraped in the step.
    restarts
        ``time`` and ``node`` of the agents' starts.
    lost
        Label frame (``source``) of events that Hubble lost.
    amount
        What a loss is compared with [events].
    nodes
        Those that the stretch is about.
    start, end
        Of the stretch.
    """
    rows = (seen.index > start) & (seen.index <= end)
    scraped = seen.loc[rows].mean()
    said = [
        f"Hubble on {node} was scraped in only {percent(scraped[node])} of the steps"
        for node in nodes
        if node in scraped and scraped[node] < ENOUGH_SCRAPED
    ]
    near = restarts[restarts["time"].between(start - RESTART_BEFORE, end)]
    said += [f"the agent on {node} restarted" for node in sorted(set(near["node"]) & set(nodes))]
    gone = total(uncounted(lost.loc[(lost.index > start) & (lost.index <= end)]))
    if gone > LOST_SHARE * amount:
        said.append(f"Hubble lost {gone:,.0f} events meanwhile, of any kind")
    return said


def uncounted(lost: pd.DataFrame) -> pd.DataFrame:
    """Keep the losses of events that Hubble's counters lack: all but those of readers of its ring.

    Parameters
    ----------
    lost
        Label frame (``source``) of events that Hubble lost.
    """
    return lost.loc[:, lost.columns.get_level_values("source") != RING]


def trust(
    seen: pd.DataFrame,
    restarts: pd.DataFrame,
    lost: pd.DataFrame,
    window: Window,
    *,
    versions: Sequence[str] = (),
) -> list[str]:
    """Say in words when Hubble was not scraped, began anew, or lost events.

    Parameters
    ----------
    seen, restarts, lost
        As for `doubts`.
    window
        Of the frames.
    versions
        Of Cilium, as far as they are known.
    """
    said = [*verdict.gaps(seen, window, of="Hubble on "), *verdict.started(restarts)]
    if len(restarts):
        said.append("Hubble's counters begin anew with their agent.")
    by_source = lost.sum().groupby(level="source").sum()
    for where, amount in by_source[by_source > 0].items():
        if where != RING:
            said.append(
                f"Hubble lost {amount:,.0f} events of any kind ({where}): its counts are low."
            )
            continue
        said.append(
            f"Hubble's ring was too small for its readers ({amount:,.0f} events, {where}): flows"
            " that were observed may be incomplete. Metrics are not: they are counted before."
        )
        said += defects.notes(versions, ["hubble_lost_events_total"])
    return said


def blind(metric: str, what: str, window: Window, *, before: int) -> Finding:
    """Say that there is nothing to look at.

    Parameters
    ----------
    metric
        That is not there.
    what
        That nothing can be said about.
    window
        Of the finding.
    before
        Number of Hubble servers that the baseline has.
    """
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title=f"No metrics of agents or Hubble in this window: nothing can be said about {what}",
        start=window.start,
        end=window.end,
        labels={"metric": metric},
        value=0.0,
        baseline_value=float(before),
        unit="servers",
        query=f"count({metric})",
        next_step="Check that Hubble's metrics are scraped (Helm: hubble.metrics.enabled), that the"
        " window is within the server's retention, and the label matchers.",
    )
