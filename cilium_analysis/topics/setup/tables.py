"""Tables about the setup: what is there, what is missing, how to switch it on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.topics import verdict
from cilium_analysis.topics.setup import configurations as how
from cilium_analysis.topics.setup import kubernetes
from cilium_analysis.topics.setup.checks import CHECKS, OPERATOR

if TYPE_CHECKING:
    from cilium_analysis.topics.setup.checks import Check
    from cilium_analysis.topics.setup.data import Setup


def there(data: Setup, check: Check) -> bool:
    """Tell whether any of the metrics of a check is there, or targets of its component are."""
    mine = data.now.targets.loc[data.now.targets["component"] == check.name, "up"]
    # Of targets that never answered there is nothing.
    return any(name in data.now.present.index for name in check.metrics) or bool((mine != 0).any())


def left_out(data: Setup, check: Check) -> bool:
    """Tell whether a check's metrics may be there, but do not match what the user asks for."""
    silenced = data.remarks.silenced
    nothing = not len(data.now.present) and bool(silenced.match)
    return not there(data, check) and (nothing or silenced.any_of(check.metrics))


def checks(data: Setup) -> pd.DataFrame:
    """Give what there is, one row per check.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``state`` (``there``, ``missing``, ``missing, or nothing happened``, ``unknown``
        where what exports it is not scraped, or where no label matches), ``series``, ``answers``,
        ``how to switch it on`` (Helm values; empty if it is there).
    """
    return pd.DataFrame([_row(data, check) for check in CHECKS])


def _row(data: Setup, check: Check) -> dict[str, object]:
    found = there(data, check)
    absent = "missing, or nothing happened" if check.born_late else "missing"
    # What is not scraped at all tells nothing of what it would export.
    parent = next((c for c in CHECKS if c.name == check.of and not there(data, c)), None)
    blind = parent is not None
    if blind:
        absent = f"unknown: {check.of} is not scraped"
    if left_out(data, check) or (parent and left_out(data, parent)):
        blind, absent = True, "unknown: nothing matches"
    if data.untold("present"):
        blind, absent = True, "unknown: the server refused to tell"
    return {
        "what": check.name,
        "state": "there" if found else absent,
        "series": int(data.now.present.reindex(check.metrics).sum()),
        "answers": check.answers,
        "how to switch it on": "" if found or blind else check.helm,
    }


def targets(data: Setup) -> pd.DataFrame:
    """Give the scrape targets per component.

    Returns
    -------
    pandas.DataFrame
        Index ``component``; ``targets``, ``whole`` (those without gaps), ``down`` (those never
        scraped), ``interval`` between scrapes [s] (median; NaN if not known).
    """
    groups = data.now.targets.groupby("component")
    return pd.DataFrame(
        {
            "targets": groups.size(),
            "whole": groups["up"].agg(lambda up: int((up >= verdict.WHOLE).sum())),
            "down": groups["up"].agg(lambda up: int((up == 0).sum())),
            "interval": groups["interval"].median(),
        }
    )


def gaps(data: Setup) -> pd.DataFrame:
    """List the targets with gaps: ``component``, ``node``, ``instance``, ``job``, ``up``."""
    found = data.now.targets[data.now.targets["up"] < verdict.WHOLE].drop(columns="interval")
    return found.sort_values("up", kind="stable", ignore_index=True)


def configurations(data: Setup) -> pd.DataFrame:
    """List what is out of the ordinary about the scraping, as `configurations.configurations`."""
    facts = replace(data.now.facts, left_out=bool(data.remarks.silenced.metrics))
    return how.configurations(data.now.scraping, facts, data.window)


def versions(data: Setup) -> pd.DataFrame:
    """Give the number of agents per version of Cilium, index ``version``."""
    return pd.DataFrame({"agents": data.now.versions.astype(int)})


def notes(data: Setup) -> list[str]:
    """Say in words what limits the reports about this cluster."""
    said = []
    if len(data.now.versions) > 1:
        mixed = ", ".join(
            f"{count:.0f} of {version}" for version, count in data.now.versions.items()
        )
        said.append(
            f"The agents are of mixed versions ({mixed}): metrics and labels differ between them."
        )
    step, slow = data.window.step.total_seconds(), data.now.targets["interval"]
    slowest = float(slow.median()) if len(slow) else 0.0
    if slowest > 1.5 * step:
        said.append(
            f"Targets are scraped every {slowest:.0f} s, less often than the step of {step:.0f} s:"
            " ask with a step of that length, or scrape more often."
        )
    # Many do without it, so that it is no finding.
    if not there(data, OPERATOR) and not left_out(data, OPERATOR):
        todo = kubernetes.remedy(data, OPERATOR.name) or f"Helm: {OPERATOR.helm}."
        said.append(
            "No metrics of the operator: its health, IPAM and the garbage collection of identities"
            f" are unknown. {todo}"
        )
    said += _hubble_notes(data) + kubernetes.notes(data)
    return verdict.with_source_notes(said, data)


def _hubble_notes(data: Setup) -> list[str]:
    said = []
    seen = [name for name in data.now.present.index if str(name).startswith("hubble_")]
    told = not data.untold("labels") and not data.untold("context")
    if seen and told and not data.now.labelled and not data.now.contextual:
        said.append(
            "Hubble's metrics do not name workloads: sources and destinations are unknown (Helm:"
            " hubble.metrics.enabled with labelsContext or sourceContext and destinationContext)."
        )
    if data.now.bare and data.now.labelled:
        names = ", ".join(sorted(data.now.bare))
        said.append(
            f"Some workloads go by their app without namespace ({names}), as in flows"
            " of the DNS proxy: one workload may appear under two names."
        )
    if "hubble_http_requests_total" in data.now.present.index and not data.now.exemplars:
        said.append(
            "No exemplars of HTTP requests: no traces to look up (Helm:"
            " hubble.metrics.enableOpenMetrics=true, httpV2:exemplars=true; Prometheus:"
            " --enable-feature=exemplar-storage)."
        )
    return said
