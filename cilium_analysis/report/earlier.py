"""An earlier run, to go on with: what it has done, and what it lacks."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbformat import ValidationError

from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import check_topics
from cilium_analysis.errors import ParameterError
from cilium_analysis.question import ask_source
from cilium_analysis.report import output
from cilium_analysis.report.execute import Executed, finished
from cilium_analysis.report.summary import BUNDLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cilium_analysis.objectstore import Address
    from cilium_analysis.question import Question

#: What a run knows of what it was asked.
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
        The notebooks that ran to their end, and are still there to be read, by topic.
    """

    directory: Path
    summary: Mapping[str, Any]
    held: Mapping[str, Executed]

    @classmethod
    def read(cls, directory: Path, *, shown: Path | Address) -> Earlier:
        """Read a run, as far as it is needed to go on with it.

        Parameters
        ----------
        directory
            Of the run.
        shown
            What people call it.

        Raises
        ------
        ParameterError
            If it is no run, or one that cannot be gone on with.
        """
        summary = _summary(directory, shown)
        return cls(directory, summary, {one.topic: one for one in _held(directory, summary)})

    @property
    def topics(self) -> list[str]:
        """All that it is about."""
        return [row["topic"] for row in self.summary["topics"]]

    @property
    def missing(self) -> list[str]:
        """Those whose notebooks are to be run."""
        return [topic for topic in self.topics if topic not in self.held]

    @property
    def question(self) -> Question:
        """Its question again, of what it recorded.

        Raises
        ------
        BundleError
            If the recording is damaged.
        """
        given = {name: self.summary["parameters"][name] for name in _ASKED}
        called = str(self.summary.get("cluster", ""))
        return ask_source(Bundle(self.directory / BUNDLE), **given, called=called)

    def copy_to(self, directory: Path) -> None:
        """Put the recording and what was done where the rest is to be made."""
        shutil.copytree(self.directory / BUNDLE, directory / BUNDLE)
        for topic in self.held:
            shutil.copy2(self.directory / f"{topic}.ipynb", directory)

    def completed(self, ran: Sequence[Executed]) -> list[Executed]:
        """Give all notebooks in their order, those that ran now among them."""
        whole = {**self.held, **{one.topic: one for one in ran}}
        return [whole[topic] for topic in self.topics]


def _summary(directory: Path, shown: Path | Address) -> Mapping[str, Any]:
    """Read what a run says of itself.

    A topic is the name of a notebook to run, and the run may come from somebody else: only the
    names that there are will do.
    """
    earlier = output.read_run(directory / "run.json")
    if earlier is None:
        raise ParameterError(f"{shown} is no run: give a directory that has a run.json")
    check_topics([row["topic"] for row in earlier["topics"]])
    texts = [earlier["parameters"].get(name) for name in _ASKED]
    texts += [row.get("error") for row in earlier["topics"]]
    numbers = [row.get("seconds") for row in (earlier, *earlier["topics"])]
    if not all(isinstance(each, str) for each in texts) or not all(
        isinstance(each, int | float) for each in numbers
    ):
        raise ParameterError(f"{shown / 'run.json'} is not whole: make the report anew")
    return earlier


def _held(directory: Path, summary: Mapping[str, Any]) -> Iterator[Executed]:
    for row in summary["topics"]:
        if not row["error"]:
            with suppress(OSError, ValueError, ValidationError):
                yield finished(directory / f"{row['topic']}.ipynb", row["seconds"])
