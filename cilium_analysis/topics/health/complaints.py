"""Findings about errors: in logs, of controllers, of the APIs and stores depended on."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.topics.health.troubles import Trouble, merged, troubles
from cilium_analysis.topics.health.words import (
    bare,
    edges,
    keys,
    rarely_scraped,
    server_said,
    steps,
    where,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.topics.health.data import Health

#: So far apart may the edges of one trouble lie.
SAME_EDGES = timedelta(minutes=2)
#: Only warnings, no errors, are worth a warning themselves from so many on, or so long.
MANY_WARNINGS, LONG = 100.0, timedelta(minutes=10)
#: Updates that fail are those of a full map, if it is this full.
NEARLY_FULL = 0.9


def complaints(data: Health) -> Iterator[Finding]:
    """Say which errors rose above the baseline.

    Parameters
    ----------
    data
        As from `load`.

    Yields
    ------
    Finding
        ``agent_errors`` and ``operator_errors``.
    """
    found = [trouble for trouble in troubles(data) if not _of_a_full_map(data, trouble)]
    for group in merged(found, within=steps(data, SAME_EDGES)):
        yield _error(data, group)


def _of_a_full_map(data: Health, trouble: Trouble) -> bool:
    """Tell whether the updates that fail are those of a map that is reported as full."""
    if not trouble.stream.map_name:
        return False
    pressure = data.now["pressure"].iloc[trouble.first : trouble.last]
    mine = [
        node in trouble.nodes and bare(name) == bare(trouble.stream.map_name)
        for name, node in keys(pressure)
    ]
    return bool((pressure.loc[:, mine] >= NEARLY_FULL).to_numpy().any())


def _error(data: Health, group: Sequence[Trouble]) -> Finding:
    main = group[0]
    first, last = min(t.first for t in group), max(t.last for t in group)
    start, end = edges(data, main.stream.counts.index, first, last)
    labels = {"subsystem": main.stream.subsystem}
    if main.stream.kind == "agent_errors" and len(main.nodes) == 1:
        labels["node"] = main.nodes[0]
    if main.stream.map_name:
        labels["map_name"] = main.stream.map_name
    counted = main.total if main.total > 0 else main.failing
    return Finding(
        kind=main.stream.kind,
        severity=_severity(group, end - start),
        title=_error_title(data, group, end - start),
        start=start,
        end=end,
        labels=labels,
        value=counted,
        baseline_value=main.expected,
        unit="count",
        total=main.total,
        trust_reasons=_error_doubts(data, group),
        query=_error_query(main, labels),
        next_step=_error_advice(main),
    )


def _severity(group: Sequence[Trouble], length: timedelta) -> Severity:
    errors = any(t.errors > 0 or t.failing > 0 for t in group)
    much = sum(t.total for t in group) >= MANY_WARNINGS or length >= LONG
    return Severity.WARNING if errors or much else Severity.INFO


def _error_title(data: Health, group: Sequence[Trouble], length: timedelta) -> str:
    main = group[0]
    agent = main.stream.kind == "agent_errors"
    place = f" {where(main.nodes, data.now.seen.shape[1])}" if agent else ""
    who = f"Agents{place}" if agent and len(main.nodes) > 1 else f"The agent{place}"
    minutes = length.total_seconds() / 60
    number = f"{main.total:,.0f} {main.stream.what}" if main.total > 0 else "failing controllers"
    if main.stream.what.endswith("log"):
        number = _log_words(main)
    usual = "" if math.isnan(main.expected) else f" instead of {main.expected:,.0f}"
    controllers = f", {main.failing:.0f} failing at once" if main.failing else ""
    others = sorted(
        {t.stream.subsystem for t in group} - {main.stream.subsystem}
        | {t.stream.what for t in group[1:] if t.stream.subsystem == main.stream.subsystem}
    )
    also = f"; at the same time: {', '.join(others)}" if others else ""
    return (
        f"{who if agent else 'The operator'}, {main.stream.subsystem}: {number}{usual} in"
        f" {minutes:.0f} minutes{controllers}{also}"
    )


def _log_words(main: Trouble) -> str:
    warnings = main.total - main.errors
    parts = [
        f"{amount:,.0f} {name}"
        for name, amount in (("errors", main.errors), ("warnings", warnings))
        if amount >= 0.5
    ]
    return f"{' and '.join(parts)} in the log"


def _error_doubts(data: Health, group: Sequence[Trouble]) -> tuple[str, ...]:
    main = group[0]
    said: list[str] = []
    if main.stream.kind == "agent_errors":
        said += rarely_scraped(data, main.nodes, main.first, main.last)
        index = main.stream.counts.index
        start, end = edges(data, index, main.first, main.last)
        said += [
            f"the agent on {s.node} started at {s.time:%H:%M:%S}Z: what it counted just before"
            " may be missing"
            for s in data.now.starts
            if s.node in main.nodes and start <= s.time <= end
        ]
    if math.isnan(main.expected):
        said.append("no data in the baseline: compared with the quieter half of the window")
    return (*dict.fromkeys(said), *server_said(data))


def _error_query(main: Trouble, labels: Mapping[str, str]) -> str:
    matchers = [main.stream.matchers] if main.stream.matchers else []
    matchers += [str(Matcher(n, "=", labels[n])) for n in ("node",) if n in labels]
    by = "level, node" if main.stream.what.endswith("log") else "node"
    return f"sum by ({by}) (increase({main.stream.metric}{{{','.join(matchers)}}}[5m]))"


def _error_advice(main: Trouble) -> str:
    if main.stream.kind == "operator_errors":
        return (
            "Read the operator's log of that time: kubectl -n kube-system logs -l"
            " io.cilium/app=operator --timestamps."
        )
    advice = {
        "controllers": "Ask which ones fail and why: cilium-dbg status --all-controllers.",
        "kvstore": "Look at the health of the key-value store: cilium-dbg status --verbose.",
        "k8s-client": "Look at the API server: its load, its latency, and the network to it.",
        "bpf": "Compare the size of the map with what fills it: cilium-dbg map list.",
    }
    log = f"Read the agent's log of that time for subsys={main.stream.subsystem}."
    return advice.get(main.stream.subsystem, log)
