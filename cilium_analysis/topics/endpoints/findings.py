"""Findings about endpoints: what a person should act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.topics import held, verdict
from cilium_analysis.topics.endpoints.failed import failed
from cilium_analysis.topics.endpoints.growth import growths
from cilium_analysis.topics.endpoints.limits import limits
from cilium_analysis.topics.endpoints.notes import UNKNOWN
from cilium_analysis.topics.endpoints.restored import unrestored
from cilium_analysis.topics.endpoints.unknown import unknown
from cilium_analysis.topics.endpoints.unready import unready

if TYPE_CHECKING:
    from cilium_analysis.topics.endpoints.data import Endpoints


@held.found
def findings(data: Endpoints) -> Findings:
    """Say what about the endpoints is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``endpoint_growth``, ``endpoint_not_ready``, ``endpoint_limit``,
        ``regeneration_failures``; ``missing_metrics`` if there is nothing to look at. Empty when
        nothing is unusual.
    """
    found = [
        *growths(data),
        *unready(data),
        *unrestored(data),
        *limits(data),
        *failed(data),
        *([_blind(data)] if data.blind else []),
    ]
    return verdict.told(data, found, topic="endpoint_growth", unknown=unknown(data))


def _blind(data: Endpoints) -> Finding:
    return Finding(
        kind="missing_metrics",
        severity=Severity.WARNING,
        title=f"{UNKNOWN}: nothing can be said about endpoints",
        start=data.window.start,
        end=data.window.end,
        labels={"metric": "cilium_endpoint"},
        value=0.0,
        baseline_value=float(max(data.usual.agents.shape[1], data.usual.counts.shape[1])),
        unit="agents",
        query="count(cilium_endpoint)",
        next_step="Check that the agents are scraped (Helm: prometheus.enabled=true), that the"
        " window is within the server's retention, and the label matchers.",
    )
