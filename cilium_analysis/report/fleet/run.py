"""A fleet, carried out: every cluster is asked whether it is there, and reported on if it is."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cilium_analysis.report.fleet import work
from cilium_analysis.report.fleet.page import page_name, write_page
from cilium_analysis.report.fleet.plan import How, tasks
from cilium_analysis.report.fleet.result import Outcome, Result
from cilium_analysis.report.fleet.there import there_already
from cilium_analysis.report.places import place
from cilium_analysis.report.unmade import write_unmade
from cilium_analysis.source import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from pathlib import Path

    from cilium_analysis.objectstore import Address
    from cilium_analysis.report.fleet.engine import Engine
    from cilium_analysis.report.fleet.file import Fleet
    from cilium_analysis.report.fleet.plan import Task

#: A cluster is asked before any report is made, so that one that is down is known at once.
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
        Gives what reports are made on, when it is told how many there are.
    directory
        Of all runs: a path under which all workers see it, or an address in an object store.
    how
        How each report is made.
    keep
        As for `cilium_analysis.report.report`.
    missing
        Leave out reports of which there is a whole one already; the page shows that one.
    now
        What ``now`` means in the file; the clock if not given.
    tell
        Takes a line on what has happened now.

    Returns
    -------
    Result
        Also when reports failed, or clusters are down.

    Raises
    ------
    ParameterError
        If the fleet's windows cannot be; nothing has run then.
    OutputError
        If the directory cannot be written.
    StoreRefused, StoreUnavailable
        If the object store cannot be.
    FleetUnavailable
        If there is nothing to run reports on.
    """
    began = datetime.now(UTC)
    planned = tasks(fleet, now=now or began)
    where = place(directory)
    where.prepare()
    there = there_already(planned, where) if missing else []
    known = {outcome.task.place for outcome in there}
    due = [task for task in planned if task.place not in known]
    tell(_announced(due, len(there)))
    course = _Course(due, directory=directory, how=how or How(), tell=tell)
    try:
        if due:
            with engine(len(due)) as running:
                course.run(running)
        outcomes = sorted(course.outcomes, key=_place(fleet))
        compared = sorted([*outcomes, *there], key=_place(fleet))
        page = directory / f"{page_name(fleet.name)}.html"
        write_page(Result(fleet, compared, page, began), where)
    finally:
        made = {task.run for task in due}
        where.clear(made)
        where.keep_in_order(keep=keep, made=made, tell=tell)
    return Result(fleet, outcomes, page, began)


class _Course:
    """What has become of the tasks so far."""

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
        """Knock at every cluster; make the reports of those that answer."""
        knocks = {f"knock-{task.run}": task for task in self._first_of_each()}
        reports = {f"report-{task.run}": task for task in self._due}
        for key, task in knocks.items():
            engine.submit(work.knock, self._plain(task), key=key, priority=_FIRST)
        for key, answer in engine.completed():
            if key in reports:
                self._end(reports[key], answer)
            elif error := answer if isinstance(answer, str) else answer["error"]:
                self._give_up(knocks[key].cluster.name, error)
            else:
                self._submit(engine, reports, knocks[key].cluster.name)

    def _first_of_each(self) -> Sequence[Task]:
        return list({task.cluster.name: task for task in reversed(self._due)}.values())

    def _plain(self, task: Task) -> dict[str, Any]:
        return task.plain(output=self._output, how=self._how)

    def _submit(self, engine: Engine, reports: dict[str, Task], cluster: str) -> None:
        """Have the reports of a cluster made, the newest windows of all clusters first."""
        for key, task in reports.items():
            if task.cluster.name == cluster:
                engine.submit(work.make, self._plain(task), key=key, priority=task.column)

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
                unknown=answer.get("unknown", False),  # a worker of an older release says nothing
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
            topics=task.cluster.topics,
        )


def _announced(due: Sequence[Task], there: int) -> str:
    clusters = len({task.cluster.name for task in due})
    told = f"; {there} are there already" if there else ""
    return f"{len(due)} reports to make on {clusters} clusters{told}"


def _place(fleet: Fleet) -> Callable[[Outcome], tuple[int, int]]:
    order = {cluster.name: number for number, cluster in enumerate(fleet.clusters)}
    return lambda outcome: (order[outcome.task.cluster.name], outcome.task.column)
