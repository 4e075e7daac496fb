"""How a run asks which targets exist: a handful of queries, once per source and windows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.metrics.known import CONTEXT_LABELS, find
from cilium_analysis.queries import Matcher, Query, parse_matchers
from cilium_analysis.targets import words
from cilium_analysis.targets.model import (
    COLUMNS,
    Targets,
    choosing_once,
    keyed,
    tabled,
    telling_labels,
)
from cilium_analysis.targets.places import Names, cluster_labels, name, together, valid_signs
from cilium_analysis.targets.replicas import (
    Evidence,
    candidates,
    compare,
    compare_starts,
    judge,
    sampled,
)
from cilium_analysis.targets.stored import Row, single_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.source import Source
    from cilium_analysis.targets.replicas import Pair
    from cilium_analysis.targets.stored import Component
    from cilium_analysis.window import Window

    Labels = tuple[tuple[str, str], ...]

#: Any of these shows a target of a component: keep lists leave out any of them.
METRICS: Mapping[Component, tuple[str, ...]] = {
    "agent": (
        "cilium_process_start_time_seconds",
        "cilium_endpoint_state",
        "cilium_version",
        "cilium_unreachable_nodes",
        "cilium_forward_count_total",
        "cilium_drop_count_total",
    ),
    "hubble": (
        "hubble_flows_processed_total",
        "hubble_drop_total",
        "hubble_tcp_flags_total",
        "hubble_http_requests_total",
        "hubble_dns_queries_total",
        "hubble_dns_responses_total",
        "hubble_icmp_total",
        "hubble_port_distribution_total",
        "hubble_policy_verdicts_total",
    ),
    "operator": (
        "cilium_operator_process_start_time_seconds",
        "cilium_operator_unmanaged_pods",
    ),
}
#: Counters that tell two agents apart by their values.
COMPARED: Mapping[Component, tuple[str, ...]] = {
    "agent": ("cilium_forward_count_total", "cilium_drop_count_total"),
    "hubble": METRICS["hubble"][:5],
    "operator": (),
}
_STARTS: Mapping[Component, str] = {
    "agent": "cilium_process_start_time_seconds",
    "operator": "cilium_operator_process_start_time_seconds",
}
#: Ports of the chart: a hint where no metric shows the targets of a component.
_HINTS: Mapping[Component, tuple[str, str]] = {
    "agent": ("cilium", "9962"),
    "hubble": ("hubble", "9965"),
}
#: Shortest stretch of time in which samples are counted: two scrapes of the slowest collectors.
STRETCH = timedelta(minutes=10)
#: A window is cut into at most about so many stretches.
MOST_STRETCHES = 60
#: Times at which counters of two stored targets are compared.
COMPARISONS = 8
_ENDS = re.compile(r"(source|destination)_")
#: Names of pods to ask kube-state-metrics for.
MOST_PODS = 2_000


def _own(metrics: Sequence[str]) -> list[str]:
    """Name the metrics' own labels: what is left of a series are the labels of its target."""
    found = {label for each in metrics if (known := find(each)) for label in known.labels}
    if any(each.startswith("hubble_") for each in metrics):
        found |= {*CONTEXT_LABELS, "type", "rcode"}
    return sorted(label for label in found if label.isidentifier())


def _sampled(metrics: Sequence[str], *, by: str) -> str:
    """Write PromQL for the samples of any of these metrics, per target."""
    each = " or ".join(f"count_over_time({metric}{{<match>}}[<range>])" for metric in metrics)
    return f"max {by} ({each})"


QUERIES: Mapping[str, Query] = {
    **{
        component: Query(
            _sampled(metrics, by=f"without ({', '.join(_own(metrics))})"),
            "samples",
            f"samples of each target that shows metrics of {component}s",
        )
        for component, metrics in METRICS.items()
    },
    "own_names": Query(
        " or ".join(
            f"count without ({', '.join(n for n in _own([metric]) if n != 'source_node_name')})"
            f' ({metric}{{source_node_name!="",type="node",<match>}})'
            for metric in (
                "cilium_node_connectivity_status",
                "cilium_node_health_connectivity_status",
            )
        ),
        "series",
        "the name each agent gives its own node (Cilium up to 1.18)",
    ),
    "addresses": Query(
        "kube_node_info{<match>}", "nodes", "addresses of the nodes, from kube-state-metrics"
    ),
}


