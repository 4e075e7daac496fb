"""A run: record what the topics need, run their notebooks on the recording, write the pages."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import capture, check_workloads, choose_topics
from cilium_analysis.connection import SAMPLES, sample_directory
from cilium_analysis.errors import CiliumAnalysisError, Interrupted, OutputError
from cilium_analysis.findings import Severity
from cilium_analysis.report import pdf, unfinished
from cilium_analysis.report.compare import Other, read_findings
from cilium_analysis.report.earlier import Earlier
from cilium_analysis.report.execute import STOPPED, Executed
from cilium_analysis.report.grafana import Explore
from cilium_analysis.report.html import runs_page
from cilium_analysis.report.jobs import Jobs
from cilium_analysis.report.notebooks import check_parameters, notebook_directory
from cilium_analysis.report.summary import BUNDLE, About, parameters, write
from cilium_analysis.report.verdict import is_unknown
from cilium_analysis.storage import place, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cilium_analysis.question import Question
    from cilium_analysis.storage import Address, Place

Where = TypeVar("Where", bound="Path | Address")
Where_co = TypeVar("Where_co", bound="Path | Address", covariant=True)


@dataclass(frozen=True)
class Run(Generic[Where_co]):
    """A finished run.

    Parameters
    ----------
    directory
        Where everything is: a path, or an address in an object store.
    summary, findings
        As ``run.json`` and ``findings.json`` hold them.
    """

    directory: Where_co
    summary: dict[str, Any]
    findings: dict[str, Any]

    @property
    def failures(self) -> dict[str, str]:
        """Why notebooks stopped, by topic; and why there is no PDF."""
        stopped = {row["topic"]: row["error"] for row in self.summary["topics"] if row["error"]}
        error = self.summary.get("pdf_error", "")
        return stopped | ({pdf.NAME: error} if error else {})

    @property
    def worst(self) -> Severity | None:
        """Highest severity among the findings; None if there is none."""
        counts = self.summary["findings"]
        return max((s for s in Severity if counts[str(s)]), default=None)

    @property
    def unknown(self) -> bool:
        """Whether the run could not be judged, as `cilium_analysis.report.verdict.verdict`."""
        return is_unknown(self.summary)


@dataclass(frozen=True)
class _Making:
    """How runs are made, new ones and those that are gone on with; see `report`."""

    jobs: int
    show_code: bool
    other: Other | None
    paper: bool
    progress: bool
    explore: str

    def executed(
        self,
        question: Question,
        notebooks: Sequence[Path],
        directory: Path,
        record: Callable[[Callable[[str], None]], None],
    ) -> list[Executed]:
        """Record, and run notebooks on what is recorded."""
        given = parameters(question)
        running = Jobs(notebooks, given, directory, number=self.jobs, progress=self.progress)
        return running.run(record)

    def written(
        self, question: Question, done: Sequence[Executed], directory: Path, about: About
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write what follows from notebooks, as `write` does."""
        return write(
            question,
            done,
            directory,
            about,
            show_code=self.show_code,
            other=self.other,
            paper=self.paper,
            explore=Explore.parse(self.explore, source=question.source.name)
            if self.explore
            else None,
        )


