"""Whether a question can be answered: was it scraped, is the metric there, is there a baseline.

Each topic gives its reasons why not in its ``unknown``. Only without any does "nothing unusual"
hold. Caveats about single findings are in `caveats`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import NamesNoWorkload
from cilium_analysis.findings import Finding, Findings, Severity, Unknown
from cilium_analysis.targets.words import listed
from cilium_analysis.texts import percent
from cilium_analysis.topics import commands, loading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from numpy.typing import NDArray

    from cilium_analysis.targets import Targets
    from cilium_analysis.topics.model import Compared
    from cilium_analysis.topics.remarks import Remarks
    from cilium_analysis.window import Window

#: A node that was scraped in less than this share of the steps has gaps.
WHOLE = 0.98
#: What is a moment, or is about scrapes that are missing.
_OF_SCRAPES = frozenset(("agent_restart", "missing_metrics", "scrape_gap"))
#: What other nodes tell of a node; they probe it so often, or less.
PROBED, PROBE = frozenset(("node_unreachable", "node_latency")), timedelta(minutes=2)
#: Who counts what the query of a finding shows; the agent, if nothing is said here.
_COUNTED_BY = (("hubble_", "hubble"), ("cilium_operator_", "operator"))
#: Longer scrape intervals are gaps.
_LONGEST = timedelta(minutes=5)
#: Targets that were scraped in less than this share of the window leave most of it unknown.
ENOUGH = 0.5
NO_AGENTS = "no metrics of Cilium agents in this window"
AGENTS_SCRAPED = "the agents are scraped (Helm: prometheus.enabled=true)"
HUBBLE_SCRAPED = "Hubble's metrics are scraped (Helm: hubble.metrics.enabled)"


def told(
    data: Compared[Any, Any], found: Iterable[Finding], *, topic: str, unknown: Iterable[str]
) -> Findings:
    """Give the findings of a topic, with the reasons why it is unknown.

    Parameters
    ----------
    data
        What the topic loaded.
    found
        In any order.
    topic
        Name of the notebook.
    unknown
        Reasons why the question cannot be answered; none if it can.
    """
    reasons, remarks = data.remarks.silenced.explain(unknown), data.remarks
    if refused(remarks):
        # What the server refused to tell is not missing.
        found = [each for each in found if each.kind != "missing_metrics"]
    # Nor is what the user's matchers leave out.
    found = [
        each
        for each in found
        if each.kind != "missing_metrics"
        or not remarks.silenced.any_of([each.labels.get("metric", "")])
    ]
    if remarks.nodes:
        # Of a question about some workloads; a finding of several nodes names none as a label.
        found = [each for each in found if each.labels.get("node", "") in {"", *remarks.nodes}]
    doubted = (
        replace(
            each,
            trust_reasons=(
                *each.trust_reasons,
                *remarks.caveats,
                *(data.incidents if each.baseline_value is not None else ()),
                *_hidden(each, data),
            ),
            query=remarks.asked(each.query),
            labels=remarks.singled_out(each.labels),
            topic=topic,
            next_step=commands.complete(
                each.next_step,
                node=each.labels.get("node", ""),
                versions=data.versions,
                past=None if each.goes_on(data.window) else (each.start, each.end),
            ),
        )
        for each in (_reach(each, data) for each in found)
    )
    return Findings(
        data.source,
        data.window,
        data.baseline.window,
        tuple(doubted),
        topic=topic,
        unknown=(Unknown(topic, reasons),) if reasons else (),
    )


def _hidden(finding: Finding, data: Compared[Any, Any]) -> tuple[str, ...]:
    """Say that a sum over many nodes lacks what was counted on some of them in a scrape gap."""
    seen = data.remarks.scraped.get("hubble")
    if not data.crowd_note or seen is None or "hubble_" not in finding.query:
        return ()
    known = seen.astype(bool)
    gap = known.cummax() & known[::-1].cummax()[::-1] & ~known
    share = frames.between(gap, finding.start, finding.end).mean()
    nodes = [str(node) for node in share.index[share > 1.0 - WHOLE]]
    if not nodes:
        return ()
    return (
        f"Hubble on {listed(nodes)} was not scraped all that time: what it counted meanwhile is"
        " missing",
    )


def _reach(finding: Finding, data: Compared[Any, Any]) -> Finding:
    """Say whether a finding reaches as far as anything is known where it was seen.

    What a node counts itself is known as long as it was scraped; that it is away, others tell.
    The newest samples are up to a scrape interval old, and an end is known to within a step.
    """
    component = next((name for mark, name in _COUNTED_BY if mark in finding.query), "agent")
    frame = data.remarks.scraped.get(component)
    if finding.kind in _OF_SCRAPES or frame is None or not frame.to_numpy().any():
        return finding
    step, probed = data.window.step, finding.kind in PROBED
    named = {finding.labels["node"]} if finding.labels.get("node") else finding.nodes
    own = [node for node in frame if node in named and frame[node].any() and not probed]
    times = frame.index[(frame[own] if own else frame).any(axis=1).to_numpy()]
    sharp = step + min(_interval(data.remarks.targets, component), _LONGEST)
    sharp += PROBE if probed else timedelta()
    first, last = times[0] - step, times[-1]
    return replace(
        finding,
        begun_before=bool(times[0] > frame.index[0] and finding.start <= first + sharp),
        ongoing=bool(finding.end >= last - sharp),
        known_until=last.to_pydatetime() if last < frame.index[-1] else None,
    )


def _interval(targets: Targets | None, component: str) -> timedelta:
    """Give the longest scrape interval of a component's targets; 0 if none is known."""
    if targets is None:
        return timedelta()
    mine = targets.table.loc[targets.table["component"] == component, "interval"]
    return timedelta(seconds=float(mine.max()) if mine.notna().any() else 0.0)


