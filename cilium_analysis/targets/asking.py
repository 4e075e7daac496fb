"""How a run asks which targets exist: a handful of queries, once per source and windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.queries import Matcher, Query, any_of, parse_matchers
from cilium_analysis.source import Once, recorded_range
from cilium_analysis.targets import histograms, words
from cilium_analysis.targets.model import Targets, put_together
from cilium_analysis.targets.naming import Names
from cilium_analysis.targets.replicas import Comparer
from cilium_analysis.targets.stored import END, Row, own_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.targets.stored import Component
    from cilium_analysis.window import Window

    Labels = tuple[tuple[str, str], ...]
    #: Why the server did not list the targets of a component, or those in ``up``.
    Refused = dict[str, str]

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
#: Ports of the chart: a hint where no metric shows the targets of a component.
_HINTS: Mapping[Component, tuple[str, str]] = {
    "agent": ("cilium", "9962"),
    "hubble": ("hubble", "9965"),
}
#: Shortest interval in which samples are counted: two scrapes of the slowest collectors.
BIN = timedelta(minutes=10)
#: A window is cut into about so many of them at most.
MOST_BINS = 60
#: Names of pods to ask kube-state-metrics for.
MOST_PODS = 2_000


def _sampled(metrics: Sequence[str], *, by: str) -> str:
    """Write PromQL for the samples of any of these metrics, per target."""
    each = " or ".join(f"count_over_time({metric}{{<match>}}[<range>])" for metric in metrics)
    return f"max {by} ({each})"


QUERIES: Mapping[str, Query] = {
    **{
        component: Query(
            _sampled(metrics, by=f"without ({', '.join(own_labels(metrics))})"),
            "samples",
            f"samples of each target that shows metrics of {component}s",
        )
        for component, metrics in METRICS.items()
    },
    "own_names": Query(
        " or ".join(
            f"count without ({', '.join(sorted({*own_labels([metric])} - {'source_node_name'}))})"
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
    matchers = [any_of("job", sorted(jobs))]
    matchers += [Matcher(label, "=", value) for label, value in sorted((alike or {}).items())]
    return "up{" + ",".join(str(matcher) for matcher in matchers) + ",<match>}"


_TARGETS: Once[tuple[tuple[Window, ...], str], Targets] = Once()


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

    def covers(held: tuple[tuple[Window, ...], str]) -> bool:
        return held[1] == match and all(
            any(h.start <= w.start and w.end <= h.end for h in held[0]) for w in wanted
        )

    asker = _Asker(source, wanted, parse_matchers(match))
    return _TARGETS(source, (wanted, match), asker.targets, fits=covers)


@dataclass(frozen=True)
class _Asker:
    """Asks one source about the targets in some windows."""

    source: Source
    windows: tuple[Window, ...]
    match: tuple[Matcher, ...]

    def targets(self) -> Targets:
        """Ask, and put together what is known."""
        rows, bins, refused = self._rows()
        comparer = Comparer(self.source, self.windows, self.match)
        found = put_together(
            rows,
            bins,
            compared=lambda pairs: comparer.evidence(rows, pairs, bins),
            named=lambda valid, clusters: self._names(rows, valid, clusters),
            ends=lambda numbers: comparer.ends(rows, numbers, bins),
        )
        presence: dict[str, Query] = {c: self._presence(rows, c) for c in METRICS}
        binned = dict.fromkeys(map(in_bins, self.windows))
        native, unread = histograms.native(self.source, binned, self.match)
        said = (*words.unread(unread), *words.refused(refused, ("hubble", "operator")))
        return replace(
            found,
            presence=presence if rows else {},
            notes=(*found.notes, *said),
            caveats=(*words.refused(refused, ("agent", "up")), *found.caveats),
            native=native,
            unread=unread,
        )

    # Which there are

    def _rows(self) -> tuple[list[Row], dict[int, tuple[pd.Timestamp, pd.Timestamp]], Refused]:
        found: dict[tuple[str, Labels], Row] = {}
        bins: dict[int, tuple[pd.Timestamp, pd.Timestamp]] = {}
        refused: Refused = {}
        for component, query in ((c, QUERIES[c]) for c in METRICS):
            for labels, counts in self._counted(query.promql, bins, refused, component):
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
        refused: Refused,
        what: str,
    ) -> Iterator[tuple[Labels, dict[int, float]]]:
        """Ask for samples in bins of time: each series with its samples by bin."""
        for window in dict.fromkeys(map(in_bins, self.windows)):
            text = Query(promql, "samples", "").render(match=self.match, step=window.step)
            try:
                frame = recorded_range(self.source, text, window)
            except (QueryRejected, BudgetExceeded) as problem:
                refused[what] = problem.why
                continue
            seconds = round(window.step.total_seconds())
            numbers = [round(time.timestamp()) // seconds for time in frame.index]
            # The bins of two windows may be of different lengths.
            base = seconds * 10**9
            for number, time in zip(numbers, frame.index, strict=True):
                bins[base + number] = (time - window.step, time)
            table = frames.labels(frame).astype(str)
            values = frame.to_numpy(dtype="float64")
            for column, labels in enumerate(table.to_dict("records")):
                rows = np.flatnonzero(values[:, column] > 0)
                # Context labels of Hubble that are younger than the table of metrics.
                key = tuple(
                    sorted(
                        (str(k), str(v)) for k, v in labels.items() if v and not END.match(str(k))
                    )
                )
                yield key, {base + numbers[r]: float(values[r, column]) for r in rows}

    def _add_up(
        self,
        found: dict[tuple[str, Labels], Row],
        bins: dict[int, tuple[pd.Timestamp, pd.Timestamp]],
        refused: Refused,
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
        for labels, counts in self._counted(each, bins, refused, "up"):
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

    # How they are called

    def _names(
        self, rows: Sequence[Row], valid: Mapping[tuple[str, str], object], clusters: Sequence[str]
    ) -> Names:
        """Ask what nodes are called, if the labels do not tell."""
        lacking = [r for r in rows if not any(("node", n) in valid for n in r.nodes)]
        if not lacking:
            return Names({}, {}, {})
        own: dict[int, set[str]] = {}
        for labels in self._instant(QUERIES["own_names"]):
            called = labels.pop("source_node_name", "")
            key = {k: v for k, v in labels.items() if v and not END.match(k)}
            for number, row in enumerate(rows):
                if called and dict(row.labels) == key:
                    own.setdefault(number, set()).add(called)
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
        # Where targets cannot be told apart, many call themselves otherwise.
        one = {number: min(called) for number, called in own.items() if len(called) == 1}
        return Names(one, of_pods, of_addresses)

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


def in_bins(window: Window) -> Window:
    """Give the window in bins in each of which every target is scraped, with one before it."""
    length = max(BIN, window.length / MOST_BINS)
    step = -(-length // BIN) * BIN
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


def _pod_query(pods: Sequence[str]) -> Query:
    return Query(
        f"kube_pod_info{{{any_of('pod', pods)},<match>}}", "pods", "nodes of the agents' pods"
    )


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
