"""What is asked about connectivity, and how: on one grid of times, with the nodes named.

``cilium_node_connectivity_*`` have 2N² and 4N² series in a cluster of N nodes. So one query at one
moment asks which nodes were concerned at all, and only those are then looked at over time; what
comes back grows with N at most.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Matcher, Query, parse_matchers
from cilium_analysis.times import format_duration
from cilium_analysis.topics import answers, loading
from cilium_analysis.topics.buckets import as_stored
from cilium_analysis.topics.metric import metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.source import Source
    from cilium_analysis.targets import Targets
    from cilium_analysis.window import Window

#: How often cilium-health probes up to Cilium 1.17 (pkg/health/server/server.go,
#: ``ProbeInterval``), and what later versions lengthen (pkg/health/server/prober.go).
PROBE = timedelta(minutes=1)
#: Points that one series may have, if it is about one of few nodes or of all nodes; outages are
#: looked at in steps of a minute at most where that is possible.
MOST_POINTS, MOST_POINTS_OF_ALL = 10_800, 3_000
#: A failed probe is observed as so many seconds (pkg/health/probe, ``HttpTimeout``).
FAILED = 10.0
#: Rounds of probes over which the mean of a histogram is taken.
ROUNDS = 3
#: Series to ask for at most: nodes of each type with failures, failing pairs, slow nodes.
MOST_NODES = 30
MOST_PAIRS = 600
MOST_SLOW = 20
#: A latency is not worth asking about before it rose by so much [s].
LEAST_RISE = 0.0001
#: Quantiles of latency to tell.
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

_STATUS = 'cilium_node_connectivity_status{target_node_type!="local_node",<match>}'
_SELF = 'cilium_node_connectivity_status{target_node_type="local_node",type="node",<match>}'
_LATENCY = 'cilium_node_connectivity_latency_seconds{target_node_type!="local_node",<match>}'
_PROBE = f"last_over_time({_LATENCY}[<recent>])"
_PATHS = 'cilium_node_health_connectivity_status{type="node",<match>}'
_FAILING = 'cilium_node_health_connectivity_status{status="unreachable",<match>}'
TOOK = "cilium_node_health_connectivity_latency_seconds"
_SOURCE = "<cluster>, source_cluster, source_node_name"
_TARGET = "<cluster>, target_cluster, target_node_name"
_OBSERVER = "<target>, source_node_name"
_ENDS = f"{_SOURCE}, target_cluster, target_node_name, type"
#: The last bound below what a failed probe counts as: 8 s since Cilium 1.20, 5 s before.
_GOOD = 'le=~"(5|8)([.]0)?"'
#: Parts of a histogram, and what to select of them.
_PARTS = (("sum", ""), ("count", ""), ("bucket", _GOOD + ","))
_NODES_TOOK = f'{TOOK}_count{{type="node",<match>}}'

#: How many nodes each agent knows; as `agent_health` asks it.
NODES_KNOWN = metric(
    "gauge", "cilium_nodes_all_num", "nodes", "nodes that each agent knows", over="last"
)


def _level(selector: str) -> str:
    """Give a gauge in each step: between two scrapes it is as at the last one."""
    return f"(avg_over_time({selector}[<range>]) or last_over_time({selector}[<recent>]))"


def _reached(selector: str) -> str:
    """Give one value per pair of nodes and type, even if an agent is scraped twice."""
    return f"max by ({_ENDS}) ({_level(selector)})"


def slow_targets(baseline: timedelta, back: timedelta) -> Query:
    """Ask which nodes' latency rose most above a baseline of this length, so long before."""
    by = f"{_TARGET}, protocol, type"
    highest = f"quantile by ({by}) (0.5, max_over_time({_LATENCY}<span>))"
    return Query(
        _rise(highest, baseline, back), "s", "nodes whose latency rose most above the baseline"
    )


def slow_observers(baseline: timedelta, back: timedelta) -> Query:
    """Ask which observers' latency to the others rose most above a baseline."""
    by = f"{_OBSERVER}, protocol, type"
    total, count, good = (
        f"sum by ({by}, le) (increase({TOOK}_{name}{{{extra}<match>}}<span>))"
        for name, extra in _PARTS
    )
    total, count, reached = (f"max by ({by}) ({each})" for each in (total, count, good))
    mean = f"(({total} - {FAILED:g} * ({count} - {reached})) / ({reached} > 0))"
    return Query(_rise(mean, baseline, back), "s", "observers whose latency rose most")


def _rise(level: str, baseline: timedelta, back: timedelta) -> str:
    """Rank by how far the level is above that of the baseline, if there is one."""
    now = level.replace("<span>", "[<range>]")
    # Only what was before can be asked for: "offset" with a negative length is young.
    span = f"[{format_duration(baseline)}] offset {format_duration(back)}"
    then = level.replace("<span>", span)
    risen = f"({now} - {then} or {now})" if back > timedelta() else now
    return f"topk by (protocol, type) ({MOST_SLOW // 2}, {risen} > {LEAST_RISE})"


