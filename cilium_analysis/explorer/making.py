"""From what is on the screen to a report of just that: its command, and how it is run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.explorer.state import GROUPS, TOPICS, unsaid
from cilium_analysis.findings import Findings, merge
from cilium_analysis.window import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from cilium_analysis.explorer.asking import Loaded
    from cilium_analysis.explorer.job import Job
    from cilium_analysis.explorer.place import Place
    from cilium_analysis.explorer.state import Asked, State

_PROGRAM = "import sys; from cilium_analysis.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Recipe:
    """A report of what is on the screen.

    Parameters
    ----------
    arguments
        Of the command ``cilium-analysis``.
    unsaid
        What is on the screen, but cannot be asked of a report: one sentence each.
    """

    arguments: tuple[str, ...]
    unsaid: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command line, quoted for a shell."""
        return shlex.join(["cilium-analysis", *self.arguments])


def recipe(
    state: State, asked: Asked, place: Place, loaded: Mapping[str, Loaded], *, output: str
) -> Recipe:
    """Write the command that reports on what is on the screen.

    Parameters
    ----------
    state, asked, place, loaded
        What is on the screen.
    output
        Directory of all reports.
    """
    topics = [t for t in TOPICS if t not in loaded or loaded[t].whole]
    window = asked.window
    options = {
        "--source": place.address,
        "--start": _iso(window.start),
        "--end": _iso(window.end),
        "--step": format_duration(window.step),
        "--baseline": asked.compared,
        "--match": asked.match,
        "--timezone": window.timezone if window.timezone != "UTC" else "",
        "--output": output if output != "reports" else "",
    }
    pairs = [part for name, value in options.items() if value for part in _option(name, value)]
    return Recipe(("report", *topics, *pairs), tuple(_unsaid(state, place, topics)))


def _option(name: str, value: str) -> list[str]:
    """Write an option; a value that begins with a dash would be taken for another one."""
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _unsaid(state: State, place: Place, topics: Sequence[str]) -> Iterator[str]:
    for topic in TOPICS:
        if topic not in topics:
            yield (
                f"{TOPICS[topic]}: the recording can report on it only for the whole of its"
                " window, so it is left out."
            )
    left = unsaid(state, place)
    if left:
        yield (
            f"The filters on {', '.join(left)} only choose what is drawn and added up here: the"
            " report, and all findings, are about everything."
        )
    if dict(state.groups) != dict(GROUPS):
        yield "Groupings are of this screen only: reports have their own tables and plots."


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def findings(loaded: Mapping[str, Loaded]) -> dict[str, Any]:
    """Give the findings of all topics that are whole as the document that a report writes.

    Parameters
    ----------
    loaded
        That answer the same question.
    """
    whole = [loaded[topic].findings for topic in TOPICS if topic in loaded and loaded[topic].whole]
    if not whole:
        return {"findings": []}
    frame = Findings(whole[0].source, whole[0].window, whole[0].baseline)
    return merge(frame, [one.as_json() for one in whole])


@dataclass(frozen=True)
class Made:
    """A report that is there.

    Parameters
    ----------
    page
        Its ``index.html``.
    """

    page: Path


class NotMade(CiliumAnalysisError):
    """The report stopped with an error."""


def make(recipe: Recipe, job: Job) -> Iterator[str | Made]:
    """Run the report in a process of its own.

    Parameters
    ----------
    recipe
        What to run.
    job
        Ends the process when it is stopped.

    Yields
    ------
    str or Made
        What it says while it runs; at last where the report is.

    Raises
    ------
    NotMade
        If it stopped with an error.
    """
    command = [sys.executable, "-c", _PROGRAM, *recipe.arguments]
    said, page = "", None
    with subprocess.Popen(  # noqa: S603 - no shell, and our own program
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        job.on_stop(process.terminate)
        assert process.stdout is not None  # noqa: S101 - it was asked for
        for text in process.stdout:
            said = text.strip() or said
            if said.startswith("Report: "):
                page = Path(said.removeprefix("Report: "))
            yield said
    job.check()
    if process.returncode or page is None:
        raise NotMade(said or f"the report ended with exit code {process.returncode}")
    yield Made(page)
