"""Which histograms are stored as native ones: asked once per run, with the targets.

How both kinds are read is in `cilium_analysis.topics.buckets`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, BundleError, QueryRejected
from cilium_analysis.queries import Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cilium_analysis.queries import Matcher
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: All that the questions read.
HISTOGRAMS = (
    "cilium_agent_api_process_time_seconds",
    "cilium_bpf_syscall_duration_seconds",
    "cilium_controllers_runs_duration_seconds",
    "cilium_datapath_conntrack_gc_duration_seconds",
    "cilium_endpoint_regeneration_time_stats_seconds",
    "cilium_k8s_client_api_latency_time_seconds",
    "cilium_k8s_client_rate_limiter_duration_seconds",
    "cilium_kvstore_events_queue_seconds",
    "cilium_kvstore_operations_duration_seconds",
    "cilium_node_health_connectivity_latency_seconds",
    "cilium_operator_alibabacloud_api_duration_seconds",
    "cilium_operator_alibabacloud_api_rate_limit_duration_seconds",
    "cilium_operator_azure_api_duration_seconds",
    "cilium_operator_azure_api_rate_limit_duration_seconds",
    "cilium_operator_ec2_api_duration_seconds",
    "cilium_operator_ec2_api_rate_limit_duration_seconds",
    "cilium_policy_implementation_delay",
    "cilium_policy_incremental_update_duration",
    "cilium_proxy_upstream_reply_seconds",
    "hubble_http_request_duration_seconds",
)
#: Bounds of client_golang (``DefBuckets``), which most histograms of Cilium have [s].
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DECADES = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
#: Bounds that some versions of Cilium have beside, or instead of, these (registry of 1.20).
_OTHERS: Mapping[str, tuple[float, ...]] = {
    "cilium_agent_api_process_time_seconds": (20.0, 30.0, 60.0, 90.0, 120.0),
    "cilium_endpoint_regeneration_time_stats_seconds": _DECADES,
    "cilium_node_health_connectivity_latency_seconds": (0.001, 0.0025, 2.0, 4.0, 8.0),
    "cilium_policy_implementation_delay": _DECADES,
    "cilium_policy_incremental_update_duration": _DECADES,
}
#: Of a classic histogram no series has the bare name, so that any server can answer.
STORED = Query(
    "count by (__name__)"
    f' (last_over_time({{__name__=~"{"|".join(HISTOGRAMS)}",<match>}}[<range>]))',
    "series",
    "histograms that are stored as native ones",
)


def native(
    source: Source, windows: Iterable[Window], match: Sequence[Matcher]
) -> tuple[dict[str, tuple[float, ...]], str]:
    """Ask which histograms are stored as native ones.

    Parameters
    ----------
    source, match
        As for `cilium_analysis.targets.of`.
    windows
        In stretches of time, each as long as a step.

    Returns
    -------
    dict of str to tuple of float
        By name, the finite bounds of the buckets that it is to be read as: of its classic
        buckets, where these are stored too, else those that Cilium is known to have.
    str
        Why the server does not read native histograms, though it stores some; else empty.
    """
    asker = _Asker(source, tuple(windows), tuple(match))
    try:
        names = sorted({name for (name,) in asker.ask(STORED, "__name__")} & set(HISTOGRAMS))
    # Bundles of earlier versions do not hold it; Google's Prometheus knows no patterns of names.
    except (BudgetExceeded, BundleError, QueryRejected):
        return {}, ""
    if not names:
        return {}, ""
    try:
        highest = asker.ask(_highest(names), "metric")
        classic = asker.ask(_classic(names), "__name__", "le")
    except (BudgetExceeded, QueryRejected) as problem:
        return {}, getattr(problem, "reason", "") or str(problem)
    found = {}
    for (name,), bound in highest.items():
        own = {float(le) for n, le in classic if n == f"{name}_bucket"} - {math.inf}
        # Rounded: it is the sum of a bucket's lower bound and its width.
        last = float(f"{bound:.9g}")
        known = {b for b in {*BOUNDS, *_OTHERS.get(name, ()), last} if b <= last < math.inf}
        found[name] = tuple(sorted(own or known))
    return found, ""


def _highest(names: Sequence[str]) -> Query:
    """Ask for the upper end of the last bucket in use; of the one without an end, its lower."""
    each = {name: f"last_over_time({name}{{<match>}}[<range>])" for name in names}
    # The share of everything is 1: it is there so that a server that cannot tell it says so.
    promql = " or ".join(
        f"label_replace(max(histogram_quantile(1, {last})"
        f' * histogram_fraction(-Inf, +Inf, {last})), "metric", "{name}", "", "")'
        for name, last in each.items()
    )
    return Query(promql, "s", "highest bounds of native histograms in use")


def _classic(names: Sequence[str]) -> Query:
    """Ask for the bounds of the same histograms where they are classic ones too."""
    return Query(
        "count by (__name__, le)"
        f' (last_over_time({{__name__=~"({"|".join(names)})_bucket",<match>}}[<range>]))',
        "series",
        "bounds of the classic buckets of native histograms",
    )


@dataclass(frozen=True)
class _Asker:
    """Asks about all windows together."""

    source: Source
    windows: tuple[Window, ...]
    match: tuple[Matcher, ...]

    def ask(self, query: Query, *labels: str) -> dict[tuple[str, ...], float]:
        """Give the highest value of each series by its labels; NaN if it has none."""
        found: dict[tuple[str, ...], float] = {}
        for window in self.windows:
            promql = query.render(match=self.match, step=window.step)
            frame = self.source.range(promql, window)
            keys = zip(*(frames.values(frame, label) for label in labels), strict=True)
            for key, value in zip(keys, frame.max().to_numpy(dtype="float64"), strict=True):
                found[key] = float(np.fmax(found.get(key, np.nan), value))
        return found
