"""Which histograms are stored as native ones: asked once per run, with the targets.

Both kinds are read in `cilium_analysis.topics.buckets`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, BundleError, QueryRejected
from cilium_analysis.queries import Query
from cilium_analysis.source import recorded_range

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cilium_analysis.queries import Matcher
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: All histograms that the topics read, or did when bundles were recorded that hold the answer.
HISTOGRAMS = (
    "cilium_controllers_runs_duration_seconds",
    "cilium_endpoint_regeneration_time_stats_seconds",
    "cilium_k8s_client_api_latency_time_seconds",
    "cilium_k8s_client_rate_limiter_duration_seconds",
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
    source: Source, bins: Collection[Window], match: Sequence[Matcher]
) -> tuple[dict[str, tuple[float, ...]], str]:
    """Ask which histograms are stored as native ones.

    Parameters
    ----------
    source, match
        As for `cilium_analysis.targets.of`.
    bins
        The windows, with time bins as their steps.

    Returns
    -------
    dict of str to tuple of float
        By name, the finite bounds of the buckets that it is to be read as: of its classic
        buckets, where these are stored too, else those that Cilium is known to have.
    str
        Why the server does not read native histograms, though it stores some; else empty.
    """

    def ask(query: Query, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the highest value of each series by its labels; NaN if it has none."""
        found: dict[tuple[str, ...], float] = {}
        for window in bins:
            frame = recorded_range(source, query.render(match=match, step=window.step), window)
            keys = zip(*(frames.values(frame, label) for label in labels), strict=True)
            for key, value in zip(keys, frame.max().to_numpy(dtype="float64"), strict=True):
                found[key] = float(np.fmax(found.get(key, np.nan), value))
        return found

    try:
        names = sorted({name for (name,) in ask(STORED, "__name__")} & set(HISTOGRAMS))
    # Bundles of earlier versions do not hold it; Google's Prometheus takes no patterns of names.
    except (BudgetExceeded, BundleError, QueryRejected):
        return {}, ""
    if not names:
        return {}, ""
    try:
        highest = ask(_highest(names), "metric")
        classic = ask(_classic(names), "__name__", "le")
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
    """Write a query for the upper end of the last bucket in use; of an endless one, its lower."""
    each = {name: f"last_over_time({name}{{<match>}}[<range>])" for name in names}
    # The fraction of all is 1: it makes a server without this function refuse the query.
    promql = " or ".join(
        f"label_replace(max(histogram_quantile(1, {last})"
        f' * histogram_fraction(-Inf, +Inf, {last})), "metric", "{name}", "", "")'
        for name, last in each.items()
    )
    return Query(promql, "s", "highest bounds of native histograms in use")


def _classic(names: Sequence[str]) -> Query:
    """Write a query for the bounds of the same histograms where they are classic ones too."""
    return Query(
        "count by (__name__, le)"
        f' (last_over_time({{__name__=~"({"|".join(names)})_bucket",<match>}}[<range>]))',
        "series",
        "bounds of the classic buckets of native histograms",
    )
