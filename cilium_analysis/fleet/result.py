"""The result of a fleet: one outcome per report, and the page, JSON and message made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cilium_analysis.findings import Severity
from cilium_analysis.report import html, messages
from cilium_analysis.report.messages import Message, plain
from cilium_analysis.report.verdict import QUIET, UNKNOWN, is_unknown, weight
from cilium_analysis.source import iso
from cilium_analysis.storage.runs import as_json
from cilium_analysis.texts import clipped, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cilium_analysis.fleet.file import Fleet
    from cilium_analysis.fleet.plan import Task
    from cilium_analysis.storage import Address, Place

SCHEMA = "cilium-analysis/fleet/1"
_WORST_FIRST = sorted(Severity, reverse=True)
#: Characters of a line on a cluster in a message.
_LINE = 280


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one report.

    Parameters
    ----------
    task
        The report that was to be made.
    error
        Why it failed, in one line; empty if it did not.
    down
        Whether it was not tried, because the cluster's source does not answer.
    findings
        Counts by severity.
    first
        Title of the first finding, or why the report is unknown; empty if there is none.
    unknown
        Whether the report could not be judged.
    seconds
        Duration of the run [s].
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

    def as_json(self) -> dict[str, Any]:
        """Give JSON-ready values. Keys that pages share with ``run.json`` are the same."""
        # Empty if the report failed before anything could be judged.
        judged = str(self.worst) if self.worst is not None else "" if self.error else QUIET
        return {
            "cluster": self.task.cluster.name,
            "source": self.task.cluster.source,
            "column": self.task.column,
            "run": self.task.run,
            "window": {"start": iso(self.task.window.start), "end": iso(self.task.window.end)},
            "status": "failed" if self.error else "complete",
            "down": self.down,
            "error": self.error,
            "findings": {str(s): self.findings.get(str(s), 0) for s in _WORST_FIRST},
            "first": self.first,
            "verdict": UNKNOWN if self.unknown else judged,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Result:
    """The outcomes of a fleet.

    Parameters
    ----------
    fleet
        As its file says.
    outcomes
        In the order of the clusters, and of time.
    page
        Where the clusters are compared.
    began
        When the fleet was started.
    """

    fleet: Fleet
    outcomes: Sequence[Outcome]
    page: Path | Address
    began: datetime

    @property
    def failures(self) -> list[Outcome]:
        """Reports that failed, and those that could not be tried."""
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
        """Give JSON-ready values, without credentials and references to them."""
        return {
            "schema": SCHEMA,
            "fleet": self.fleet.name,
            "began": iso(self.began.replace(microsecond=0)),
            "timezone": self.fleet.span.timezone,
            "clusters": [cluster.name for cluster in self.fleet.clusters],
            "reports": [outcome.as_json() for outcome in self.outcomes],
        }


def page_name(fleet: str) -> str:
    """Give the file name of a fleet's page, without suffix; no run and no other page has it."""
    return "fleet" if fleet == "fleet" else f"fleet-{fleet}"


def write_page(result: Result, where: Place) -> None:
    """Write the page of a fleet, and the same as JSON beside it.

    Parameters
    ----------
    result
        With all reports to compare; its ``page`` gives the name.
    where
        The directory of all runs.
    """
    document, stem = result.as_json(), result.page.name.removesuffix(".html")
    page = html.fleet_page(comparison(document), name=stem)
    where.write_pages({f"{stem}.json": as_json(document), f"{stem}.html": page})


def comparison(document: dict[str, Any]) -> dict[str, Any]:
    """Arrange the reports of a fleet as its page shows them. Pure.

    Parameters
    ----------
    document
        As of `Result.as_json`.

    Returns
    -------
    dict
        The document with ``clusters``, a row each: ``name``, ``source``, ``reports`` in the order
        of the ``windows`` (None where there is none), ``worst`` of them, ``verdict``
        (``unknown`` or empty), ``findings`` of all, ``failed`` and ``error``.
    """
    reports = document["reports"]
    # The windows of one column may differ a little, where clusters have steps of their own.
    windows = {r["column"]: r["window"] for r in sorted(reports, key=lambda r: r["column"])}
    rows = [
        _row([r for r in reports if r["cluster"] == name], list(windows))
        for name in document["clusters"]
        if any(r["cluster"] == name for r in reports)
    ]
    return document | {"windows": list(windows.values()), "clusters": rows}


