"""What became of a fleet: one outcome per report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cilium_analysis.findings import Severity
from cilium_analysis.report.verdict import QUIET, UNKNOWN
from cilium_analysis.source import iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cilium_analysis.objectstore import Address
    from cilium_analysis.report.fleet.file import Fleet
    from cilium_analysis.report.fleet.plan import Task

SCHEMA = "cilium-analysis/fleet/1"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a report.

    Parameters
    ----------
    task
        The report that was to be made.
    error
        Why it failed, in one line; empty if it did not.
    down
        Whether it was not even tried, as the cluster's source does not answer.
    findings
        Counts by severity.
    first
        Title of the first finding, or why it is unknown; empty if there is none.
    unknown
        Whether the run could not be judged.
    seconds
        It took [s].
    """

    task: Task
    error: str = ""
    down: bool = False
    findings: Mapping[str, int] = field(default_factory=dict)
    first: str = ""
    unknown: bool = False
    seconds: float = 0.0

    @property
    def worst(self) -> Severity | None:
        """Highest severity among the findings; None if there is none."""
        return max((s for s in Severity if self.findings.get(str(s))), default=None)

    @property
    def verdict(self) -> str:
        """As of `cilium_analysis.report.verdict.verdict`; empty if there is no whole run."""
        if self.unknown:
            return UNKNOWN
        quiet = "" if self.error else QUIET
        return str(self.worst) if self.worst is not None else quiet

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON-ready values. Keys that pages share with ``run.json`` are the same."""
        return {
            "cluster": self.task.cluster.name,
            "source": self.task.cluster.source,
            "column": self.task.column,
            "run": self.task.run,
            "window": {"start": iso(self.task.window.start), "end": iso(self.task.window.end)},
            "status": "failed" if self.error else "complete",
            "down": self.down,
            "error": self.error,
            "findings": {str(s): self.findings.get(str(s), 0) for s in _DOWNWARD},
            "first": self.first,
            "verdict": self.verdict,
            "seconds": self.seconds,
        }


_DOWNWARD = sorted(Severity, reverse=True)


@dataclass(frozen=True)
class Result:
    """What became of a fleet.

    Parameters
    ----------
    fleet
        As its file says.
    outcomes
        In the order of the clusters, and of time.
    page
        Where the clusters are compared.
    began
        When.
    """

    fleet: Fleet
    outcomes: Sequence[Outcome]
    page: Path | Address
    began: datetime

    @property
    def failures(self) -> list[Outcome]:
        """Reports that failed, those that could not be made among them."""
        return [outcome for outcome in self.outcomes if outcome.error]

    @property
    def down(self) -> dict[str, str]:
        """Clusters whose source does not answer, and why."""
        return {o.task.cluster.name: o.error for o in self.outcomes if o.down}

    @property
    def unknown(self) -> list[Outcome]:
        """Reports that could not be judged."""
        return [outcome for outcome in self.outcomes if outcome.unknown]

    @property
    def worst(self) -> Severity | None:
        """Highest severity among all findings; None if there is none."""
        return max((o.worst for o in self.outcomes if o.worst is not None), default=None)

    def of(self, cluster: str) -> list[Outcome]:
        """Give the outcomes of a cluster, the oldest first."""
        return [outcome for outcome in self.outcomes if outcome.task.cluster.name == cluster]

    def as_json(self) -> dict[str, Any]:
        """Give all of it as JSON-ready values; without credentials, and what names them."""
        return {
            "schema": SCHEMA,
            "fleet": self.fleet.name,
            "began": iso(self.began.replace(microsecond=0)),
            "timezone": self.fleet.span.timezone,
            "clusters": [cluster.name for cluster in self.fleet.clusters],
            "reports": [outcome.as_json() for outcome in self.outcomes],
        }
