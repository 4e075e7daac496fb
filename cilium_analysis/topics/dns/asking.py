"""Tables about what was asked for, and how long the DNS proxy took: frames in, frames out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.frames import totals
from cilium_analysis.topics.buckets import quantile
from cilium_analysis.topics.dns.codes import ABSENT, DENIED, FINE, UNKNOWN
from cilium_analysis.topics.telling import rounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.topics.dns.data import Dns


def by_qtype(data: Dns) -> pd.DataFrame:
    """Give queries and responses by the type of record that was asked for.

    Returns
    -------
    pandas.DataFrame
        Index ``qtypes``; ``queries`` sent on, ``responses``, ``missing``, ``nxdomain`` (names that
        do not exist), ``failed`` (other codes than ``No Error``, and missing), ``denied`` (by
        policy), ``expected`` responses (of the baseline, for a window of this length); most
        queries first.
    """
    scale = data.window.length / data.baseline.length
    by = ["qtypes", "kind", "rcode"]
    now, usual = totals(data.types, by), totals(data.usual_types, by)
    kind, rcode = (now.index.get_level_values(name) for name in ("kind", "rcode"))
    answered = kind == "responses"
    parts = {
        "queries": now[~answered & (rcode != DENIED)],
        "responses": now[answered],
        "nxdomain": now[answered & (rcode == ABSENT)],
        "failed": now[answered & ~rcode.isin([FINE, ABSENT, UNKNOWN])],
        "denied": now[~answered & (rcode == DENIED)],
        "expected": usual[usual.index.get_level_values("kind") == "responses"] * scale,
    }
    sums = {name: part.groupby(level="qtypes").sum() for name, part in parts.items()}
    table = pd.DataFrame(sums, dtype="float64").fillna(0.0).rename_axis("qtypes")
    table.insert(2, "missing", (table["queries"] - table["responses"]).clip(lower=0.0))
    table["failed"] += table["missing"]
    table = table[(table > 0).any(axis=1)]
    return rounded(table.sort_values("queries", ascending=False, kind="stable"))


def by_ips(data: Dns) -> pd.DataFrame:
    """Give responses by how many addresses they returned.

    Returns
    -------
    pandas.DataFrame
        Index ``ips returned``; ``responses``, ``share``.
    """
    sums = totals(data.types, ["kind", "ips_returned"])
    sums = sums[sums.index.get_level_values("kind") == "responses"].droplevel("kind")
    sums = sums[sums > 0].rename_axis("ips returned").sort_values(ascending=False, kind="stable")
    table = pd.DataFrame({"responses": sums, "share": sums / sums.sum() if len(sums) else np.nan})
    return rounded(table)


def proxy_latency(data: Dns) -> pd.DataFrame:
    """Give how long lookups took in Cilium's DNS proxy, by step and outcome.

    Returns
    -------
    pandas.DataFrame
        ``step`` (``upstreamTime`` is the DNS server's), ``outcome`` (``allow``, ``denied``,
        ``timeout``, …), ``lookups``, quantiles ``p50``, ``p95``, ``p99``, ``usual p95`` and
        ``usual p99`` [s], interpolated within the buckets of their histogram; longest first.
    """
    usual = _buckets(data.usual_proxy_times)
    rows = [
        {
            "step": key[0],
            "outcome": key[1],
            "lookups": max(buckets.values()),
            **{f"p{100 * q:.0f}": quantile(q, buckets) for q in (0.5, 0.95, 0.99)},
            **{f"usual p{100 * q:.0f}": quantile(q, usual.get(key, {})) for q in (0.95, 0.99)},
        }
        for key, buckets in _buckets(data.proxy_times).items()
        if max(buckets.values()) >= 0.5
    ]
    names = ["step", "outcome", "lookups", "p50", "p95", "p99", "usual p95", "usual p99"]
    table = pd.DataFrame(rows, columns=names)
    return table.sort_values(["p99", "lookups"], ascending=False, kind="stable", ignore_index=True)


def _buckets(times: pd.DataFrame) -> Mapping[tuple[str, str], dict[str, float]]:
    """Give lookups by the bound of their duration, per step and outcome."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    sums = totals(times, ["scope", "error", "le"]).rename("lookups").reset_index()
    for step, outcome, le, count in sums.itertuples(index=False):
        found.setdefault((str(step), str(outcome)), {})[str(le)] = float(count)
    return found


def waits(data: Dns) -> pd.DataFrame:
    """Give how long each node's DNS proxy waited for DNS servers.

    Returns
    -------
    pandas.DataFrame
        Index ``node``; ``lookups`` sent on, ``mean s`` [s]; the slowest first.
    """
    sums = totals(data.waited, ["part", "node"]).rename("total").reset_index()
    counts, seconds = (
        sums[sums["part"] == part].set_index("node")["total"] for part in ("count", "sum")
    )
    counts = counts[counts > 0]
    table = pd.DataFrame(
        {"lookups": counts.round(), "mean s": seconds.reindex(counts.index) / counts}
    )
    return table.sort_values("mean s", ascending=False, kind="stable")
