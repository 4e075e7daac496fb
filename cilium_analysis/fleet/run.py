"""Runs a fleet: asks every cluster whether it answers, and makes the reports of those that do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis.capture import TOPICS
from cilium_analysis.fleet import work
from cilium_analysis.fleet.plan import How, tasks
from cilium_analysis.fleet.result import Outcome, Result, page_name, write_page
from cilium_analysis.report.html import runs_page
from cilium_analysis.report.unfinished import write_unmade
from cilium_analysis.report.verdict import is_unknown
from cilium_analysis.source import iso
from cilium_analysis.storage import place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from pathlib import Path

    from cilium_analysis.fleet.engine import Engine
    from cilium_analysis.fleet.file import Fleet
    from cilium_analysis.fleet.plan import Task
    from cilium_analysis.storage import Address, Place

#: Priority of asking whether a cluster answers: before any report, so that a cluster that is down
#: is known at once.
_FIRST = 1_000_000


def run_fleet(
    fleet: Fleet,
    engine: Callable[[int], AbstractContextManager[Engine]],
    *,
    directory: Path | Address,
    how: How | None = None,
    keep: timedelta | None = None,
    missing: bool = False,
    now: datetime | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Result:
    """Make the reports of a fleet, and the page that compares its clusters.

    Parameters
    ----------
    fleet
        As its file says.
    engine
        Takes the number of reports, and gives the engine that makes them.
    directory
        Of all runs: a path that all workers can write to, or an address in an object store.
    how
        How each report is made.
    keep
        As for `cilium_analysis.report.report`.
    missing
        Whether to leave out reports that exist already and are complete. The page shows those.
    now
        What ``now`` means in the file; the current time if not given.
    tell
        Takes a line on what has happened.

    Returns
    -------
    Result
        Also when reports failed, or clusters are down.

    Raises
    ------
    ParameterError
        If the fleet's windows are not valid; nothing has run then.
    OutputError
        If the directory cannot be written.
    StoreRefused, StoreUnavailable
        If the object store cannot be written.
    FleetUnavailable
        If the scheduler does not answer, or has no worker.
    """
    began = datetime.now(UTC)
    planned = tasks(fleet, now=now or began)
    where = place(directory)
    where.prepare()
    there = existing(planned, where) if missing else []
    known = {outcome.task.place for outcome in there}
    due = [task for task in planned if task.place not in known]
    clusters = len({task.cluster.name for task in due})
    there_are = f"; {len(there)} exist already" if there else ""
    tell(f"{len(due)} reports to make on {clusters} clusters{there_are}")
    course = _Course(due, directory=directory, how=how or How(), tell=tell)
    try:
        if due:
            with engine(len(due)) as running:
                course.run(running)
        order = {cluster.name: number for number, cluster in enumerate(fleet.clusters)}

        def in_order(outcomes: list[Outcome]) -> list[Outcome]:
            return sorted(outcomes, key=lambda o: (order[o.task.cluster.name], o.task.column))

        page = directory / f"{page_name(fleet.name)}.html"
        write_page(Result(fleet, in_order([*course.outcomes, *there]), page, began), where)
    finally:
        made = {task.run for task in due}
        where.clear(made)
        where.keep_in_order(index=runs_page, keep=keep, made=made, tell=tell)
    return Result(fleet, in_order(course.outcomes), page, began)


def existing(planned: Sequence[Task], where: Place) -> list[Outcome]:
    """Give the outcomes of the tasks whose report exists and is complete.

    That is a report on the same cluster, window, matchers and workloads, which has all the topics.

    Parameters
    ----------
    planned
        Reports that are wanted.
    where
        The directory of all runs.
    """
    runs: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in where.runs():
        if run["status"] == "complete" and run.get("cluster"):
            window, given = run["window"], run["parameters"]
            narrowed = (given["match"], given.get("workloads", ""))
            about = (run["cluster"], window["start"], window["end"], *narrowed)
            runs.setdefault(about, []).append(run)
    outcomes = []
    for task in planned:
        window, cluster = task.window, task.cluster
        wanted = set(cluster.topics or TOPICS)
        narrowed = (cluster.match, cluster.workloads)
        about = (cluster.name, iso(window.start), iso(window.end), *narrowed)
        for run in runs.get(about, ()):
            if wanted <= {row["topic"] for row in run["topics"]}:
                outcome = Outcome(
                    task=replace(task, run=run["name"]),
                    findings=run["findings"],
                    first=run.get("first", ""),
                    unknown=is_unknown(run),
                    seconds=run["seconds"],
                )
                outcomes.append(outcome)
                break
    return outcomes


class _Course:
    """Submits the tasks of a fleet, and collects their outcomes."""

    def __init__(
        self,
        due: Sequence[Task],
        directory: Path | Address,
        *,
        how: How,
        tell: Callable[[str], None],
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._due = due
        self._output = str(directory.absolute())
        self._place = place(directory)
        self._how = how
        self._tell = tell
        self._left = Counter(task.cluster.name for task in due)

    def run(self, engine: Engine) -> None:
        """Ask every cluster; make the reports of those that answer."""
        one_each = {task.cluster.name: task for task in reversed(self._due)}.values()
        asked = {f"ask-{task.run}": task for task in one_each}
        reports = {f"report-{task.run}": task for task in self._due}
        for key, task in asked.items():
            engine.submit(work.ask, self._plain(task), key=key, priority=_FIRST)
        for key, answer in engine.completed():
            if key in reports:
                self._end(reports[key], answer)
                continue
            cluster = asked[key].cluster.name
            if error := answer if isinstance(answer, str) else answer["error"]:
                self._give_up(cluster, error)
                continue
            for each, task in reports.items():
                if task.cluster.name == cluster:  # the newest windows of all clusters first
                    engine.submit(work.make, self._plain(task), key=each, priority=task.column)

    def _plain(self, task: Task) -> dict[str, Any]:
        return task.plain(output=self._output, how=self._how)

    def _give_up(self, cluster: str, error: str) -> None:
        self._tell(f"{cluster} is down: {error}")
        for task in self._due:
            if task.cluster.name == cluster:
                self._keep(Outcome(task=task, error=error, down=True), written=False)

    def _end(self, task: Task, answer: dict[str, Any] | str) -> None:
        if isinstance(answer, str):
            outcome, written = Outcome(task=task, error=answer), False
        else:
            written = answer["written"]
            outcome = Outcome(
                task=task,
                error=answer["error"],
                findings=answer["findings"],
                first=answer["first"],
                unknown=answer.get(
                    "unknown", False
                ),  # a worker of an older release has no such key
                seconds=answer["seconds"],
            )
        self._keep(outcome, written=written)
        self._left[task.cluster.name] -= 1
        if outcome.error:
            self._tell(f"{task.cluster.name}, to {iso(task.window.end)}: {outcome.error}")
        if not self._left[task.cluster.name]:
            self._tell(f"{task.cluster.name} is done")

    def _keep(self, outcome: Outcome, *, written: bool) -> None:
        self.outcomes.append(outcome)
        if written or self._place.holds(outcome.task.run):
            return
        task = outcome.task
        write_unmade(
            self._place,
            task.run,
            error=outcome.error,
            cluster=task.cluster.name,
            source=task.cluster.source,
            window=task.window,
            baseline=task.baseline,
            match=task.cluster.match,
            workloads=task.cluster.workloads,
            topics=task.cluster.topics,
        )
