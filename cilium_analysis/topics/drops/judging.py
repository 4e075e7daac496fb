"""How much drops matter: counts, the traffic that they are compared with, and the severity.

Bursts, and the texts about them, are in `findings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Severity
from cilium_analysis.topics.drops import events
from cilium_analysis.topics.reasons import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.drops.data import Drops

Metric = Literal["cilium_drop_count_total", "hubble_drop_total", "hubble_policy_verdicts_total"]

#: A loss at this rate [packets/s] for this long is critical, and so is this many packets.
CRITICAL_RATE = 1.0
CRITICAL_LENGTH = timedelta(minutes=2)
CRITICAL_TOTAL = 5_000.0
#: At a lower rate [packets/s], three packets a minute, nothing is a warning.
FEW_RATE = 0.05
#: Nor are fewer packets than this above what is expected: a rollout loses some dozens.
FEW = 100.0
#: From so many on they are a warning whatever traffic they are part of,
MANY = 200.0
#: and fewer of them only as at least this share of it.
NOTABLE_SHARE = 0.01
#: Where a few packets are ordinary, they are a warning from this share of the traffic on.
NOISE_SHARE = 1e-4
#: Steps over which traffic is taken: single ones are noise.
_WIDTH = 5


@dataclass(frozen=True)
class Counted:
    """Counts in which bursts are looked for.

    Parameters
    ----------
    counts, baseline
        Label frames (``direction``, ``node``, ``reason``) per step, in the window and in the
        baseline [packets, or events of ``hubble_drop_total``].
    seen, baseline_seen
        Frames of bool, one column per node: whether it was scraped in the step.
    forwarded, baseline_forwarded
        Label frames (``direction``, ``node``) of packets forwarded per step [packets].
    metric
        The counter that they come from.
    compared
        Whether anything is known of the baseline.
    step
        Length of a step.
    """

    counts: pd.DataFrame
    baseline: pd.DataFrame
    seen: pd.DataFrame
    baseline_seen: pd.DataFrame
    forwarded: pd.DataFrame
    baseline_forwarded: pd.DataFrame
    metric: Metric
    compared: bool
    step: timedelta

    @property
    def unit(self) -> str:
        """What is counted."""
        return "events" if self.metric == "hubble_drop_total" else "packets"


def counted(data: Drops) -> tuple[Counted, ...]:
    """Give the agents' counts, and what Hubble counts of drops that no agent counts."""
    agents = Counted(
        data.now.counts,
        data.baseline.counts,
        data.now.scraped,
        data.baseline.scraped,
        data.now.forwarded,
        data.baseline.forwarded,
        "cilium_drop_count_total",
        data.compared,
        data.window.step,
    )
    exact = events.exact(data)
    denied = set(frames.values(exact, "reason"))
    baseline = events.uncounted(data, events.denied(data.baseline.verdicts))
    others, before = (
        events.without(denied, events.uncounted(data, events.parties(each.hubble)))
        for each in (data.now, data.baseline)
    )
    hubble = (
        _of_hubble(data, exact, baseline, "hubble_policy_verdicts_total"),
        _of_hubble(data, others, before, "hubble_drop_total"),
    )
    return (agents, *(each for each in hubble if each.counts.shape[1]))


def _of_hubble(data: Drops, now: pd.DataFrame, baseline: pd.DataFrame, metric: Metric) -> Counted:
    """Give counts of Hubble, which no traffic can be compared with."""
    by, nothing = ["direction", "node", "reason"], frames.empty(["direction", "node"])
    before = data.baseline.hubble_scraped
    return Counted(
        frames.group(now, by),
        frames.group(baseline, by),
        data.now.hubble_scraped,
        before,
        nothing,
        nothing,
        metric,
        bool(before.to_numpy().any()) or bool(baseline.notna().to_numpy().any()),
        data.window.step,
    )


def traffic(forwarded: pd.DataFrame, direction: str, nodes: Sequence[str]) -> pd.DataFrame:
    """Give packets forwarded per step in a direction [packets], one plain column per node.

    Where nothing is forwarded in a direction of this name, it is all directions together; NaN
    where it is not known.
    """
    mine = [name == direction for name in frames.values(forwarded, "direction")]
    summed = frames.group(forwarded.loc[:, mine] if any(mine) else forwarded, ["node"])
    summed.columns = summed.columns.get_level_values("node")
    return summed.reindex(columns=pd.Index(nodes))


def exposure(now: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """Give how many times as much traffic as in the baseline there is, at least 1.

    Parameters
    ----------
    now, baseline
        As from `traffic`, in the window and in the baseline. Without a baseline, the window's
        median is one. Traffic that is not known is as in the baseline.
    """
    level = baseline.mean().fillna(now.median())
    smooth = now.rolling(_WIDTH, center=True, min_periods=1).median()
    return (smooth / level.where(level > 0.0)).clip(lower=1.0).fillna(1.0)


def share(dropped: float, forwarded: pd.DataFrame, others: float) -> float | None:
    """Give drops as a share of all packets in their direction; None where that is not known.

    Parameters
    ----------
    dropped
        Packets dropped.
    forwarded
        As from `traffic`, while they were dropped.
    others
        Packets dropped besides, in the same direction, on the same nodes and meanwhile.
    """
    if not forwarded.shape[1] or forwarded.isna().all().any():
        return None
    whole = dropped + others + float(forwarded.to_numpy(na_value=0.0).sum())
    return dropped / whole if whole else None


def written(part: float) -> str:
    """Write a share with three digits; a very small one as less than what matters."""
    return "less than 0.001%" if 0.0 < part < 1e-5 else f"{part * 100:.3g}%"


def severity(
    reason: str, *, total: float, excess: float, length: timedelta, part: float | None
) -> Severity:
    """Give the severity of a burst of drops.

    Parameters
    ----------
    reason
        As the datapath spells it.
    total, excess
        Packets or events, and how many of them are above what is expected.
    length
        How long it lasted.
    part
        The share of all packets in their direction that were dropped; None if not known.
    """
    harm, rate = explain(reason).harm, total / length.total_seconds()
    notable = part is not None and part >= NOTABLE_SHARE
    if harm == "none" or rate < FEW_RATE or excess < (FEW if notable else MANY):
        return Severity.INFO
    if harm == "noise":
        ordinary = part is not None and part < NOISE_SHARE
        return Severity.INFO if ordinary else Severity.WARNING
    lasting = rate >= CRITICAL_RATE and length >= CRITICAL_LENGTH
    return Severity.CRITICAL if lasting or total >= CRITICAL_TOTAL else Severity.WARNING
