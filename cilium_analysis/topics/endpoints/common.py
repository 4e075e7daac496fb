"""What the findings about endpoints share: thresholds, caveats, queries."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.queries import Matcher
from cilium_analysis.targets.stored import is_address
from cilium_analysis.topics import caveats as of_topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from cilium_analysis.topics.endpoints.data import Endpoints

#: Endpoints may be not ready for so long; so many, or this share of a node's, are critical.
STUCK = timedelta(minutes=5)
CRITICAL_STUCK = 5.0
CRITICAL_SHARE = 0.25


def steps_of(data: Endpoints, length: timedelta) -> int:
    """Give how many steps of the window a length of time takes."""
    return -(-length // data.window.step)


def caveats(
    data: Endpoints, nodes: Iterable[str], start: pd.Timestamp, end: pd.Timestamp
) -> tuple[str, ...]:
    """Give the caveats about the numbers of a finding.

    Parameters
    ----------
    data
        As from `load`.
    nodes
        Those that it is about; an empty name is all.
    start, end
        Of the finding.
    """
    named = sorted({node for node in nodes if node})
    seen = data.now.agents if data.now.agents.shape[1] else data.now.counts
    return (
        *of_topics.not_scraped(seen.notna(), named, start, end),
        *of_topics.restarted(data.now.restarts, named, start, end),
        *(f"server: {text}" for text in data.warnings),
    )


def query_for(promql: str, labels: Mapping[str, str]) -> str:
    """Put matchers into the first braces of a query.

    Parameters
    ----------
    promql
        With braces.
    labels
        To match; a node that goes by its address has no label of its own, but an instance.
    """
    matchers = ",".join(
        str(Matcher("instance", "=~", rf"\[?{re.escape(value)}\]?(:[0-9]+)?"))
        if name == "node" and is_address(value)
        else str(Matcher(name, "=", value))
        for name, value in sorted(labels.items())
    )
    head, _, tail = promql.partition("}")
    joined = "," if matchers and not head.endswith("{") else ""
    return f"{head}{joined}{matchers}}}{tail}"
