"""What is asked about connectivity, as data.

``cilium_node_connectivity_*`` have 2N² and 4N² series in a cluster of N nodes. So one query at one
moment asks which nodes were concerned at all, and only those are then looked at over time; what
comes back grows with N at most.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.queries import Query
from cilium_analysis.window import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How often cilium-health probes up to Cilium 1.17 (pkg/health/server/server.go,
#: ``ProbeInterval``), and what later versions stretch (pkg/health/server/prober.go).
PROBE = timedelta(minutes=1)
#: Points that one series may have, if it is about one of few nodes or of all nodes; outages are
#: looked at in steps of a minute at most where that is possible.
MOST_POINTS, MOST_POINTS_OF_ALL = 10_800, 3_000
#: A failed probe is observed as so many seconds (pkg/health/probe, ``HttpTimeout``).
FAILED = 10.0
#: Rounds of probes over which the mean of a histogram is taken.
ROUNDS = 3
#: Series to ask for at most: troubled nodes of each type, failing pairs, slow nodes.
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


def _level(selector: str) -> str:
    """Give a gauge in each step, and between two scrapes what the last one said."""
    return f"(avg_over_time({selector}[<range>]) or last_over_time({selector}[<recent>]))"


def _reached(selector: str) -> str:
    """Give one value per pair of nodes and type, even if an agent is scraped twice."""
    return f"max by ({_ENDS}) ({_level(selector)})"


def slow_targets(usual: timedelta, back: timedelta) -> Query:
    """Ask which nodes' latency rose most above a baseline of this length, so long before."""
    by = f"{_TARGET}, protocol, type"
    highest = f"quantile by ({by}) (0.5, max_over_time({_LATENCY}<span>))"
    return Query(
        _rise(highest, usual, back), "s", "nodes whose latency rose most above the baseline"
    )


def slow_observers(usual: timedelta, back: timedelta) -> Query:
    """Ask which observers' latency to the others rose most above a baseline."""
    by = f"{_OBSERVER}, protocol, type"
    total, count, good = (
        f"sum by ({by}, le) (increase({TOOK}_{name}{{{extra}<match>}}<span>))"
        for name, extra in _PARTS
    )
    total, count, reached = (f"max by ({by}) ({each})" for each in (total, count, good))
    mean = f"(({total} - {FAILED:g} * ({count} - {reached})) / ({reached} > 0))"
    return Query(_rise(mean, usual, back), "s", "observers whose latency rose most")


def _rise(level: str, usual: timedelta, back: timedelta) -> str:
    """Rank by how far the level is above that of the baseline, if there is one."""
    now = level.replace("<span>", "[<range>]")
    # Only what was before can be asked for: "offset" with a negative length is young.
    span = f"[{format_duration(usual)}] offset {format_duration(back)}"
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