def _rounds() -> str:
    """Count the probes of each path in a second.

    The slope is right where a series covers a part of the time only, the rate across restarts.
    """
    took, known = f"{_NODES_TOOK}[<range>]", _PATHS.replace("{", '{status!="unknown",')
    often = f"((rate({took}) > deriv({took})) or deriv({took}))"
    return (
        f"quantile(0.5, sum by (<target>, protocol, type) ({often}) / on (<target>, type)"
        f" group_left () sum by (<target>, type) (avg_over_time({known}[<range>])))"
    )


QUERIES: Mapping[str, Query] = {
    "rounds": Query(
        _rounds(),
        "probes/s",
        "how often a path is probed: latency samples by the number of paths",
    ),
    "addresses": Query(
        "quantile(0.5, sum by (<target>) (avg_over_time("
        "cilium_node_health_connectivity_status{<match>}[<range>])))",
        "addresses",
        "addresses that an agent probes",
    ),
    "observers": Query(
        f"count by ({_SOURCE}) ({_level(_SELF)})",
        "agents",
        "whose view of the others is in the data (Cilium up to 1.17)",
    ),
    "failing_targets": Query(
        f"topk by (type) ({MOST_NODES}, sum by ({_TARGET}, type)"
        f" (1 - avg_over_time({_STATUS}[<range>])) > 0)",
        "observers",
        "nodes that any other node could not reach at some time, the worst first",
    ),
    "failing_sources": Query(
        f"topk by (type) ({MOST_NODES}, sum by ({_SOURCE}, type)"
        f" (1 - avg_over_time({_STATUS}[<range>])) > 0)",
        "targets",
        "nodes that could not reach any other node at some time, the worst first",
    ),
    "target_failing": Query(
        f"sum by ({_TARGET}, type) (1 - {_reached(_STATUS)})",
        "observers",
        "how many observers could not reach a node",
    ),
    "target_observers": Query(
        f"count by ({_TARGET}, type) ({_reached(_STATUS)})",
        "observers",
        "how many observers probed a node",
    ),
    "source_failing": Query(
        f"sum by ({_SOURCE}, type) (1 - {_reached(_STATUS)})",
        "targets",
        "how many others a node could not reach",
    ),
    "source_targets": Query(
        f"count by ({_SOURCE}, type) ({_reached(_STATUS)})",
        "targets",
        "how many others a node probed",
    ),
    "pairs": Query(
        f"(1 - {_reached(_STATUS)}) > 0",
        "share of probes",
        "pairs of nodes of which the first could not reach the second",
    ),
    "probed": Query(
        f"max by ({_TARGET}, type) ({_PROBE})",
        "s",
        "longest latency of a node; -1 if nobody has ever probed it",
    ),
    "failed_probes": Query(
        f"count by ({_TARGET}, address_type, protocol, type) (({_PROBE} >= 5) or ({_PROBE} == 0))",
        "paths",
        "paths to a node on which the last probe of an address by a protocol gave no latency",
    ),
    "usual_targets": Query(
        f"1 - avg by ({_TARGET}, type) (avg_over_time({_STATUS}[<range>]))",
        "share of probes",
        "share of probes of a node that failed in the baseline",
    ),
    "usual_sources": Query(
        f"1 - avg by ({_SOURCE}, type) (avg_over_time({_STATUS}[<range>]))",
        "share of probes",
        "share of a node's own probes that failed in the baseline",
    ),
    "target_latency": Query(
        f"quantile by ({_TARGET}, protocol, type) (0.5, ({_PROBE} > 0) < 5)",
        "s",
        "median over the observers of a node's latency, without failed probes",
    ),
    **{
        f"latency_{name}": Query(
            "quantile by (address_type, protocol, type)"
            f" ({quantile}, (quantile_over_time(0.5, {_LATENCY}[<range>]) > 0) < 5)",
            "s",
            f"{name} over all pairs of nodes of the median latency of a pair",
        )
        for name, quantile in QUANTILES.items()
    },
    "path_observers": Query(
        f"sum by ({_OBSERVER}) (max by ({_OBSERVER}, status) ({_level(_PATHS)}))",
        "paths",
        "how many paths each observer knows, the one to itself included (Cilium from 1.17 on)",
    ),
    "paths_failing": Query(
        f"max by ({_OBSERVER}, type) ({_level(_FAILING)}) > 0",
        "paths",
        "how many paths of each observer failed; which ones is not in the data",
    ),
    "usual_paths": Query(
        f"sum by (type) (avg_over_time({_FAILING}[<range>]))",
        "paths",
        "paths that failed in the baseline",
    ),
    "took": Query(
        " or ".join(
            f"label_replace(max by ({_OBSERVER}, protocol, type)"
            f' (last_over_time({TOOK}_{part}{{{extra}<match>}}[<recent>])), "part", "{part}", "",'
            ' "")'
            for part, extra in _PARTS
        ),
        "s, probes",
        "sums and counts of latencies of single observers",
    ),
    "buckets": Query(
        f"sum by (address_type, le, protocol, type) (increase({TOOK}_bucket{{<match>}}[<range>]))",
        "probes",
        "probes by how long they took; a failed probe counts as 10 s",
    ),
    "agents": Query(
        "count(max by (<target>) (max_over_time(cilium_unreachable_nodes{<match>}[<range>])))",
        "agents",
        "agents that say how many nodes they could not reach",
    ),
    **{
        f"missed_{kind}": Query(
            f"max by (<target>) (max_over_time({metric}{{<match>}}[<range>])"
            f" or last_over_time({metric}{{<match>}}[<recent>])) > 0",
            "nodes",
            about,
        )
        for kind, metric, about in (
            ("nodes", "cilium_unreachable_nodes", "nodes that each agent could not reach"),
            (
                "endpoints",
                "cilium_unreachable_health_endpoints",
                "nodes whose health endpoint each agent could not reach",
            ),
        )
    },
}