def missing_metrics(
    window: Window,
    title: str,
    metric: str,
    *,
    before: int,
    unit: str = "agents",
    query: str = "",
    check: str = AGENTS_SCRAPED,
) -> Finding:
    """Give the finding that there are no metrics to answer a question from.

    Parameters
    ----------
    window
        Of the finding.
    title
        What is missing, and what is unknown without it.
    metric
        That is missing.
    before
        How many exported it in the baseline,
    unit
        and what they are.
    query
        Shows whether it is there; by default it counts its series.
    check
        What to check first.
    """
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title=title,
        start=window.start,
        end=window.end,
        labels={"metric": metric},
        value=0.0,
        baseline_value=float(before),
        unit=unit,
        query=query or f"count({metric})",
        next_step=f"Check that {check}, that the window is within the server's retention, and the"
        " label matchers.",
    )


def no_hubble(window: Window, what: str, metric: str, *, before: int) -> Finding:
    """Give the finding that a question is unknown, as neither agents nor Hubble were scraped.

    Parameters
    ----------
    window, metric, before
        As for `missing_metrics`.
    what
        That is unknown.
    """
    title = f"No metrics of agents or Hubble in this window: nothing can be said about {what}"
    return missing_metrics(
        window, title, metric, before=before, unit="servers", check=HUBBLE_SCRAPED
    )


def with_source_notes(said: Iterable[str], data: Compared[Any, Any]) -> list[str]:
    """Give the notes of a topic, followed by those about the targets and by the server's own."""
    incidents = (f"{text[0].upper()}{text[1:]}." for text in data.incidents)
    server = (f"Server: {text}" for text in data.warnings)
    return [*said, *incidents, *data.remarks.all, *server]


def refused(remarks: Remarks, *, shown: Collection[str] = ()) -> tuple[str, ...]:
    """Give the answers that a server refused and a topic cannot be judged without.

    Parameters
    ----------
    remarks
        On what the topic asked.
    shown
        Metrics that are only shown: it does not matter whether they name workloads.
    """
    needed = [each for each in remarks.refused if not each.query.spare]
    unnamed = {
        each.problem.why: None for each in needed if isinstance(each.problem, NamesNoWorkload)
    }
    needed = [each for each in needed if each.problem.why not in shown]
    unnamed = {metric: None for metric in unnamed if metric not in shown}
    said = {str(each): None for each in needed if each.problem.why not in unnamed}
    if unnamed:
        names = f"{', '.join(unnamed)} {'name' if len(unnamed) > 1 else 'names'}"
        said[f"{names} no workloads (Hubble: labelsContext)"] = None
    return tuple(said)


def rarely_scraped(seen: pd.DataFrame, what: str) -> tuple[str, ...]:
    """Say when most of the window is unknown, as hardly anything was scraped in it.

    Parameters
    ----------
    seen
        Frame of bool, one column per node; without columns nothing tells.
    what
        That was scraped, in the plural.
    """
    if not seen.size:
        return ()
    share = float(scraped(seen).mean())
    if share >= ENOUGH:
        return ()
    return (f"{what} were scraped in only {percent(share)} of the window",)


def scraped(seen: pd.DataFrame) -> pd.Series:
    """Give the share of the steps in which each node was scraped, or could not have been yet.

    Parameters
    ----------
    seen
        Frame of bool, one column per node.

    Returns
    -------
    pandas.Series
        0 to 1; the same on all pages.
    """
    shares = {node: _known(column.to_numpy(dtype=bool)) for node, column in seen.items()}
    return pd.Series(shares, dtype="float64")


def _known(seen: NDArray[np.bool_]) -> float:
    """Give the share of the steps since whose last scrape no other was due."""
    rows = np.arange(len(seen))
    last = np.maximum.accumulate(np.where(seen, rows, -1))
    return float((rows - last < loading.spacing(seen)).mean()) if seen.any() else 0.0


def gaps(seen: pd.DataFrame, window: Window, *, of: str = "") -> list[str]:
    """Say for how long nodes were not scraped, where that is long enough to matter.

    Parameters
    ----------
    seen
        As for `scraped`.
    window
        Its rows are steps of it.
    of
        What runs on the nodes, if it is not the agent.
    """
    minutes = window.length.total_seconds() / 60
    return [
        f"{of}{node} was not scraped for {(1.0 - share) * minutes:.0f} of the window's"
        f" {minutes:.0f} minutes."
        for node, share in scraped(seen).items()
        if share < WHOLE
    ]


def started(restarts: pd.DataFrame, window: Window) -> list[str]:
    """Say when agents started, in the same words on all pages.

    Parameters
    ----------
    restarts
        ``time`` and ``node``.
    window
        That was asked for.
    """
    return [
        f"The agent on {row['node']} started at {window.told(row['time'])}."
        for _, row in restarts.iterrows()
    ]


def no_baseline(*baseline: pd.DataFrame, what: str, fact: str = "") -> tuple[str, ...]:
    """Say when the baseline holds nothing to compare with.

    Parameters
    ----------
    baseline
        Frames of the baseline; any of them with series is something.
    what
        That is missing.
    fact
        What the window has nevertheless, as a whole clause.
    """
    if any(frame.shape[1] and frame.notna().to_numpy().any() for frame in baseline):
        return ()
    said = f"{fact}, and " if fact else ""
    return (f"{said}{what} in the baseline: what is usual is not known",)