def _row(reports: Sequence[dict[str, Any]], columns: Sequence[int]) -> dict[str, Any]:
    """Sum up the reports of one cluster."""
    by_column = {r["column"]: r for r in reports}
    whole = [r for r in reports if r["status"] == "complete"]
    failed = [r for r in reports if r["status"] == "failed"]
    return {
        "name": reports[0]["cluster"],
        "source": reports[0]["source"],
        "down": any(r["down"] for r in reports),
        "status": "failed" if failed else "complete",
        "failed": len(failed),
        "whole": len(whole),
        "error": failed[0]["error"] if failed else "",
        "findings": {
            name: sum(r["findings"][name] for r in reports) for name in reports[0]["findings"]
        },
        "verdict": UNKNOWN if any(is_unknown(r) for r in reports) else "",
        "worst": max(reversed(whole), key=weight, default=None),
        "reports": [by_column.get(column) for column in columns],
    }


def about_fleet(
    result: Result, *, at: Severity | None, unknown: bool = False, page: str
) -> Message | None:
    """Give the message on a fleet: one for all its clusters.

    Parameters
    ----------
    result, at, unknown
        As for `cilium_analysis.report.messages.is_worth_sending`.
    page
        Where its clusters are compared.

    Returns
    -------
    Message or None
        None if nothing about it is worth sending.
    """
    if not messages.is_worth_sending(result, at=at, unknown=unknown):
        return None
    names = dict.fromkeys(outcome.task.cluster.name for outcome in result.unknown)
    not_judged = [plain(f"Unknown: {', '.join(names)}")] if names else []
    return Message(
        f"[{messages.head(result)}] fleet {result.fleet.name},"
        f" {counted(len(result.fleet.clusters), 'cluster')}",
        messages.body([*_failed(result), *not_judged], _paragraphs(result, at), page),
        None if result.failures else result.worst,
    )


def _failed(result: Result) -> list[str]:
    """Name the clusters that are down, and those with reports that failed."""
    lines = [f"{name} is down: {plain(error)}" for name, error in result.down.items()]
    others: dict[str, list[str]] = {}
    for outcome in result.failures:
        if not outcome.down:
            others.setdefault(outcome.task.cluster.name, []).append(outcome.error)
    lines += [
        f"{name}: {counted(len(errors), 'report')} failed, {plain(errors[0])}"
        for name, errors in others.items()
    ]
    more = len(lines) - messages.SHOWN
    rest = [f"and {more} more clusters that failed"] if more > 0 else []
    return [clipped(text, _LINE) for text in lines[: messages.SHOWN]] + rest


def _paragraphs(result: Result, at: Severity | None) -> list[str]:
    """Give a paragraph for each cluster with such findings, the worst first."""
    rows: list[tuple[Severity, str]] = []
    for cluster in result.fleet.clusters:
        outcomes = [o for o in result.of(cluster.name) if messages.is_at_least(o.worst, at)]
        if not outcomes:
            continue
        worst = max(outcomes, key=lambda o: (o.worst, o.task.column))
        window = worst.task.window
        counts = {s: sum(o.findings.get(str(s), 0) for o in outcomes) for s in _WORST_FIRST}
        found = [s for s in _WORST_FIRST if counts[s]]
        text = (
            f"{cluster.name}: {', '.join(f'{counts[s]} {s}' for s in found)}\n"
            f"   {plain(worst.first)}\n"
            f"   {messages.interval(iso(window.start), iso(window.end), window.timezone)}"
        )
        rows.append((found[0], text))
    return [text for _, text in sorted(rows, key=lambda row: -row[0])]
