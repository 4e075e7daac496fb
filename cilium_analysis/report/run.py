"""A run: record what the topics need, run their notebooks on the recording, write the pages."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nbformat import ValidationError

from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import capture, check_topics, choose_topics
from cilium_analysis.errors import Interrupted, ParameterError
from cilium_analysis.findings import Severity
from cilium_analysis.question import ask_source
from cilium_analysis.report import output, retention
from cilium_analysis.report.compare import read_findings
from cilium_analysis.report.execute import STOPPED, Executed, execute, finished, unfinished
from cilium_analysis.report.kernel import Kernels
from cilium_analysis.report.notebooks import check_parameters, notebook_directory
from cilium_analysis.report.pdf import check_renderer
from cilium_analysis.report.summary import BUNDLE, parameters, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cilium_analysis.question import Question

#: What a run knows of what it was asked.
_ASKED = ("start", "end", "step", "baseline", "match", "timezone")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Parameters
    ----------
    directory
        Where everything is.
    summary, findings
        As ``run.json`` and ``findings.json`` hold them.
    """

    directory: Path
    summary: dict[str, Any]
    findings: dict[str, Any]

    @property
    def failures(self) -> dict[str, str]:
        """Why notebooks stopped, by topic."""
        return {row["topic"]: row["error"] for row in self.summary["topics"] if row["error"]}

    @property
    def worst(self) -> Severity | None:
        """Highest severity among the findings; None if there is none."""
        counts = self.summary["findings"]
        return max((s for s in Severity if counts[str(s)]), default=None)