def report(
    question: Question,
    *,
    topics: Sequence[str] = (),
    directory: Where,
    notebooks: Path | None = None,
    jobs: int = 1,
    show_code: bool = False,
    compare: Path | Address | None = None,
    paper: bool = False,
    keep: timedelta | None = None,
    name: str = "",
    index: bool = True,
    progress: bool = False,
    explore: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> Run[Where]:
    """Make a report.

    Parameters
    ----------
    question
        Where to look, and when.
    topics
        Names of notebooks; none means all that the source can answer.
    directory
        Of all runs; this one becomes a directory in it, with ``index.html``, a notebook and a
        page per topic, ``findings.json``, ``run.json`` and the bundle. In an object store it is
        there when it is whole.
    notebooks
        Directory of notebooks to run instead of those of the package.
    jobs
        Notebooks to run at a time.
    show_code
        Whether the pages show the code cells.
    compare
        Directory or address of another run, to say what is new, gone, worse or better since.
    paper
        Whether to make a PDF of all pages too.
    keep
        How long runs are kept: those of the directory that are older are removed when this one
        is written. None keeps all.
    name
        Of the run, as of `runs.run_name`, where it was chosen beforehand: what is made of it is
        not kept then if it is cut short.
    index
        Whether to write the list of all runs anew; whoever makes many does it once.
    progress
        Whether to show progress bars.
    explore
        Address of a Grafana that findings link to, as of `grafana.Explore.parse`; none if empty.
    tell
        Takes a line on what is being done now.

    Returns
    -------
    Run
        Also when a notebook stopped with an error: it is kept as evidence.

    Raises
    ------
    UsageError
        If anything asked for cannot be; nothing has run then.
    PrometheusError
        If the source does not answer. What it had told is kept, for `resume`; if that is nothing,
        nothing is left behind.
    KubernetesUnavailable
        If the Kubernetes API was asked for and does not answer; nothing is left behind then.
    StoreRefused, StoreUnavailable
        If the object store cannot be written to. Where that is known only when all is made, what
        was made is kept, and the message says where.
    Interrupted
        If somebody stopped it when something was recorded: that is kept, for `resume`.
    """
    making = _Making(jobs, show_code, _prepared(paper, compare, tell), paper, progress, explore)
    chosen = _answerable(question, topics)
    files = _files(chosen, question, notebooks)
    # Of another recording nothing is worth keeping; whoever chose a name tries anew.
    kept = None if name or isinstance(question.source, Bundle) else unfinished.kept
    began, name = datetime.now(UTC), name or runs.run_name(question.window)
    where = place(directory)
    if isinstance(directory, Path):
        unfinished.revive(directory, tell=tell)
    with (
        _telling(directory / name, where),
        where.new_run(name, began=began, kept=kept) as temporary,
    ):
        if kept:
            unfinished.begin(
                temporary, question, name=name, topics=chosen, asked=topics, began=began
            )
        record = partial(_record, question, chosen, temporary, tell)
        done = making.executed(question, files, temporary, record)
        written = making.written(question, done, temporary, About(name, tuple(topics), began))
    if index:
        with runs.stopped_after(directory / name):
            where.keep_in_order(index=runs_page, keep=keep, made={name}, tell=tell)
    return _whole(Run(cast("Where", directory / name), *written), done)


def _answerable(question: Question, topics: Sequence[str]) -> tuple[str, ...]:
    """Choose the topics; fail before anything is made if the question cannot be answered."""
    if isinstance(question.source, Bundle):
        ours = question.source.directory in map(sample_directory, SAMPLES)
        question.source.verify(deeply=not ours)
    chosen = choose_topics(topics, question.source)
    check_workloads(chosen, question.workloads)
    _ = question.answers  # it fails if no such workloads are known
    return chosen


@contextmanager
def _telling(run: Path | Address, where: Place) -> Iterator[None]:
    """Say of an error that ends a run what is kept of it, and list it."""
    try:
        yield
    except (CiliumAnalysisError, KeyboardInterrupt, MemoryError) as problem:
        there = None
        # An object store may be what was lost; then the error says where the run is.
        with suppress(CiliumAnalysisError):
            if there := where.run(run.name):
                where.keep_in_order(index=runs_page, keep=None, made=(), tell=lambda _: None)
        if there is None:
            raise
        raise unfinished.with_hint(problem, run) from None


def resume(
    directory: Where,
    *,
    source: str = "",
    timeout: float = 120.0,
    notebooks: Path | None = None,
    jobs: int = 1,
    show_code: bool = False,
    compare: Path | Address | None = None,
    paper: bool = False,
    keep: timedelta | None = None,
    progress: bool = False,
    explore: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> Run[Where]:
    """Go on with a run that stopped: record the rest, and run the notebooks that it lacks.

    Parameters
    ----------
    directory
        Or address of the run, which is there as it was until the new one takes its place.
    source
        Its server, with credentials: those of the environment are used for an address that
        somebody names, and not for one that a file does.
    timeout
        For each query, with all its tries [s].
    notebooks, jobs, show_code, compare, paper, keep, progress, explore, tell
        As for `report`.

    Returns
    -------
    Run
        As from `report`. If nothing was missing, the run as it is.

    Raises
    ------
    UsageError
        If this is no run, or anything asked for cannot be.
    BundleError
        If its recording is damaged.
    PrometheusError
        If its recording is not whole, and its server does not answer.
    """
    making = _Making(jobs, show_code, _prepared(paper, compare, tell), paper, progress, explore)
    if isinstance(directory, Path):
        unfinished.revive(directory.parent, tell=lambda _: None)
    run = directory.resolve() if isinstance(directory, Path) else directory
    where = place(run.parent)
    with where.opened(run.name) as there:
        earlier = Earlier.read(there, shown=directory)
        if not earlier.missing and not (paper and "pdf" not in earlier.summary):
            tell("nothing is missing")
            return Run(directory, dict(earlier.summary), read_findings(there))
        question, now = earlier.question, datetime.now(UTC)
        missing, kept = earlier.missing, None
        if not earlier.recorded:
            question = earlier.asked_again(source, timeout=timeout)
            missing, kept = earlier.topics, unfinished.kept
        files = _files(missing, question, notebooks)
        with (
            _telling(directory, where) if kept else nullcontext(),
            where.new_run(run.name, began=now, replaces=True, kept=kept) as temporary,
        ):
            earlier.copy_to(temporary)
            if kept:
                runs.write_json(temporary / "run.json", dict(earlier.summary))
            record = partial(_record, question, missing, temporary, tell)
            record = record if kept else partial(_recorded, missing, tell)
            done = earlier.completed(making.executed(question, files, temporary, record))
            written = making.written(question, done, temporary, earlier.about(run.name, now=now))
    with runs.stopped_after(directory):
        where.keep_in_order(index=runs_page, keep=keep, made={run.name}, tell=tell)
    return _whole(Run(directory, *written), done)


def _prepared(
    paper: bool, compare: Path | Address | None, tell: Callable[[str], None]
) -> Other | None:
    """See that a PDF can be made, and read what to compare with, before anything runs."""
    if paper:
        pdf.check_renderer()
    other = Other.read(compare) if compare else None
    if other and other.error:
        tell(f"{other.error}: the report is made without the comparison")
    return other


def _files(topics: Sequence[str], question: Question, notebooks: Path | None) -> list[Path]:
    """Find the notebooks, and see that they take what they will be given."""
    files = [(notebooks or notebook_directory()) / f"{topic}.ipynb" for topic in topics]
    for file in files:
        check_parameters(file, parameters(question))
    return files


def _whole(run: Run[Where], done: Sequence[Executed]) -> Run[Where]:
    """Go on with a run that nobody stopped."""
    stopped = sum(one.error == STOPPED for one in done)
    if stopped:
        raise Interrupted(
            f"stopped; {len(done) - stopped} of {len(done)} reports are kept, and"
            f" report --resume {run.directory} makes the others"
        )
    if run.summary.get("pdf_error") == STOPPED:
        raise Interrupted(f"stopped; the report is kept in {run.directory}, without its PDF")
    return run


def _record(
    question: Question,
    topics: Sequence[str],
    directory: Path,
    tell: Callable[[str], None],
    ready: Callable[[str], None],
) -> None:
    window, baseline = question.window, question.baseline
    tell(f"Reading {question.reading}")
    if _holds_just_that(question, topics):
        _copy(cast("Bundle", question.source), directory / BUNDLE)
        _recorded(topics, tell, ready)
        return
    capture(
        question.source,
        window,
        baseline,
        topics=topics,
        match=question.match,
        directory=directory / BUNDLE,
        cluster=question.cluster,
        recorded=ready,
        kept=True,
        workloads=question.workloads,
    )
    tell(f"Running {', '.join(topics)}")


def _holds_just_that(question: Question, topics: Sequence[str]) -> bool:
    """Tell whether the source is a recording of just this question, which needs no other."""
    source = question.source
    return (
        isinstance(source, Bundle)
        and source.whole
        and set(source.topics) == set(topics)
        and (source.window, source.baseline) == (question.window, question.baseline)
        and source.match == question.match
    )


def _copy(bundle: Bundle, directory: Path) -> None:
    try:
        bundle.copy_to(directory)
    except OSError as problem:
        raise OutputError(f"cannot write {directory}: {runs.why(problem)}") from None


def _recorded(
    topics: Sequence[str], tell: Callable[[str], None], ready: Callable[[str], None]
) -> None:
    """Go on with what is recorded already."""
    tell(f"Running {', '.join(topics)}" if topics else "Writing the pages")
    for topic in topics:
        ready(topic)
