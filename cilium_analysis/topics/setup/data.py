"""What the setup check is answered from: a few cheap questions about what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis import targets as scraping
from cilium_analysis.errors import NotPrometheus, QueryRejected
from cilium_analysis.queries import Query, parse_matchers
from cilium_analysis.topics import loading
from cilium_analysis.topics.setup.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cilium_analysis.queries import Matcher
    from cilium_analysis.source import Source
    from cilium_analysis.topics.setup.objects import Objects
    from cilium_analysis.window import Window

_NAMES = "|".join(sorted({metric for check in CHECKS for metric in check.metrics}))
_NAMED = "hubble_(drop|flows_processed|http_requests|dns_queries|dns_responses)_total"
_PORTS = {"9962": "agent", "9963": "operator", "9964": "Envoy", "9965": "Hubble", "9966": "relay"}
_TARGETS = 'up{instance=~".+:(9962|9963|9964|9965|9966)",<match>}[<range>]'

#: ``<range>`` is the length of the window here. What there is is asked at three moments: over the
#: whole window even a count would read more samples than a server allows.
QUERIES: Mapping[str, Query] = {
    "present": Query(
        f'count by (__name__) ({{__name__=~"{_NAMES}",<match>}})',
        "series",
        "series of each metric that the questions need",
    ),
    "up": Query(
        f"max by (cluster, instance, job, node, pod) (avg_over_time({_TARGETS}))",
        "share",
        "share of the scrapes of each target that succeeded",
    ),
    "scrapes": Query(
        f"max by (cluster, instance, job, node, pod) (count_over_time({_TARGETS}))",
        "scrapes",
        "scrapes of each target",
    ),
    "versions": Query(
        "count by (version) (cilium_version{<match>})", "agents", "agents of each version"
    ),
    "labels": Query(
        f'count by (__name__) ({{__name__=~"{_NAMED}",source_workload!="",<match>}})',
        "series",
        "series of Hubble that name the workloads by labelsContext",
    ),
    "context": Query(
        f'count by (__name__) ({{__name__=~"{_NAMED}",source!="",<match>}})',
        "series",
        "series of Hubble that name the parties by sourceContext",
    ),
}
EXEMPLARS: Mapping[str, Query] = {
    "traces": Query("hubble_http_requests_total{<match>}", "requests", "traces of requests")
}


@dataclass(frozen=True)
class Setup:
    """What the monitoring of a cluster has.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What was looked at; the baseline is not used.
    present
        Number of series by metric, the highest at the start, middle and end of the window.
    targets
        One row per scrape target: ``component``, ``node``, ``instance``, ``job``, ``up`` (share
        of its scrapes that succeeded), ``interval`` between scrapes [s].
    versions
        Number of agents by version of Cilium at the end of the window.
    labelled, contextual
        Hubble's metrics that name workloads by labelsContext, or parties by sourceContext.
    exemplars
        Number of exemplars of HTTP requests in the window.
    warnings
        What the server said about the answers.
    cluster
        What the Kubernetes API showed; None if it was not read.
    """

    source: str
    window: Window
    baseline: Window
    present: pd.Series
    targets: pd.DataFrame
    versions: pd.Series
    labelled: tuple[str, ...]
    contextual: tuple[str, ...]
    exemplars: int
    warnings: tuple[str, ...] = ()
    cluster: Objects | None = None


def load(
    source: Source,
    window: Window,
    baseline: Window,
    *,
    match: str = "",
    cluster: Objects | None = None,
) -> Setup:
    """Ask what there is.

    Parameters
    ----------
    source
        A server or a bundle.
    window, baseline
        Only the window is looked at.
    match
        Label matchers that narrow every query, such as ``cluster="prod"``.
    cluster
        What the Kubernetes API showed, if it was read.

    Raises
    ------
    ParameterError
        If the matchers cannot be read.
    PrometheusError, BundleError
        If the source does not answer.
    """
    began = len(source.journal)
    matchers = parse_matchers(match)
    moments = (window.start, window.middle, window.end)
    present, labels, context = (
        _most([_by(_ask(source, name, window, m, matchers), "__name__") for m in moments])
        for name in ("present", "labels", "context")
    )
    up, scrapes, versions = (
        _ask(source, name, window, window.end, matchers) for name in ("up", "scrapes", "versions")
    )
    return Setup(
        source=source.name,
        window=window,
        baseline=baseline,
        present=present,
        targets=_targets(source, window, up, scrapes, matchers),
        versions=_by(versions, "version"),
        labelled=tuple(labels.index),
        contextual=tuple(context.index),
        exemplars=_exemplars(source, window, matchers),
        warnings=loading.warnings(source, began),
        cluster=cluster,
    )


def _ask(
    source: Source, name: str, window: Window, moment: datetime, matchers: Sequence[Matcher]
) -> pd.DataFrame:
    promql = QUERIES[name].render(match=matchers, step=window.length)
    return source.instant(promql, moment)


def _most(counts: Sequence[pd.Series]) -> pd.Series:
    """Give the highest of the counts at several moments."""
    return pd.concat(counts, axis=1).max(axis=1).rename("series")


def _by(frame: pd.DataFrame, label: str) -> pd.Series:
    """Give the values of an instant answer by one label; series without it are left out."""
    table = frames.tidy(frame)
    if label not in table:
        return pd.Series(dtype="float64", index=pd.Index([], name=label, dtype=object))
    return table[table[label] != ""].groupby(label)["value"].sum()


def _targets(
    source: Source,
    window: Window,
    up: pd.DataFrame,
    scrapes: pd.DataFrame,
    matchers: Sequence[Matcher],
) -> pd.DataFrame:
    """Lay the targets out, one row each."""
    keys = ["cluster", "instance", "job", "node", "pod"]
    share, count = (
        frames.tidy(frames.with_levels(f, keys)).set_index(keys)["value"] for f in (up, scrapes)
    )
    table = pd.DataFrame({"up": share, "scrapes": count}).reset_index()
    match = ",".join(str(matcher) for matcher in matchers)
    told = scraping.of(source, window, match=match).table
    known = {scraping.host(i): str(n) for i, n in zip(told["instance"], told["node"], strict=True)}
    hosts = [scraping.host(instance) for instance in table["instance"]]
    table["node"] = [
        node or known.get(host, host) for node, host in zip(table["node"], hosts, strict=True)
    ]
    table["component"] = [_PORTS.get(i.rpartition(":")[2], "other") for i in table["instance"]]
    table["interval"] = window.length.total_seconds() / table["scrapes"]
    return table[["component", "node", "instance", "job", "up", "interval"]].sort_values(
        ["component", "node", "instance"], ignore_index=True
    )


def _exemplars(source: Source, window: Window, matchers: Sequence[Matcher]) -> int:
    promql = EXEMPLARS["traces"].render(match=matchers, step=window.step)
    try:
        return len(source.exemplars(promql, window))
    except (QueryRejected, NotPrometheus):
        return 0