def report(
    question: Question,
    *,
    topics: Sequence[str] = (),
    directory: Path,
    notebooks: Path | None = None,
    jobs: int = 1,
    show_code: bool = False,
    compare: Path | None = None,
    paper: bool = False,
    keep: timedelta | None = None,
    name: str = "",
    index: bool = True,
    progress: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Run:
    """Make a report.

    Parameters
    ----------
    question
        Where to look, and when.
    topics
        Names of notebooks; none means all that the source can answer.
    directory
        Of all runs; this one becomes a directory in it, with ``index.html``, a notebook and a
        page per topic, ``findings.json``, ``run.json`` and the bundle.
    notebooks
        Directory of notebooks to run instead of those of the package.
    jobs
        Notebooks to run at a time.
    show_code
        Whether the pages show the code cells.
    compare
        Directory of another run, to say what is new, gone, worse or better since.
    paper
        Whether to make a PDF of all pages too.
    keep
        How long runs are kept: those of the directory that are older are removed when this one
        is written. None keeps all.
    name
        Of the run, as of `output.run_name`, where it was chosen beforehand.
    index
        Whether to write the list of all runs anew; whoever makes many does it once.
    progress
        Whether to show progress bars.
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
        If the source does not answer; nothing is left behind then.
    KubernetesUnavailable
        If the Kubernetes API was asked for and does not answer; nothing is left behind then.
    Interrupted
        If somebody stopped it when some notebooks were done: these are kept, for `resume`.
    """
    if paper:
        check_renderer()
    other = read_findings(compare) if compare else None
    chosen = choose_topics(topics, question.source)
    files = _files(chosen, question, notebooks)
    began, name = datetime.now(UTC), name or output.run_name(question.window)
    with output.new_run(directory, name, began=began) as temporary:
        tell(f"Reading {question.reading}")
        _record(question, chosen, temporary)
        tell(f"Running {', '.join(chosen)}")
        done = _execute(files, parameters(question), temporary, jobs=jobs, progress=progress)
        written = write(
            question,
            done,
            temporary,
            name=name,
            began=began,
            since=began,
            show_code=show_code,
            other=other,
            paper=paper,
        )
    if index:
        _index(directory, made=name, keep=keep, tell=tell)
    return _whole(Run(directory / name, *written), done)


def resume(
    directory: Path,
    *,
    notebooks: Path | None = None,
    jobs: int = 1,
    show_code: bool = False,
    compare: Path | None = None,
    paper: bool = False,
    keep: timedelta | None = None,
    progress: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Run:
    """Run the notebooks of an earlier run that stopped, on what it recorded.

    Parameters
    ----------
    directory
        Of the run, which is there as it was until the new one takes its place.
    notebooks, jobs, show_code, compare, paper, keep, progress, tell
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
    """
    if paper:
        check_renderer()
    earlier = _earlier(directory)
    topics = [row["topic"] for row in earlier["topics"]]
    held = {one.topic: one for one in _held(directory, earlier)}
    missing = [topic for topic in topics if topic not in held]
    if not missing:
        tell("nothing is missing")
        return Run(directory, earlier, read_findings(directory))
    other, question = read_findings(compare) if compare else None, _asked(directory, earlier)
    files = _files(missing, question, notebooks)
    now, name = datetime.now(UTC), directory.resolve().name
    with output.new_run(directory.resolve().parent, name, began=now, replaces=True) as temporary:
        shutil.copytree(directory / BUNDLE, temporary / BUNDLE)
        for topic in held:
            shutil.copy2(directory / f"{topic}.ipynb", temporary)
        tell(f"Running {', '.join(missing)}")
        ran = _execute(files, parameters(question), temporary, jobs=jobs, progress=progress)
        whole = held | {one.topic: one for one in ran}
        done = [whole[topic] for topic in topics]
        written = write(
            question,
            done,
            temporary,
            name=name,
            began=datetime.fromisoformat(earlier["began"]),
            since=now - timedelta(seconds=earlier["seconds"]),
            show_code=show_code,
            other=other,
            paper=paper,
        )
    _index(directory.resolve().parent, made=name, keep=keep, tell=tell)
    return _whole(Run(directory, *written), done)


def _files(topics: Sequence[str], question: Question, notebooks: Path | None) -> list[Path]:
    """Find the notebooks, and see that they take what they will be given."""
    files = [(notebooks or notebook_directory()) / f"{topic}.ipynb" for topic in topics]
    for file in files:
        check_parameters(file, parameters(question))
    return files


def _earlier(directory: Path) -> dict[str, Any]:
    """Read what a run says of itself, as far as it is needed to go on with it.

    A topic is the name of a notebook to run, and the run may come from somebody else: only the
    names that there are will do.
    """
    earlier = output.read_run(directory / "run.json")
    if earlier is None:
        raise ParameterError(f"{directory} is no run: give a directory that has a run.json")
    check_topics([row["topic"] for row in earlier["topics"]])
    texts = [earlier["parameters"].get(name) for name in _ASKED]
    texts += [row.get("error") for row in earlier["topics"]]
    numbers = [row.get("seconds") for row in (earlier, *earlier["topics"])]
    if not all(isinstance(each, str) for each in texts) or not all(
        isinstance(each, int | float) for each in numbers
    ):
        raise ParameterError(f"{directory / 'run.json'} is not whole: make the report anew")
    return earlier


def _held(directory: Path, earlier: dict[str, Any]) -> Iterator[Executed]:
    """Give the notebooks that ran to their end, and are still there to be read."""
    for row in earlier["topics"]:
        if not row["error"]:
            with suppress(OSError, ValueError, ValidationError):
                yield finished(directory / f"{row['topic']}.ipynb", row["seconds"])


def _asked(directory: Path, earlier: dict[str, Any]) -> Question:
    """Ask the question of a run again, of what it recorded."""
    given = {name: earlier["parameters"][name] for name in _ASKED}
    called = str(earlier.get("cluster", ""))
    return ask_source(Bundle(directory / BUNDLE), **given, called=called)


def _index(
    directory: Path, *, made: str, keep: timedelta | None, tell: Callable[[str], None]
) -> None:
    with output.kept(directory / made):
        retention.keep_in_order(directory, keep=keep, made={made}, tell=tell)


def _whole(run: Run, done: Sequence[Executed]) -> Run:
    """Go on with a run that nobody stopped."""
    stopped = sum(one.error == STOPPED for one in done)
    if stopped:
        raise Interrupted(
            f"stopped; {len(done) - stopped} of {len(done)} reports are kept, and"
            f" report --resume {run.directory} makes the others"
        )
    return run


def _record(question: Question, topics: Sequence[str], directory: Path) -> None:
    window, baseline = question.window, question.baseline
    capture(
        question.source,
        window,
        baseline,
        topics=topics,
        match=question.match,
        directory=directory / BUNDLE,
        cluster=question.cluster,
    )


def _execute(
    notebooks: Sequence[Path],
    given: dict[str, str],
    directory: Path,
    *,
    jobs: int,
    progress: bool,
) -> list[Executed]:
    """Run notebooks in threads: each is its own kernel process, which a thread waits for.

    Where somebody stops that, those that are done are kept; if none is, nothing is.
    """
    kernels = Kernels()
    pool = ThreadPoolExecutor(max_workers=jobs)
    # papermill changes the working directory of all threads for moments.
    target, files = directory.absolute(), [file.absolute() for file in notebooks]
    whole: set[Future[Executed]] = set()
    try:
        waiting = [
            pool.submit(execute, file, given, target, kernels=kernels, progress=progress)
            for file in files
        ]
        return [job.result() for job in waiting]
    except KeyboardInterrupt:
        # Not those that break off because their kernels are stopped now.
        whole = {job for job in waiting if job.done()}
        if not whole:
            raise
    finally:
        kernels.stop()
        pool.shutdown(cancel_futures=True)
        # IPython leaves its checkpoints where notebooks run.
        shutil.rmtree(directory / ".ipynb_checkpoints", ignore_errors=True)
    return [
        job.result() if job in whole else unfinished(file, target)
        for job, file in zip(waiting, files, strict=True)
    ]
