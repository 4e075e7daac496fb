"""Reports of a plan that were made already."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cilium_analysis.capture import TOPICS
from cilium_analysis.report.fleet.result import Outcome
from cilium_analysis.report.verdict import is_unknown
from cilium_analysis.source import iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.report.fleet.plan import Task
    from cilium_analysis.report.places import Place


def there_already(planned: Sequence[Task], where: Place) -> list[Outcome]:
    """Give the outcomes of the tasks of which there is a whole report.

    That is one on the same cluster, window and matchers, which has all the topics.

    Parameters
    ----------
    planned
        Reports that are wanted.
    where
        Of all runs.
    """
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in where.runs():
        if run["status"] == "complete" and run.get("cluster"):
            found.setdefault(_what(run), []).append(run)
    pairs = ((task, _whole(task, found)) for task in planned)
    return [_outcome(task, run) for task, run in pairs if run is not None]


def _what(run: Mapping[str, Any]) -> tuple[str, ...]:
    window = run["window"]
    return run["cluster"], window["start"], window["end"], run["parameters"]["match"]


def _whole(
    task: Task, found: Mapping[tuple[str, ...], Sequence[dict[str, Any]]]
) -> dict[str, Any] | None:
    window, cluster = task.window, task.cluster
    runs = found.get((cluster.name, iso(window.start), iso(window.end), cluster.match), ())
    wanted = set(cluster.topics or TOPICS)
    return next((run for run in runs if wanted <= {row["topic"] for row in run["topics"]}), None)


def _outcome(task: Task, run: Mapping[str, Any]) -> Outcome:
    return Outcome(
        task=replace(task, run=run["name"]),
        findings=run["findings"],
        first=run.get("first", ""),
        unknown=is_unknown(run),
        seconds=run["seconds"],
    )
