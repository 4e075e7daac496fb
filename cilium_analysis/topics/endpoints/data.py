"""What the question about endpoints is answered from: queries as data, and their frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import counters, frames
from cilium_analysis.queries import Query
from cilium_analysis.topics import loading
from cilium_analysis.topics.remarks import Remarks, told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

REGENERATION_TIMES = "cilium_endpoint_regeneration_time_stats_seconds"
_TIMES = REGENERATION_TIMES + '_{part}{{scope="total",<match>}}'
_BUCKETS = f"{REGENERATION_TIMES}_bucket{{<match>}}"
_GAINED = loading.gained(_BUCKETS, there="cilium_process_start_time_seconds{<match>}")


def _greatest(metric: str, *labels: str) -> str:
    by = ", ".join(("<target>", *sorted(labels)))
    return f"max by ({by}) (max_over_time({metric}[<range>]))"


QUERIES: Mapping[str, Query] = {
    # As it was at the last scrape of a step: the highest would turn every replaced pod into two.
    "endpoints": Query(
        "max by (<target>) (last_over_time(cilium_endpoint{<match>}[<range>]))",
        "endpoints",
        "endpoints that each agent manages",
    ),
    # The mean over a step: what passes in seconds counts little, however long the step is.
    "states": Query(
        "max by (<target>, endpoint_state)"
        " (avg_over_time(cilium_endpoint_state{<match>}[<range>]))",
        "endpoints",
        "endpoints in each state",
    ),
    "regenerations": Query(
        _greatest("cilium_endpoint_regenerations_total{<match>}", "error", "outcome", "reason"),
        "endpoints",
        "endpoints regenerated; reason and error since Cilium 1.20",
    ),
    "regeneration_counts": Query(
        _greatest(_TIMES.format(part="count"), "status"),
        "endpoints",
        "endpoints regenerated, as the histogram of their times counts them",
    ),
    "regeneration_seconds": Query(
        _greatest(_TIMES.format(part="sum"), "status"),
        "s",
        "time that regenerating endpoints took in all",
    ),
    "addresses": Query(
        "max by (<target>, family) (last_over_time(cilium_ip_addresses{<match>}[<range>]))",
        "addresses",
        "addresses allocated on each node",
    ),
    # Since Cilium 1.20 there is one series per CIDR.
    "pools": Query(
        "sum by (<target>, family) (max by (<target>, cidr, family)"
        " (max_over_time(cilium_ipam_capacity{<match>}[<range>])))",
        "addresses",
        "addresses in the pool of each node (Cilium 1.15 and later)",
    ),
    # Up to Cilium 1.14 every endpoint's policy map has a series: as later, the fullest is kept.
    "pressure": Query(
        _greatest('cilium_bpf_map_pressure{map_name!~"policy_[0-9]+",<match>}', "map_name")
        + " or label_replace("
        + _greatest('cilium_bpf_map_pressure{map_name=~"policy_[0-9]+",<match>}')
        + ', "map_name", "policy_*", "", "")',
        "ratio",
        "how full BPF maps are; absent at 0, and policy maps below 0.1",
    ),
    "policies": Query(
        _greatest("cilium_policy{<match>}"),
        "policies",
        "policies loaded in each agent",
    ),
    # All but a few of the modes are usually empty.
    "enforcement": Query(
        "max by (<target>, enforcement)"
        " (last_over_time(cilium_policy_endpoint_enforcement_status{<match>}[<range>])) > 0",
        "endpoints",
        "endpoints by what policies enforce on them; none of a mode is no series",
    ),
    "regeneration_times": Query(
        f"sum by (<cluster>, le, scope) (max by (<target>, le, scope, status) ({_GAINED}))",
        "endpoints",
        "regenerations of endpoints in the cluster whose step took up to so many seconds",
    ),
    "restoration": Query(
        "max by (<target>, outcome, phase) (last_over_time("
        'cilium_endpoint_restoration_endpoints{outcome=~"failed|successful|total",'
        'phase=~"read_from_disk|restoration|regeneration",<match>}[<range>]))',
        "endpoints",
        "endpoints restored since each agent started (Cilium 1.19 and later)",
    ),
    "restoration_seconds": Query(
        "sum by (<target>) (max by (<target>, phase) (last_over_time("
        "cilium_endpoint_restoration_duration_seconds{<match>}[<range>])))",
        "s",
        "time that restoring endpoints took since each agent started",
    ),
    "identities": Query(
        _greatest("cilium_identity{<match>}", "type"),
        "identities",
        "security identities that each agent knows",
    ),
}


#: What changes slowly, or is only shown in tables: of many nodes asked for in longer steps.
SHOWN_ONLY = frozenset(
    {
        "regeneration_counts",
        "regeneration_seconds",
        "addresses",
        "pools",
        "policies",
        "identities",
        "enforcement",
        "regeneration_times",
        "restoration",
        "restoration_seconds",
    }
)


@dataclass(frozen=True)
class Span:
    """What is known about the endpoints in one stretch of time; rows are its steps.

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
    events: pd.DataFrame


