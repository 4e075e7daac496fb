"""What the question about endpoints is answered from: its metrics, and their frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics import loading
from cilium_analysis.topics.loading import plain
from cilium_analysis.topics.metric import Metric, gained, metric, reduced
from cilium_analysis.topics.model import Compared, Loader, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.topics.reader import Reader

REGENERATION_TIMES = "cilium_endpoint_regeneration_time_stats_seconds"
_TIMES = REGENERATION_TIMES + '_{part}{{scope="total",<match>}}'
_PRESSURE = 'cilium_bpf_map_pressure{{map_name{}"policy_[0-9]+",<match>}}'

#: What changes slowly, or is only shown in tables, is asked for in longer steps of many nodes.
QUERIES: Mapping[str, Metric] = {
    # As it was at the last scrape of a step: the highest would turn every replaced pod into two.
    "endpoints": metric(
        "gauge", "cilium_endpoint", "endpoints", "endpoints that each agent manages", over="last"
    ),
    # The mean over a step: what passes in seconds counts little, however long the step is.
    "states": metric(
        "gauge",
        "cilium_endpoint_state",
        "endpoints",
        "endpoints in each state",
        "endpoint_state",
        over="avg",
    ),
    "regenerations": metric(
        "counter",
        "cilium_endpoint_regenerations_total",
        "endpoints",
        "endpoints regenerated; reason and error since Cilium 1.20",
        "error outcome reason",
    ),
    "regeneration_counts": metric(
        "counter",
        _TIMES.format(part="count"),
        "endpoints",
        "endpoints regenerated, as the histogram of their times counts them",
        "status",
        use="shown",
    ),
    "regeneration_seconds": metric(
        "counter",
        _TIMES.format(part="sum"),
        "s",
        "time that regenerating endpoints took in all",
        "status",
        use="shown",
    ),
    "addresses": metric(
        "gauge",
        "cilium_ip_addresses",
        "addresses",
        "addresses allocated on each node",
        "family",
        over="last",
        use="shown",
    ),
    # Since Cilium 1.20 there is one series per CIDR.
    "pools": metric(
        "gauge",
        "cilium_ipam_capacity",
        "addresses",
        "addresses in the pool of each node (Cilium 1.15 and later)",
        "family",
        inside="cidr",
        use="shown",
    ),
    # Up to Cilium 1.14 every endpoint's policy map has a series: as later, the fullest is kept.
    "pressure": Metric(
        f"{reduced(_PRESSURE.format('!~'), 'map_name')}"
        f' or label_replace({reduced(_PRESSURE.format("=~"))}, "map_name", "policy_*", "", "")',
        "ratio",
        "how full BPF maps are; absent at 0, and policy maps below 0.1",
        labels=("map_name",),
        use="slow",
    ),
    "policies": metric(
        "gauge", "cilium_policy", "policies", "policies loaded in each agent", use="shown"
    ),
    # All but a few of the modes are usually empty.
    "enforcement": Metric(
        reduced("cilium_policy_endpoint_enforcement_status{<match>}", "enforcement", over="last")
        + " > 0",
        "endpoints",
        "endpoints by what policies enforce on them; none of a mode is no series",
        labels=("enforcement",),
        use="shown",
    ),
    "regeneration_times": gained(
        f"{REGENERATION_TIMES}_bucket",
        "regenerations of endpoints in the cluster whose step took up to so many seconds",
        "le scope",
        inside="status",
        unit="endpoints",
        use="shown",
    ),
    "restoration": metric(
        "gauge",
        'cilium_endpoint_restoration_endpoints{outcome=~"failed|successful|total",'
        'phase=~"read_from_disk|restoration|regeneration",<match>}',
        "endpoints",
        "endpoints restored since each agent started (Cilium 1.19 and later)",
        "outcome phase",
        over="last",
        use="shown",
    ),
    "restoration_seconds": metric(
        "gauge",
        "cilium_endpoint_restoration_duration_seconds",
        "s",
        "time that restoring endpoints took since each agent started",
        inside="phase",
        over="last",
        use="shown",
    ),
    "identities": metric(
        "gauge",
        "cilium_identity",
        "identities",
        "security identities that each agent knows",
        "type",
        use="shown",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Levels(Part):
    """What is known about the endpoints in one window; rows are its steps.

    Parameters
    ----------
    counts
        Endpoints per node, one plain column each; NaN where nothing is known.
    states
        Label frame (``endpoint_state``, ``node``) of endpoints.
    regenerations
        Label frame (``error``, ``node``, ``outcome``, ``reason``) of regenerations per step.
    regenerated, seconds
        Regenerations per step, and the time they took in all [s], per node.
    addresses, pools
        Label frames (``family``, ``node``) of addresses in use, and in the pool.
    pressure
        Label frame (``map_name``, ``node``) of the fill of BPF maps, 1 is full.
    policies
        Policies loaded, per node.
    identities
        Label frame (``node``, ``type``).
    enforcement
        Label frame (``enforcement``, ``node``) of endpoints; NaN where there is none.
    regeneration_times
        Label frame (``le``, ``scope``) of regenerations per step in the whole cluster.
    restoration
        Label frame (``node``, ``outcome``, ``phase``) of endpoints since an agent started.
    restoration_seconds
        Time that restoring them took [s], per node.
    agents
        When each node's agent started [s since 1970], per node; NaN while it was not scraped.
    restarts
        ``time`` and ``node`` of every start of an agent.
    events
        What the counts of regenerations rest on, as `cilium_analysis.counters.Reading.events`.
    """

    counts: pd.DataFrame
    states: pd.DataFrame
    regenerations: pd.DataFrame
    regenerated: pd.DataFrame
    seconds: pd.DataFrame
    addresses: pd.DataFrame
    pools: pd.DataFrame
    pressure: pd.DataFrame
    policies: pd.DataFrame
    identities: pd.DataFrame
    enforcement: pd.DataFrame
    regeneration_times: pd.DataFrame
    restoration: pd.DataFrame
    restoration_seconds: pd.DataFrame
    agents: pd.DataFrame
    restarts: pd.DataFrame
    events: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Endpoints(Compared[Levels, Levels]):
    """Everything about the endpoints in a window and its baseline."""

    @property
    def blind(self) -> bool:
        """Whether no agent was scraped in the window."""
        return not (self.now.agents.shape[1] or self.now.counts.shape[1])


def _ask(reader: Reader, before: Reader) -> Endpoints:
    return Endpoints(source=reader.source.name, now=_levels(reader), baseline=_levels(before))


load = Loader(_ask)


def _levels(reader: Reader) -> Levels:
    window, asked = reader.window, reader.asked_together(QUERIES)

    def read(name: str) -> pd.DataFrame:
        return reader.answer(QUERIES[name], asked[name])

    counted = reader.count(QUERIES["regenerations"], asked["regenerations"])
    return Levels(
        window=window,
        counts=plain(read("endpoints")),
        states=read("states"),
        regenerations=loading.inside(counted.increase, window),
        regenerated=plain(frames.group(read("regeneration_counts"), ["node"])),
        seconds=plain(frames.group(read("regeneration_seconds"), ["node"])),
        addresses=read("addresses"),
        pools=read("pools"),
        pressure=read("pressure"),
        policies=plain(read("policies")),
        identities=read("identities"),
        enforcement=read("enforcement"),
        regeneration_times=read("regeneration_times"),
        restoration=read("restoration"),
        restoration_seconds=plain(read("restoration_seconds")),
        agents=plain(loading.inside(reader.agents.starts, window)),
        restarts=reader.agents.restarts(window),
        events=loading.events_inside(counted.events, window),
    )


def pick(levels: pd.DataFrame, label: str, value: str) -> pd.DataFrame:
    """Give the series with a label's value, one plain column per node.

    Parameters
    ----------
    levels
        Label frame with ``node`` and the label.
    label, value
        What to choose.
    """
    chosen = levels.loc[:, levels.columns.get_level_values(label) == value]
    return plain(frames.group(chosen, ["node"], how="max"))


def not_ready(states: pd.DataFrame, among: Sequence[str] = ()) -> pd.DataFrame:
    """Give the endpoints that are not ready, per node; 0 where all are.

    Parameters
    ----------
    states
        Label frame (``endpoint_state``, ``node``).
    among
        Only these states; all but ``ready`` if none is named.
    """
    names = states.columns.get_level_values("endpoint_state")
    chosen = names.isin(list(among)) if among else names != "ready"
    nodes = pd.Index(sorted(set(states.columns.get_level_values("node"))), name="node")
    waiting = plain(frames.group(states.loc[:, chosen], ["node"])).reindex(columns=nodes)
    # An agent that shows any state shows all that are not empty.
    known = plain(frames.group(states, ["node"])).notna()
    return waiting.fillna(0.0).astype("float64").where(known)