def up_query(jobs: Sequence[str], alike: Mapping[str, str] | None = None) -> str:
    """Write a selector for ``up`` of these jobs.

    Parameters
    ----------
    jobs
        Values of the label ``job``.
    alike
        Labels that all targets wanted have.
    """
    escaped = sorted(_escaped(job) for job in jobs)
    matchers = [Matcher("job", "=~", "|".join(escaped))]
    matchers += [Matcher(label, "=", value) for label, value in sorted((alike or {}).items())]
    return "up{" + ",".join(str(matcher) for matcher in matchers) + ",<match>}"


def _escaped(text: str) -> str:
    return "".join("\\" + char if char in "\\.+*?()|[]{}^$" else char for char in text)


#: What sources have told: every topic of a run needs the same.
_KNOWN: WeakKeyDictionary[Source, list[tuple[tuple[Window, ...], str, Targets]]] = (
    WeakKeyDictionary()
)


def of(source: Source, *windows: Window, match: str = "") -> Targets:
    """Give the targets that were scraped in some windows; each source is asked once.

    Parameters
    ----------
    source
        What answers. A bundle knows the targets of the windows that it was recorded for.
    windows
        Best all that a run looks at. One that lies in windows that were asked for already is
        answered by these.
    match
        Label matchers of the user.
    """
    wanted = tuple(getattr(source, "recorded", ()) or windows)
    known = _KNOWN.setdefault(source, [])
    for held, matched, found in reversed(known):
        if matched == match and all(any(_within(w, h) for h in held) for w in wanted):
            return found
    found = _Asker(source, wanted, parse_matchers(match)).targets()
    known.append((wanted, match, found))
    return found


def _within(window: Window, held: Window) -> bool:
    return held.start <= window.start and window.end <= held.end and held.step <= window.step


