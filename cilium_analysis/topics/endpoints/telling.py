"""What the findings about endpoints share: places, doubts, queries."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.baseline import join
from cilium_analysis.texts import percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from cilium_analysis.topics.endpoints.data import Endpoints


#: Endpoints may be not ready for so long; so many, or this share of a node's, are critical.
STUCK = timedelta(minutes=5)
CRITICAL_STUCK = 5.0
CRITICAL_SHARE = 0.25
ENOUGH_SCRAPED = 0.98
RESTART_BEFORE = timedelta(minutes=5)


def steps_of(data: Endpoints, length: timedelta) -> int:
    """Give how many steps of the window a length of time takes."""
    return -(-length // data.window.step)


def stretches(flags: np.ndarray, *, bridge: int) -> list[tuple[int, int]]:
    """Give the stretches where a flag is set, as pairs of positions."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    pairs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    return join(pairs, bridge=bridge)


def doubts_about(
    data: Endpoints, nodes: Iterable[str], start: pd.Timestamp, end: pd.Timestamp
) -> tuple[str, ...]:
    """Collect what speaks against the numbers of a finding."""
    named = sorted({node for node in nodes if node})
    seen = data.now.agents if data.now.agents.shape[1] else data.now.counts
    inside = seen.loc[(seen.index > start) & (seen.index <= end)].notna().mean()
    said = [
        f"{node} was scraped in only {percent(inside[node])} of the steps"
        for node in named
        if node in inside and inside[node] < ENOUGH_SCRAPED
    ]
    restarted = data.restarts[data.restarts["time"].between(start - RESTART_BEFORE, end)]
    said += [f"the agent on {n} restarted" for n in sorted(set(restarted["node"]) & set(named))]
    return (*said, *(f"server: {text}" for text in data.warnings))


def query_for(promql: str, labels: Mapping[str, str]) -> str:
    """Put matchers into the braces of a query."""
    matchers = ",".join(str(matcher_for(name, labels[name])) for name in sorted(labels))
    head, _, tail = promql.partition("}")
    joined = "," if matchers and not head.endswith("{") else ""
    return f"{head}{joined}{matchers}}}{tail}"


def is_address(text: str) -> bool:
    """Tell whether a node goes by its address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def matcher_for(name: str, value: str) -> Matcher:
    """Choose a label's value; a node that goes by its address has no label of its own."""
    if name == "node" and is_address(value):
        return Matcher("instance", "=~", rf"\[?{re.escape(value)}\]?(:[0-9]+)?")
    return Matcher(name, "=", value)
