"""An earlier run, to resume: reads what it has done, and finds what it lacks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cilium_analysis import foreign
from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import check_topics
from cilium_analysis.errors import ParameterError, RunDamaged
from cilium_analysis.findings import Severity
from cilium_analysis.question import ask_again, ask_source
from cilium_analysis.report.compare import check_findings, moments
from cilium_analysis.report.finished import MOST, finished
from cilium_analysis.report.summary import BUNDLE, About
from cilium_analysis.storage import runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cilium_analysis.question import Question
    from cilium_analysis.report.execute import Executed
    from cilium_analysis.storage import Address

#: Parameters that a run was asked with.
_ASKED = ("start", "end", "step", "baseline", "match", "timezone")


@dataclass(frozen=True)
class Earlier:
    """A run that may lack notebooks.

    Parameters
    ----------
    directory
        Where it is.
    summary
        As its ``run.json`` holds it.
    held
        The notebooks that ran to their end and can still be read, by topic.
    """

    directory: Path
    summary: Mapping[str, Any]
    held: Mapping[str, Executed]

    @classmethod
    def read(cls, directory: Path, *, shown: Path | Address) -> Earlier:
        """Read a run, as far as it is needed to resume it.

        Parameters
        ----------
        directory
            Of the run.
        shown
            Its name in messages.

        Raises
        ------
        ParameterError
            If it is no run, or one that cannot be resumed.
        """
        summary = runs.read_run(directory / "run.json")
        if summary is None:
            raise ParameterError(f"{shown} is no run: give a directory that has a run.json")
        try:
            foreign.parse(foreign.read(directory, "run.json"))  # no half of a character
            _check(summary)
        except (OSError, ValueError, OverflowError) as problem:
            reason = f"make the report anew ({problem})"
            raise RunDamaged(f"{shown / 'run.json'} is not whole: {reason}") from None
        return cls(directory, summary, {one.topic: one for one in _held(directory, summary)})

    @property
    def topics(self) -> list[str]:
        """All topics of the run."""
        return [row["topic"] for row in self.summary["topics"]]

    @property
    def missing(self) -> list[str]:
        """Topics whose notebooks are to be run."""
        return [topic for topic in self.topics if topic not in self.held]

    @property
    def question(self) -> Question:
        """Its question, with its own recording as the source.

        Raises
        ------
        BundleError
            If the recording is damaged.
        RunDamaged
            If the recording is of another question.
        """
        if (self.directory / BUNDLE).is_symlink():
            raise RunDamaged(f"the bundle of {self.directory.name} is a symbolic link")
        bundle = Bundle(self.directory / BUNDLE)
        bundle.verify(deeply=True)
        given = self._given()
        question = ask_source(bundle, **given, called=self.summary.get("cluster", ""))
        if (question.window, question.baseline) != (bundle.window, bundle.baseline):
            raise RunDamaged(f"the bundle of {self.directory.name} is of another window")
        return replace(question, located=self.summary.get("located", ""))

    def _given(self) -> dict[str, Any]:
        """Give what the run was asked with; one may be older than the last parameter."""
        given = self.summary["parameters"]
        return {**{name: given[name] for name in _ASKED}, "workloads": given.get("workloads", "")}

    def about(self, name: str, *, now: datetime) -> About:
        """Give its name and when it began; its duration goes on from now."""
        began = datetime.fromisoformat(self.summary["began"])
        since = now - timedelta(seconds=self.summary["seconds"])
        return About(name, tuple(self.summary.get("asked", ())), began, since)

    @property
    def recorded(self) -> bool:
        """Whether its recording is complete."""
        return Bundle(self.directory / BUNDLE).whole

    def asked_again(self, source: str, *, timeout: float) -> Question:
        """Ask its server again, as `cilium_analysis.question.ask_again`."""
        question = ask_again(
            str(self.summary["source"]),
            self._given(),
            source=source,
            shown=self.directory.name,
            called=self.summary.get("cluster", ""),
            timeout=timeout,
        )
        return replace(question, located=self.summary.get("located", ""))

    def copy_to(self, directory: Path) -> None:
        """Copy the recording and the notebooks that ran to where the rest is to be made.

        Raises
        ------
        BundleError
            If the recording has been damaged meanwhile.
        """
        Bundle(self.directory / BUNDLE).copy_to(directory / BUNDLE)
        for topic in self.held:
            content = foreign.read(self.directory, f"{topic}.ipynb", most=MOST)
            (directory / f"{topic}.ipynb").write_bytes(content)

    def completed(self, ran: Sequence[Executed]) -> list[Executed]:
        """Give all notebooks in their order, including those that ran now."""
        whole = {**self.held, **{one.topic: one for one in ran}}
        return [whole[topic] for topic in self.topics]


def _check(run: Mapping[str, Any]) -> None:
    """Check that a ``run.json`` is as a run writes it; it may come from somebody else.

    A topic is the name of a notebook to run, so only known names are accepted.
    """
    given = {"workloads": ""} | run["parameters"]
    foreign.fields(given, dict.fromkeys((*_ASKED, "workloads"), foreign.is_text))
    texts = dict.fromkeys(("cluster", "located", "verdict", "pdf_error"), "")
    whole = texts | {"asked": []} | dict(run)
    kinds = dict.fromkeys(texts, foreign.is_text)

    def is_duration(value: object) -> bool:
        return foreign.is_number(value) and 0 <= value < 10**8  # type: ignore[operator]

    foreign.fields(whole, kinds | {"asked": foreign.is_texts, "seconds": is_duration})
    moments(run, "began")
    if set(run["findings"]) != {str(severity) for severity in Severity}:
        raise ValueError("it does not count its findings")
    topics = [row["topic"] for row in run["topics"]]
    if len(check_topics(topics)) != len(topics):
        raise ValueError("it has no topics, or one of them twice")
    for row in run["topics"]:
        foreign.fields(row, {"error": foreign.is_text, "seconds": is_duration})


def _held(directory: Path, summary: Mapping[str, Any]) -> Iterator[Executed]:
    """Give the notebooks that can be read and are as ours; the others are made again."""
    for row in summary["topics"]:
        if not row["error"]:
            with suppress(OSError, ValueError):
                executed = finished(directory, f"{row['topic']}.ipynb", row["seconds"])
                for document in executed.findings:
                    check_findings(document)
                if foreign.is_texts(executed.caveats):
                    yield executed
