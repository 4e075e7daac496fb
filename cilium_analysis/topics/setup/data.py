"""What the setup check is answered from: a few cheap questions about what there is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import NotPrometheus, QueryRejected
from cilium_analysis.queries import Matcher, Query, count_each, parse_matchers
from cilium_analysis.targets.naming import cluster_of
from cilium_analysis.targets.stored import Row, host
from cilium_analysis.topics import answers
from cilium_analysis.topics.model import Compared, Loader, Part
from cilium_analysis.topics.setup.checks import CHECKS
from cilium_analysis.topics.setup.configurations import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cilium_analysis.source import Source
    from cilium_analysis.targets import Targets
    from cilium_analysis.topics.reader import Reader
    from cilium_analysis.topics.setup.objects import Objects
    from cilium_analysis.window import Window

_NAMED = tuple(
    f"hubble_{name}_total"
    for name in ("drop", "flows_processed", "http_requests", "dns_queries", "dns_responses")
)
_BUCKETS = (
    "cilium_agent_api_process_time_seconds_bucket",
    "hubble_http_request_duration_seconds_bucket",
)
#: Components that have no metrics in the questions, by what their jobs or ports hint at.
_HINTS = {"Envoy": ("envoy", "9964"), "relay": ("relay", "9966")}
#: How components are called here.
NAMES = {"agent": "agent", "hubble": "Hubble", "operator": "operator"}


#: ``<range>`` is the length of the window here. What there is is asked at three moments: over the
#: whole window even a count would read more samples than a server allows.
QUERIES: Mapping[str, Query] = {
    "present": Query(
        count_each(sorted({metric for check in CHECKS for metric in check.metrics})),
        "series",
        "series of each metric that the questions need",
    ),
    "up": Query(
        "avg_over_time(up{<match>}[<range>])",
        "share",
        "share of the scrapes of each target that succeeded",
    ),
    "versions": Query(
        "count by (version) (cilium_version{<match>})",
        "agents",
        "agents of each version",
        spare=True,
    ),
    "labels": Query(
        count_each(_NAMED, [f'source_{name}!="",' for name in ("workload", "app", "pod")]),
        "series",
        "series of Hubble that name the workloads by labelsContext",
    ),
    "context": Query(
        count_each(_NAMED, ['source!="",']),
        "series",
        "series of Hubble that name the parties by sourceContext",
    ),
    "bare": Query(
        count_each(_NAMED, ['source_app!="",source_namespace="",']),
        "series",
        "series of Hubble that name a workload without its namespace",
        spare=True,
    ),
    "exported": Query(
        'count(cilium_version{exported_instance!="",<match>}'
        ' or hubble_flows_processed_total{exported_instance!="",<match>})',
        "series",
        "series whose target goes by exported_instance",
        spare=True,
    ),
    "bounds": Query(
        "count by (le) ("
        + " or ".join(f'{name}{{le=~"[0-9]+|[0-9]+[.]0",<match>}}' for name in _BUCKETS)
        + ")",
        "series",
        "spellings of the bounds of buckets",
        spare=True,
    ),
    "nodes": Query(
        "count by (exported_node, internal_ip, node) (kube_node_info{<match>})",
        "nodes",
        "nodes and their addresses, from kube-state-metrics",
        spare=True,
    ),
}
EXEMPLARS: Mapping[str, Query] = {
    "traces": Query("hubble_http_requests_total{<match>}", "requests", "traces of requests")
}


@dataclass(frozen=True, kw_only=True)
class There(Part):
    """What the monitoring of a cluster has.

    Parameters
    ----------
    present
        Number of series by metric, the highest at the start, middle and end of the window.
    targets
        One row per stored scrape target: ``component``, ``node``, ``instance``, ``job``, ``up``
        (share of its scrapes that succeeded; NaN if not known), ``interval`` between scrapes [s].
    versions
        Number of agents by version of Cilium at the end of the window.
    labelled, contextual, bare
        Hubble's metrics that name workloads by labelsContext, or parties by sourceContext; and
        those that name some without their namespace.
    scraping
        The targets of agents, Hubble and operators, as they are told apart.
    facts
        What these do not tell.
    exemplars
        Number of exemplars of HTTP requests in the window.
    """

    present: pd.Series
    targets: pd.DataFrame
    versions: pd.Series
    labelled: tuple[str, ...]
    contextual: tuple[str, ...]
    bare: tuple[str, ...]
    scraping: Targets
    facts: Facts
    exemplars: int


@dataclass(frozen=True, kw_only=True)
class Setup(Compared[There, Part]):
    """What the monitoring of a cluster has; nothing is compared with the baseline.

    Parameters
    ----------
    cluster
        What the Kubernetes API showed; None if it was not read.
    """

    cluster: Objects | None = None

    def with_cluster(self, cluster: Objects | None) -> Setup:
        """Give the same beside what the Kubernetes API showed; None if it was not read."""
        return replace(self, cluster=cluster)

    def untold(self, name: str) -> bool:
        """Tell whether the server refused one of `QUERIES`: what is not told is not missing."""
        return self.remarks.lacks(QUERIES[name])


def _all(reader: Reader, before: Reader) -> Setup:
    source, window, matchers = reader.source, reader.window, parse_matchers(reader.match)
    scraping = reader.targets
    moments = _moments(scraping.table, window)
    present, labels, context, bare, bounds = (
        _most([_by(_ask(source, name, window, m, matchers), label) for m in moments])
        for name, label in (
            ("present", "metric"),
            ("labels", "metric"),
            ("context", "metric"),
            ("bare", "metric"),
            ("bounds", "le"),
        )
    )
    versions = [_by(_ask(source, "versions", window, m, matchers), "version") for m in moments]
    exported = _ask(source, "exported", window, moments[-1], matchers)
    up = _up(source, window, scraping, matchers)
    table, unnamed = _targets(scraping, window, up)
    facts = Facts(
        unnamed=unnamed,
        exported=int(np.nansum(exported.to_numpy(dtype="float64"))),
        nodes=frames.labels(_ask(source, "nodes", window, moments[-1], matchers)),
        bounds=tuple(bounds.index),
        starts="cilium_process_start_time_seconds" in present.index,
        classic=_classic(source, scraping, window, moments, matchers),
    )
    there = There(
        window=window,
        present=present,
        targets=table,
        versions=next((each for each in reversed(versions) if len(each)), versions[-1]),
        labelled=tuple(labels.index),
        contextual=tuple(context.index),
        bare=tuple(bare.index),
        exemplars=_exemplars(source, window, matchers),
        scraping=scraping,
        facts=facts,
    )
    return Setup(source=source.name, now=there, baseline=Part(window=before.window))


load = Loader(_all)


def _moments(table: pd.DataFrame, window: Window) -> list[datetime]:
    """Choose when to ask what there is: also while targets were scraped, be it briefly."""
    found = {window.start, window.middle, window.end}
    if len(table):
        first = max(table["first"].min(), pd.Timestamp(window.start))
        last = min(table["last"].max(), pd.Timestamp(window.end))
        if first < last:
            found.add((first + (last - first) / 2).to_pydatetime())
    return sorted(found)


def _classic(
    source: Source,
    scraping: Targets,
    window: Window,
    moments: Sequence[datetime],
    matchers: Sequence[Matcher],
) -> tuple[str, ...]:
    """Ask which native histograms have classic series too."""
    if not scraping.native:
        return ()
    counted = count_each(f"{name}_count" for name in sorted(scraping.native))
    promql = Query(counted, "series", "").render(match=matchers, step=window.step)
    found = _most([_by(source.instant(promql, moment), "metric") for moment in moments])
    return tuple(found.index)


def _ask(
    source: Source, name: str, window: Window, moment: datetime, matchers: Sequence[Matcher]
) -> pd.DataFrame:
    promql = QUERIES[name].render(match=matchers, step=window.length)
    return answers.answered(source, QUERIES[name], lambda: source.instant(promql, moment))


def _most(counts: Sequence[pd.Series]) -> pd.Series:
    """Give the highest of the counts at several moments."""
    return pd.concat(counts, axis=1).max(axis=1).rename("series")


def _by(frame: pd.DataFrame, label: str) -> pd.Series:
    """Give the values of an instant answer by one label; series without it are left out."""
    table = frames.tidy(frame)
    if label not in table:
        return pd.Series(dtype="float64", index=pd.Index([], name=label, dtype=object))
    return table[table[label] != ""].groupby(label)["value"].sum()


def _up(
    source: Source, window: Window, scraping: Targets, matchers: Sequence[Matcher]
) -> list[tuple[Row, float]]:
    """Ask for the share of scrapes that succeeded, of all targets in the jobs of Cilium."""
    jobs = sorted(set(scraping.table["job"]) - {""})
    names = [*(re.escape(job) for job in jobs), ".*(cilium|envoy|hubble).*"]
    chosen = Matcher("job", "=~", "|".join(names))
    frame = _ask(source, "up", window, window.end, (*matchers, chosen))
    shares = frames.last(frame)
    rows = frames.labels(frame).astype(str).to_dict("records")
    found = []
    for labels, share in zip(rows, shares.to_numpy(dtype="float64"), strict=True):
        given = {str(k): str(v) for k, v in labels.items() if v and k != "__name__"}
        found.append((Row("agent", given), float(share)))
    return found


def _targets(
    scraping: Targets, window: Window, up: Sequence[tuple[Row, float]]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Lay the targets out, one row each; and count those without a label ``node``."""
    mine = scraping.table
    # Those that were there before the window only are no longer.
    mine = mine[(mine["last"] > pd.Timestamp(window.start)) | mine["last"].isna()]
    by_key = {_key(row, scraping.clusters): (row, share) for row, share in up}
    rows: list[dict[str, object]] = []
    unnamed: dict[str, int] = {}
    known = set()
    for _, each in mine.iterrows():
        key: tuple[str, ...] = tuple(str(each[n]) for n in ("job", "instance", "pod", "cluster"))
        known.add(key)
        row, share = by_key.get(key, (None, np.nan))
        component = str(each["component"])
        if row is not None and "node" not in row.labels and each["replica_of"] < 0:
            unnamed[component] = unnamed.get(component, 0) + 1
        kept = {name: each[name] for name in ("node", "instance", "job", "interval")}
        rows.append({"component": NAMES[component], "up": share, **kept})
    for key, (row, share) in by_key.items():
        name = _hinted(row)
        if key in known or not name:
            continue
        instance = row.labels.get("instance", "")
        node = next(iter(row.nodes), host(instance))
        kept = {"node": node, "instance": instance, "job": row.labels.get("job", "")}
        rows.append({"component": name, "up": share, "interval": np.nan, **kept})
    columns = ["component", "node", "instance", "job", "up", "interval"]
    table = pd.DataFrame(rows, columns=columns).astype({"up": "float64", "interval": "float64"})
    return table.sort_values(["component", "node", "instance"], ignore_index=True), unnamed


def _key(row: Row, clusters: Sequence[str]) -> tuple[str, ...]:
    own = (row.labels.get("job", ""), row.labels.get("instance", ""), row.pod)
    return (*own, cluster_of(row, clusters))


def _hinted(row: Row) -> str:
    """Name the component that a job or a port hints at; empty if none."""
    job, instance = row.labels.get("job", ""), row.labels.get("instance", "")
    for name, (word, port) in _HINTS.items():
        if word in job or instance.endswith(f":{port}"):
            return name
    return ""


def _exemplars(source: Source, window: Window, matchers: Sequence[Matcher]) -> int:
    promql = EXEMPLARS["traces"].render(match=matchers, step=window.step)
    try:
        return len(source.exemplars(promql, window))
    except (QueryRejected, NotPrometheus):
        return 0