@dataclass(frozen=True)
class Endpoints:
    """Everything about the endpoints in a window and its baseline.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What is looked at, and what it is compared with.
    now, usual
        What is known about the two.
    restarts
        ``time`` and ``node`` of every start of an agent in the window.
    warnings
        What the server said about the answers.
    remarks
        What is to be said about the targets.
    """

    source: str
    window: Window
    baseline: Window
    now: Span
    usual: Span
    restarts: pd.DataFrame
    warnings: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)

    @property
    def blind(self) -> bool:
        """Whether no agent was seen in the window."""
        return not (self.now.agents.shape[1] or self.now.counts.shape[1])


@told
def load(source: Source, window: Window, baseline: Window, *, match: str = "") -> Endpoints:
    """Fetch what the question needs.

    Parameters
    ----------
    source
        A server or a bundle.
    window, baseline
        With the same step.
    match
        Label matchers that narrow every query, such as ``cluster="prod"``.

    Raises
    ------
    ParameterError
        If the matchers cannot be read.
    PrometheusError, BundleError
        If the source does not answer.
    """
    now = _span(source, window, match=match)
    usual = _span(source, baseline, match=match)
    return Endpoints(
        source=source.name,
        window=window,
        baseline=baseline,
        now=now,
        usual=usual,
        restarts=_restarts(now.agents, window),
    )


def _span(source: Source, window: Window, *, match: str) -> Span:
    def ask(name: str, *labels: str) -> pd.DataFrame:
        every = _every(name, window, nodes=nodes)
        frame = loading.fetch(source, QUERIES[name], window, match=match, every=every)
        return frames.with_levels(frame, ["node", *labels])

    def level(name: str, *labels: str) -> pd.DataFrame:
        levels, every = ask(name, *labels), _every(name, window, nodes=nodes)
        if every > 1:
            levels = loading.spread(levels, window)
        return loading.inside(loading.held(levels, scraped=scraped, every=every), window)

    agents = loading.scrapes(source, window, "agent", match=match)
    nodes = agents.starts.shape[1]
    scraped = agents.raw if nodes else None
    started = agents.starts if nodes else None

    def count(name: str, *labels: str) -> counters.Reading:
        return counters.read(ask(name, *labels), scraped=started, pinned=False)

    done = count("regenerations", "error", "outcome", "reason")
    return Span(
        counts=_plain(level("endpoints")),
        states=level("states", "endpoint_state"),
        regenerations=loading.inside(done.increase, window),
        regenerated=_per_node(count("regeneration_counts", "status"), window),
        seconds=_per_node(count("regeneration_seconds", "status"), window),
        addresses=level("addresses", "family"),
        pools=level("pools", "family"),
        pressure=level("pressure", "map_name"),
        policies=_plain(level("policies")),
        identities=level("identities", "type"),
        enforcement=level("enforcement", "enforcement"),
        regeneration_times=loading.inside(ask("regeneration_times", "le", "scope"), window),
        restoration=level("restoration", "outcome", "phase"),
        restoration_seconds=_plain(level("restoration_seconds")),
        agents=_plain(loading.inside(agents.starts, window)),
        events=_within(done.events, window),
    )


def _every(name: str, window: Window, *, nodes: int) -> int:
    """Tell how many steps of the window one step of an answer may take."""
    if name == "pressure":
        return loading.every(window, nodes=nodes, most=loading.SLOW)
    return loading.every(window, nodes=nodes) if name in SHOWN_ONLY else 1


def _within(events: pd.DataFrame, window: Window) -> pd.DataFrame:
    inside = (events["time"] > window.start) & (events["time"] <= window.end)
    return events[inside].reset_index(drop=True)


def _plain(levels: pd.DataFrame) -> pd.DataFrame:
    """Give a label frame that has only ``node`` one plain column per node."""
    plain = levels.copy(deep=False)
    plain.columns = pd.Index(levels.columns.get_level_values("node"), name="node")
    return plain


def _per_node(reading: counters.Reading, window: Window) -> pd.DataFrame:
    return _plain(frames.group(loading.inside(reading.increase, window), ["node"]))


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
    return _plain(frames.group(chosen, ["node"], how="max"))


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
    waiting = _plain(frames.group(states.loc[:, chosen], ["node"])).reindex(columns=nodes)
    # An agent that shows any state shows all that are not empty.
    known = _plain(frames.group(states, ["node"])).notna()
    return waiting.fillna(0.0).astype("float64").where(known)


def _restarts(agents: pd.DataFrame, window: Window) -> pd.DataFrame:
    """List the starts of agents that fall into the window."""
    starts = [
        {"time": moment, "node": node}
        for node, column in agents.items()
        for moment in pd.to_datetime(column.dropna().round().unique(), unit="s", utc=True)
        if window.start < moment <= window.end
    ]
    table = pd.DataFrame(starts, columns=["time", "node"])
    return table.sort_values(["time", "node"], ignore_index=True)