@dataclass(frozen=True)
class _Asker:
    """Asks one source about the targets in some windows."""

    source: Source
    windows: tuple[Window, ...]
    match: tuple[Matcher, ...]

    def targets(self) -> Targets:
        """Ask, and put together what is known."""
        rows, bins, refused = self._rows()
        if not rows:
            caveats = words.refused(refused)
            return Targets(pd.DataFrame(columns=list(COLUMNS)), caveats=caveats)
        single = single_labels(rows)
        for row in rows:
            row.single = single
        valid = valid_signs(rows)
        pairs = candidates(rows, list(valid.values()))
        evidence = self._evidence(rows, sampled(rows, pairs), bins) if pairs else {}
        verdicts = judge(rows, pairs, evidence)
        clusters = cluster_labels(rows, verdicts)
        places = together(rows, valid, clusters)
        known = self._names(rows, valid, clusters)
        nodes = _distinct(
            rows, places, name(rows, places, valid, known, clusters=clusters), clusters
        )
        labels = telling_labels(rows, places, clusters)
        table = tabled(rows, nodes, places, clusters, bins=bins)
        once = choosing_once(rows, places) if (table["replica_of"] >= 0).any() else ()
        return Targets(
            table=table,
            labels=labels,
            clusters=clusters,
            nodes=keyed(rows, nodes, labels),
            single=once or (),
            presence={c: self._presence(rows, c) for c in METRICS},
            notes=words.notes(rows, table, clusters),
            caveats=(
                *words.refused(refused),
                *words.caveats(rows, table, pairs, verdicts, unmerged=once is None),
            ),
        )

    # Which there are

    def _rows(self) -> tuple[list[Row], dict[int, tuple[pd.Timestamp, pd.Timestamp]], list[str]]:
        found: dict[tuple[str, Labels], Row] = {}
        bins: dict[int, tuple[pd.Timestamp, pd.Timestamp]] = {}
        refused: list[str] = []
        for component, query in ((c, QUERIES[c]) for c in METRICS):
            for labels, counts in self._counted(query.promql, bins, refused):
                key = (component, labels)
                row = found.setdefault(key, Row(component, dict(labels)))
                row.bins.update(counts)
        self._add_up(found, bins, refused)
        ordered = sorted(found.items(), key=lambda item: item[0])
        return [row for _, row in ordered], bins, refused

    def _counted(
        self,
        promql: str,
        bins: dict[int, tuple[pd.Timestamp, pd.Timestamp]],
        refused: list[str],
    ) -> Iterator[tuple[Labels, dict[int, float]]]:
        """Ask for samples in stretches of time: each series with its samples by stretch."""
        for window in dict.fromkeys(map(_in_stretches, self.windows)):
            text = Query(promql, "samples", "").render(match=self.match, step=window.step)
            try:
                frame = self.source.range(text, window)
            except (QueryRejected, BudgetExceeded) as problem:
                refused.append(str(problem))
                continue
            seconds = round(window.step.total_seconds())
            numbers = [round(time.timestamp()) // seconds for time in frame.index]
            # Two windows may have stretches of other lengths.
            base = seconds * 10**9
            for number, time in zip(numbers, frame.index, strict=True):
                bins[base + number] = (time - window.step, time)
            table = frames.labels(frame).astype(str)
            values = frame.to_numpy(dtype="float64")
            for place, labels in enumerate(table.to_dict("records")):
                rows = np.flatnonzero(values[:, place] > 0)
                # Context labels of Hubble that are younger than the table of metrics.
                key = tuple(
                    sorted(
                        (str(k), str(v)) for k, v in labels.items() if v and not _ENDS.match(str(k))
                    )
                )
                yield key, {base + numbers[r]: float(values[r, place]) for r in rows}

    def _add_up(
        self,
        found: dict[tuple[str, Labels], Row],
        bins: dict[int, tuple[pd.Timestamp, pd.Timestamp]],
        refused: list[str],
    ) -> None:
        """Add targets that only ``up`` shows: those that had nothing to tell."""
        jobs: dict[str, dict[str, list[Row]]] = {}
        for (component, _), row in found.items():
            jobs.setdefault(row.labels.get("job", ""), {}).setdefault(component, []).append(row)
        named = up_query([job for job in jobs if job])
        hints, ports = ("|".join(words) for words in zip(*_HINTS.values(), strict=True))
        selectors = [named] if any(jobs) else []
        selectors += [
            f'up{{job=~".*({hints}).*",<match>}}',
            f'up{{instance=~".+:({ports})",<match>}}',
        ]
        each = " or ".join(f"count_over_time({selector}[<range>])" for selector in selectors)
        for labels, counts in self._counted(each, bins, refused):
            given = dict(labels)
            exact = [found[(c, labels)] for c in METRICS if (c, labels) in found]
            for row in exact:
                row.up = True
            for component in () if exact else _components(given, jobs):
                row = found.setdefault((component, labels), Row(component, given, up=True))
                row.bins.update(counts)

    def _presence(self, rows: Sequence[Row], component: Component) -> Query:
        """Ask in which steps the targets of a component were scraped: 1, or 0 where it failed."""
        mine = [row for row in rows if row.component == component]
        if mine and all(row.up and row.labels.get("job") for row in mine):
            alike = {
                label: value
                for label, value in mine[0].labels.items()
                if label not in ("job", "instance")
                and all(row.labels.get(label) == value for row in mine)
            }
            selector = up_query(sorted({row.labels["job"] for row in mine}), alike)
            promql = f"max by (<target>) (max_over_time({selector}[<range>]))"
        else:
            counted = _sampled(METRICS[component], by="by (<target>)")
            promql = f"({counted}) > bool 0"
        return Query(promql, "bool", f"whether each target of {component}s was scraped")

    # Which are the same

    def _evidence(
        self,
        rows: Sequence[Row],
        pairs: Sequence[Pair],
        bins: Mapping[int, tuple[pd.Timestamp, pd.Timestamp]],
    ) -> dict[Pair, Evidence]:
        """Compare counters of stored targets."""
        found = {pair: Evidence() for pair in pairs}
        for component, metrics in COMPARED.items():
            mine = [pair for pair in pairs if rows[pair[0]].component == component]
            if not mine:
                continue
            window = self._shared(rows, mine, bins)
            for metric in (_STARTS.get(component, ""), *metrics):
                if not metric:
                    continue
                values = self._values(metric, [rows[n] for pair in mine for n in pair], window)
                for pair in mine:
                    one, other = (_of_row(values, rows[n], _own([metric])) for n in pair)
                    if metric == _STARTS.get(component):
                        found[pair] += compare_starts(_latest(one), _latest(other))
                    elif one.shape[1] or other.shape[1]:
                        found[pair] += compare(one, other)
        return found

    def _shared(
        self,
        rows: Sequence[Row],
        pairs: Sequence[Pair],
        bins: Mapping[int, tuple[pd.Timestamp, pd.Timestamp]],
    ) -> Window:
        """Choose times at which most of these targets were scraped."""
        common: dict[int, int] = {}
        for one, other in pairs:
            for each in rows[one].bins.keys() & rows[other].bins.keys():
                common[each] = common.get(each, 0) + 1
        last = max(common, key=lambda each: (common[each], bins[each][1]))
        first, end = (moment.to_pydatetime() for moment in bins[last])
        apart: timedelta = max(end - first, STRETCH) / 2
        window = min(self.windows, key=lambda w: abs((w.end - end).total_seconds()))
        return replace(window, start=end - COMPARISONS * apart, end=end, step=apart)

    def _values(self, metric: str, rows: Sequence[Row], window: Window) -> pd.DataFrame:
        """Ask for the counters of some stored targets only."""
        extra = []
        for label in ("instance", "pod", "exported_instance"):
            values = sorted({row.labels.get(label, "") for row in rows})
            if len(values) > 1 and all(values):
                extra.append(Matcher(label, "=~", "|".join(map(_escaped, values))))
                break
        promql = Query(f"max_over_time({metric}{{<match>}}[<range>])", "", "").render(
            match=(*self.match, *extra), step=window.step
        )
        try:
            return self.source.range(promql, window)
        except (QueryRejected, BudgetExceeded):
            return frames.empty()

    # How they are called

    def _names(
        self, rows: Sequence[Row], valid: Mapping[tuple[str, str], object], clusters: Sequence[str]
    ) -> Names:
        """Ask what nodes are called, if the labels do not tell."""
        lacking = [r for r in rows if not any(("node", n) in valid for n in r.nodes)]
        if not lacking:
            return Names({}, {}, {})
        own: dict[int, str] = {}
        for labels in self._instant(QUERIES["own_names"]):
            called = labels.pop("source_node_name", "")
            key = {k: v for k, v in labels.items() if v}
            own |= {n: called for n, row in enumerate(rows) if called and dict(row.labels) == key}
        pods = sorted({row.pod.rpartition("/")[2] for row in lacking if row.pod})[:MOST_PODS]
        told = self._instant(_pod_query(pods)) if pods else []
        of_pods = _consistent([(each.get("pod", ""), _node(each)) for each in told])
        nodes = self._instant(QUERIES["addresses"])
        of_addresses = _consistent(
            [
                (_in_cluster(each, each.get("internal_ip", ""), clusters), _node(each))
                for each in nodes
            ]
        )
        return Names(own, of_pods, of_addresses)

    def _instant(self, query: Query) -> list[dict[str, str]]:
        """Give the labels of all series that there are at the end of the windows."""
        found: list[dict[str, str]] = []
        for moment in dict.fromkeys(window.end for window in self.windows):
            step = self.windows[0].step
            try:
                frame = self.source.instant(query.render(match=self.match, step=step), moment)
            except (QueryRejected, BudgetExceeded):
                continue
            found += [
                {str(k): str(v) for k, v in row.items()}
                for row in frames.labels(frame).to_dict("records")
            ]
        return found


def _in_stretches(window: Window) -> Window:
    """Give the window in stretches in which every target is scraped, with one before it."""
    length = max(STRETCH, window.length / MOST_STRETCHES)
    step = -(-length // STRETCH) * STRETCH
    count = -(-window.length // step) + 1
    return replace(window, start=window.end - (count - 1) * step, step=step)


def _components(
    labels: Mapping[str, str], jobs: Mapping[str, Mapping[str, Sequence[Row]]]
) -> list[Component]:
    """Say whose target ``up`` shows: that of the others in its job, else what its name hints at."""
    known = jobs.get(labels.get("job", ""), {})
    if len(known) == 1:
        component, rows = next(iter(known.items()))
        alike = dict(frozenset.intersection(*(frozenset(row.rest) for row in rows)))
        fits = all(labels.get(name) == value for name, value in alike.items())
        return [component] if fits else []  # type: ignore[list-item]
    found: list[Component] = []
    for component, (hint, port) in _HINTS.items():
        shown = any(component in each for each in jobs.values())
        instance, job = labels.get("instance", ""), labels.get("job", "")
        other = any(h in job for c, (h, _) in _HINTS.items() if c != component and c == "hubble")
        if (
            not shown
            and not found
            and (instance.endswith(f":{port}") or (hint in job and not other))
        ):
            found.append(component)
    return (
        found if not any(w in labels.get("job", "") for w in ("operator", "envoy", "relay")) else []
    )


def _of_row(values: pd.DataFrame, row: Row, own: Sequence[str]) -> pd.DataFrame:
    """Pick the series of one stored target, with the metric's own labels in the columns."""
    table = frames.labels(values)
    mine = np.ones(len(table), dtype=bool)
    for label in table.columns:
        if label not in own:
            mine &= (table[label] == row.labels.get(str(label), "")).to_numpy()
    picked = values.loc[:, mine]
    left = [label for label in table.columns if label in own]
    keys = [tuple(key) for key in table.loc[mine, left].itertuples(index=False)]
    return pd.DataFrame(
        picked.to_numpy(), index=picked.index, columns=pd.Index(keys, tupleize_cols=False)
    )


def _latest(values: pd.DataFrame) -> float:
    known = values.to_numpy(dtype="float64").ravel()
    known = known[~np.isnan(known)]
    return float(known[-1]) if len(known) else float("nan")


def _pod_query(pods: Sequence[str]) -> Query:
    chosen = Matcher("pod", "=~", "|".join(map(_escaped, pods)))
    return Query(f"kube_pod_info{{{chosen},<match>}}", "pods", "nodes of the agents' pods")


def _node(labels: Mapping[str, str]) -> str:
    """Give the node that a metric of kube-state-metrics is about, not where that itself runs."""
    return labels.get("exported_node") or labels.get("node", "")


def _in_cluster(labels: Mapping[str, str], address: str, clusters: Sequence[str]) -> str:
    return "/".join([*(labels[c] for c in clusters if labels.get(c)), address]) if address else ""


def _consistent(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Keep what has one name only, which hardly anything else has.

    The node of whoever scrapes would be the name of all.
    """
    names: dict[str, set[str]] = {}
    things: dict[str, set[str]] = {}
    for thing, called in pairs:
        if thing and called:
            names.setdefault(thing, set()).add(called)
            things.setdefault(called, set()).add(thing)
    one = {thing: next(iter(called)) for thing, called in names.items() if len(called) == 1}
    return {thing: called for thing, called in one.items() if len(things[called]) <= 2}


def _distinct(
    rows: Sequence[Row], places: Sequence[int], nodes: Sequence[str], clusters: Sequence[str]
) -> list[str]:
    """Write the cluster before a node's name, and tell different places of one name apart."""
    several = len({tuple(r.labels.get(c, "") for c in clusters) for r in rows}) > 1
    found = []
    for row, node in zip(rows, nodes, strict=True):
        cluster = "/".join(row.labels[c] for c in clusters if c in row.labels)
        found.append(f"{cluster}/{node}" if several and cluster else node)
    owners: dict[str, set[int]] = {}
    for row, node, place in zip(rows, found, places, strict=True):
        if row.component != "operator":
            owners.setdefault(node, set()).add(place)
    marks = [row.pod.rpartition("/")[2] or next(iter(sorted(row.addresses)), "") for row in rows]
    return [
        f"{node} ({mark})" if len(owners.get(node, ())) > 1 and node and mark != node else node
        for node, mark in zip(found, marks, strict=True)
    ]
