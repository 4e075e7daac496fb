"""Findings about flows: connections that fail, and traffic that is not what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics import held, verdict
from cilium_analysis.topics.flows.failures import failures
from cilium_analysis.topics.flows.traffic import shifts
from cilium_analysis.topics.flows.unknown import unknown
from cilium_analysis.topics.telling import blind

if TYPE_CHECKING:
    from cilium_analysis.findings import Findings
    from cilium_analysis.topics.flows.data import Flows


@held.found
def findings(data: Flows) -> Findings:
    """Say what about flows is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``tcp_failures`` where resets or SYNs without an answer rise, ``traffic_shift`` where the
        forwarded traffic is far from its baseline; ``missing_metrics`` if neither agents nor
        Hubble can be seen. Empty when nothing is unusual.
    """
    found = [*failures(data), *shifts(data)]
    if not data.now.there and not data.now.seen.shape[1] and not data.agents.shape[1]:
        before = data.usual.seen.shape[1]
        found.append(blind("hubble_flows_processed_total", "flows", data.window, before=before))
    return verdict.told(data, found, topic="flows", unknown=unknown(data))
