"""Findings about errors: in logs, of controllers, of the APIs and stores depended on."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.texts import percent
from cilium_analysis.topics.health.restarts import restarted_before
from cilium_analysis.topics.health.troubles import Trouble, merged, troubles
from cilium_analysis.topics.health.words import (
    bare,
    duration,
    edges,
    keys,
    rarely_scraped,
    server_said,
    steps,
    where,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from cilium_analysis.topics.health.data import Health

#: So far apart may the edges of one trouble lie.
SAME_EDGES = timedelta(minutes=2)
#: Only warnings, no errors, are worth a warning themselves from so many on, or so long.
MANY_WARNINGS, LONG = 100.0, timedelta(minutes=10)
#: A smaller share of what is tried that fails is no warning.
SMALL = 0.01
#: What follows from an agent's start is no warning as long as it is over so soon after it.
AFTERMATH = timedelta(minutes=15)
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
    started = _restart(data, group, start)
    calm = started is not None and end - started <= AFTERMATH
    return Finding(
        kind=main.stream.kind,
        severity=Severity.INFO if calm else _severity(group, end - start),
        title=_error_title(data, group, end - start, started),
        start=start,
        end=end,
        labels=labels,
        value=counted,
        baseline_value=main.expected,
        unit="count",
        total=main.total,
        trust_reasons=_error_doubts(data, group, started),
        query=_error_query(main, labels),
        next_step=_error_advice(main),
    )


def _restart(data: Health, group: Sequence[Trouble], start: datetime) -> pd.Timestamp | None:
    """Give when the agents concerned had started, if the errors follow from that."""
    if group[0].stream.kind != "agent_errors":
        return None
    nodes = sorted({node for trouble in group for node in trouble.nodes})
    return restarted_before(data, nodes, pd.Timestamp(start))


def _severity(group: Sequence[Trouble], length: timedelta) -> Severity:
    # A share that is not known is not small.
    errors = any((t.errors > 0 and not t.share < SMALL) or t.failing > 0 for t in group)
    if all(t.share < SMALL and not t.failing for t in group):
        return Severity.INFO
    much = sum(t.total for t in group) >= MANY_WARNINGS or length >= LONG
    return Severity.WARNING if errors or much else Severity.INFO


def _error_title(
    data: Health, group: Sequence[Trouble], length: timedelta, started: pd.Timestamp | None
) -> str:
    main = group[0]
    agent = main.stream.kind == "agent_errors"
    place = f" {where(main.nodes, data.now.seen.shape[1])}" if agent else ""
    who = f"Agents{place}" if agent and len(main.nodes) > 1 else f"The agent{place}"
    number = f"{main.total:,.0f} {main.stream.what}" if main.total > 0 else main.stream.what
    if main.stream.what.endswith("log"):
        number = _log_words(main)
    part = "" if math.isnan(main.share) else f" ({percent(main.share)} of all)"
    usual = "" if math.isnan(main.expected) else f" instead of {main.expected:,.0f}"
    failing = f", {main.failing:.0f} {_FAILING[main.stream.subsystem]}" if main.failing else ""
    after = f" after the restart at {started:%H:%M:%S}Z" if started is not None else ""
    others = sorted(
        {t.stream.subsystem for t in group} - {main.stream.subsystem}
        | {t.stream.what for t in group[1:] if t.stream.subsystem == main.stream.subsystem}
    )
    also = f"; at the same time: {', '.join(others)}" if others else ""
    return (
        f"{who if agent else 'The operator'}, {main.stream.subsystem}: {number}{part}{usual} in"
        f" {duration(length)}{after}{failing}{also}"
    )


_FAILING = {"controllers": "controllers failing at once", "modules": "modules degraded at once"}


def _log_words(main: Trouble) -> str:
    warnings = main.total - main.errors
    parts = [
        f"{amount:,.0f} {name}"
        for name, amount in (("errors", main.errors), ("warnings", warnings))
        if amount >= 0.5
    ]
    return f"{' and '.join(parts)} in the log"


def _error_doubts(
    data: Health, group: Sequence[Trouble], started: pd.Timestamp | None
) -> tuple[str, ...]:
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
            if started is None and s.node in main.nodes and start <= s.time <= end
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
        "modules": "Ask which ones are degraded and why: cilium-dbg status --all-health.",
        "policy": "See which policies are not valid: kubectl get cnp,ccnp -A, and the agent's log"
        " for the policy's name.",
        "rate-limiter": "See which calls wait: cilium-dbg status --verbose, and the rate at which"
        " pods are created; limits are set by apiRateLimit (api-rate-limit in cilium-config).",
        "bpf": "Compare the size of the map with what fills it: cilium-dbg map list.",
    }
    name = main.stream.subsystem
    log = f"Read the agent's log of that time for subsys={name} (module={name} since Cilium 1.18)."
    return advice.get(main.stream.subsystem, log)
