"""What makes HTTP and DNS visible: policies with layer 7 rules.

https://docs.cilium.io/en/stable/observability/visibility/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from cilium_analysis.topics.setup.data import Setup
    from cilium_analysis.topics.setup.objects import Objects

PROTOCOLS = {
    "http": ("HTTP", ("hubble_http_requests_total",)),
    "dns": ("DNS", ("hubble_dns_queries_total", "hubble_dns_responses_total")),
}
_TABLES = ("cilium_policies", "cilium_clusterwide_policies")
_SHOWN = 4


def policies(objects: Objects, protocol: str) -> pd.DataFrame:
    """Give the policies of Cilium with rules for ``http`` or ``dns`` that are not refused."""
    both = [getattr(objects, table) for table in _TABLES]
    found: pd.DataFrame = pd.concat(both, ignore_index=True)
    has = [
        protocol in rules.split(",") and valid != "False"
        for rules, valid in zip(found["l7"], found["valid"], strict=True)
    ]
    return found[np.array(has, dtype=bool)].reset_index(drop=True)


def is_known(objects: Objects) -> bool:
    """Tell whether all policies of Cilium could be read."""
    return not set(_TABLES) & set(objects.unread)


def is_off(objects: Objects) -> bool:
    """Tell whether the layer 7 proxy is switched off altogether."""
    return objects.cilium_config.get("enable-l7-proxy") == "false"


def state(objects: Objects, protocol: str) -> tuple[str, str]:
    """Say whether a protocol is visible, and of which pods."""
    if is_off(objects):
        return "not visible", "the layer 7 proxy is off"
    found = policies(objects, protocol)
    if len(found):
        return "visible where a policy selects it", _where(found)
    if not is_known(objects):
        return "unknown", "policies could not be read"
    return "no policy", "no CiliumNetworkPolicy has such rules"


def remedy(objects: Objects, protocol: str) -> str:
    """Say what would make a protocol visible; empty if it is, or if nothing tells."""
    if is_off(objects):
        return "Helm: l7Proxy=true, and a policy with such rules"
    if len(policies(objects, protocol)) or not is_known(objects):
        return ""
    return (
        f"a CiliumNetworkPolicy with rules.{protocol} that selects the traffic; it also restricts"
        " what is allowed"
    )


def notes(data: Setup, objects: Objects) -> list[str]:
    """Say why a protocol is not visible, or by what else it is."""
    said = []
    for protocol, (name, metrics) in PROTOCOLS.items():
        there = any(metric in data.present.index for metric in metrics)
        none = state(objects, protocol)[0] in ("not visible", "no policy")
        if none and not there:
            why = (
                "the layer 7 proxy is off (Helm: l7Proxy=true)"
                if is_off(objects)
                else "no layer 7 policy selects any traffic"
            )
            said.append(f"{name} is not visible because {why}; there may be any amount of it.")
        elif none:
            said.append(
                f"{name} is in the metrics though no policy with such rules is there now: the"
                " policy was deleted, or annotations (up to Cilium 1.15), Ingress or the Gateway"
                " API make it visible."
            )
    return said


def _where(found: pd.DataFrame) -> str:
    names = [f"{row['namespace'] or 'all namespaces'}: {row['selects']}" for _, row in _rows(found)]
    shown = "; ".join(names[:_SHOWN])
    return shown + (f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _rows(found: pd.DataFrame) -> list[tuple[object, pd.Series]]:
    unique = found[["namespace", "selects"]].drop_duplicates()
    return list(unique.sort_values(["namespace", "selects"]).iterrows())
