"""Drops as Hubble counts them: sources and destinations, and drops that no agent counts.

``hubble_drop_total`` counts events. A denied packet has two where Hubble gets the verdicts of
policies as well. ``hubble_policy_verdicts_total`` has one for each denied packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.topics import hubble
from cilium_analysis.topics.parties import name_parties
from cilium_analysis.topics.reasons import from_hubble

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd

    from cilium_analysis.topics.drops.data import Drops

DROPS = hubble.Counter(
    "hubble_drop_total",
    ("protocol", "reason"),
    "events",
    "drop events seen by Hubble",
    spare=True,
)
VERDICTS = hubble.Counter(
    'hubble_policy_verdicts_total{action="dropped",match!~"l7/.*",<match>}',
    ("direction", "match"),
    "packets",
    "packets denied by policies, as Hubble counts verdicts",
    spare=True,
)

#: What Hubble calls a request that the layer 7 proxy denied (api/v1/flow/flow.proto); it is
#: answered, for example with 403, and no packet is dropped.
PROXY_DENIAL = "DROP_REASON_UNKNOWN"
#: Denied packets are known exactly if their events are twice their verdicts, give or take this
#: share.
EXACT = 0.02
_BY = ("direction", "node", "reason", "protocol")


def parties(events: pd.DataFrame) -> pd.DataFrame:
    """Name both ends of Hubble's drop events, whichever context labels are configured.

    Parameters
    ----------
    events
        Label frame of ``hubble_drop_total``.

    Returns
    -------
    pandas.DataFrame
        Label frame with ``direction``, ``node``, ``reason`` (as the datapath spells it),
        ``protocol``, ``source``, ``destination``; what no label tells is ``""``.
    """
    reasons = [from_hubble(name) for name in frames.values(events, "reason")]
    return _named(events, reasons, frames.values(events, "traffic_direction"))


def denied(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Name both ends of the packets that policies denied, as `parties`.

    Parameters
    ----------
    verdicts
        Label frame of ``hubble_policy_verdicts_total``. Where no rule matches, none allows the
        packet; where one does, it denies it.
    """
    reasons = [
        "Policy denied" if match == "none" else "Policy denied by denylist"
        for match in frames.values(verdicts, "match")
    ]
    return _named(verdicts, reasons, frames.values(verdicts, "direction"))


def _named(frame: pd.DataFrame, reasons: Sequence[str], ways: Sequence[str]) -> pd.DataFrame:
    told = [way.upper() if way in ("ingress", "egress") else "" for way in ways]
    labelled = frames.relabel(frames.relabel(frame, "reason", reasons), "direction", told)
    return name_parties(labelled, _BY)


def uncounted(data: Drops, events: pd.DataFrame) -> pd.DataFrame:
    """Give Hubble's events of drops that no agent's counter has.

    These are all where agents are not scraped or do not export the counter, else those on nodes
    whose agent is not scraped and those with reasons that no agent counts.

    Parameters
    ----------
    data
        The agents' counts.
    events
        Label frame as from `parties` or `denied`.
    """
    counted = [each.counts for each in (data.now, data.baseline) if each.counts.shape[1]]
    reasons = {reason for each in counted for reason in frames.values(each, "reason")}
    agents = {str(node) for node, seen in data.now.scraped.items() if seen.any()}
    agents |= set(frames.values(data.now.counts, "node"))
    # Agents whose reasons are not stored count all of them.
    every = "" in reasons
    nodes = frames.values(events, "node")
    # Names of nodes differ where the two are scraped in different ways: they tell nothing then.
    alone = set(nodes) - agents - {""} if agents & set(nodes) else set()
    chosen = [
        reason != PROXY_DENIAL and (node in alone or not (every or reason in reasons))
        for reason, node in zip(frames.values(events, "reason"), nodes, strict=True)
    ]
    return events.loc[:, chosen]


def exact(data: Drops) -> pd.DataFrame:
    """Give the packets that no agent counts, but of which Hubble's verdicts tell how many.

    Returns
    -------
    pandas.DataFrame
        Label frame as from `denied`, of the reasons whose events agree with it.
    """
    events = frames.totals(uncounted(data, parties(data.now.hubble)), ["reason"])
    verdicts = uncounted(data, denied(data.now.verdicts))
    packets = frames.totals(verdicts, ["reason"])
    agree = packets.index[(events.reindex(packets.index) / packets - 2.0).abs() <= 2.0 * EXACT]
    return without(set(packets.index) - set(agree), verdicts)


def without(reasons: Collection[str], counts: pd.DataFrame) -> pd.DataFrame:
    """Leave out the series with some reasons."""
    return counts.loc[:, [name not in reasons for name in frames.values(counts, "reason")]]