@dataclass(frozen=True)
class Asker:
    """Asks with the matchers of the user, and puts answers on one grid of times."""

    source: Source
    match: str
    known: Targets

    def render(self, query: Query, step: timedelta, *extra: Matcher) -> str:
        """Write a query as it is sent."""
        asked = as_stored(query, self.known.native)
        return self.known.render(asked, match=(*parse_matchers(self.match), *extra), step=step)

    def over(self, name: str, window: Window, *extra: Matcher) -> pd.DataFrame:
        """Ask a query from `loading.LEAD` before a window on."""
        wide = loading.led(window)
        promql = self.render(QUERIES[name], window.step, *extra)
        frame = self._clustered(
            answers.answered(self.source, QUERIES[name], lambda: self.source.range(promql, wide))
        )
        step = pd.Timedelta(window.step)
        # Some servers move the start of what is asked for.
        return frame.reindex(times(wide), method="nearest", tolerance=step / 2)

    def at_end(self, query: Query, window: Window, *extra: Matcher) -> pd.Series:
        """Ask a query about a whole window: one value per combination of labels."""
        promql = self.render(query, window.length, *extra)
        frame = self._clustered(
            answers.answered(self.source, query, lambda: self.source.instant(promql, window.end))
        )
        if not len(frame):
            return pd.Series([], index=frame.columns, dtype="float64")
        return frame.iloc[-1].dropna()

    def _clustered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Call the label that tells clusters apart ``cluster``, whatever its name is."""
        if not frame.shape[1] or self.known.clusters in ((), ("cluster",)):
            return frame
        return frames.relabel(frame, "cluster", self.known.cluster_of(frame))


def times(window: Window) -> pd.DatetimeIndex:
    """Give all points of a window."""
    begin = round(window.start.timestamp() * 1000)
    step = round(window.step.total_seconds() * 1000)
    return frames.time_index(begin + step * np.arange(window.points, dtype=np.int64))


@dataclass
class Names:
    """Names nodes, by cluster too where there is more than one, and remembers the bare names."""

    several: bool
    bare: dict[str, str] = field(default_factory=dict)

    def give(self, frame: pd.DataFrame, role: str, label: str, keep: Sequence[str]) -> pd.DataFrame:
        """Name the ends of paths; series of the same name are added up."""
        ends = ends_of(frame.columns, role)
        found = [self.name(*end) for end in ends]
        self.bare |= {name: end[1] for name, end in zip(found, ends, strict=True)}
        return frames.group(frames.relabel(frame, label, found), [*keep, label])

    def name(self, cluster: str, node: str) -> str:
        """Name a node; its cluster only where there are several."""
        return f"{cluster}/{node}" if self.several and cluster else node


def ends_of(columns: pd.Index, role: str) -> list[tuple[str, str]]:
    """Give cluster and node at one end; of clusters without a name, as Prometheus names them."""
    labels = ["cluster", f"{role}_cluster", f"{role}_node_name"]
    table = columns.to_frame(index=False).reindex(columns=labels, fill_value="")
    return [
        (own if own not in ("", "default") else scraped, node)
        for scraped, own, node in table.itertuples(index=False, name=None)
    ]


def by_observer(
    asker: Asker, name: str, window: Window, keep: Sequence[str], *extra: Matcher
) -> pd.DataFrame:
    """Ask a query whose series are those of observers, which are named as they name themselves."""
    match = ",".join(str(matcher) for matcher in (*parse_matchers(asker.match), *extra))
    frame = loading.fetch(asker.source, QUERIES[name], window, match=match)
    table = frames.labels(frame)
    if "source_node_name" in table:
        own = table["source_node_name"].where(table["source_node_name"] != "", table["node"])
        frame = frames.relabel(frame, "node", list(own))
    return frames.group(frame, keep, how="max")
