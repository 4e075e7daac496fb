"""Answers from a recorded directory."""

from __future__ import annotations

import hashlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cilium_analysis import foreign
from cilium_analysis.bundle import manifest as manifests
from cilium_analysis.bundle.computed import Answer, Held, chosen, compute, covers, instead
from cilium_analysis.bundle.files import read_frame, read_table
from cilium_analysis.bundle.simple import Simple, parse
from cilium_analysis.errors import BundleError, ParameterError
from cilium_analysis.frames import NOTE, astray
from cilium_analysis.metrics import Exported, Help, find, help_on, search
from cilium_analysis.source import Record, computes, iso, note
from cilium_analysis.texts import line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from cilium_analysis.window import Window

#: Largest size of a file of a bundle [bytes].
_MOST = 2**30
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAMED = re.compile(r'__name__\s*=~?\s*"([^"]*)"')
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Bundle:
    """A source that answers from a recorded directory.

    Parameters
    ----------
    directory
        Of the bundle.
    called
        Its name in errors instead, such as the address that it was fetched from.

    Raises
    ------
    BundleError
        If there is no bundle, or one that is damaged or of another schema.
    """

    def __init__(self, directory: Path, *, called: str = "") -> None:
        self.directory = directory
        self.called = called or str(directory)
        self.manifest = manifests.read(directory, called=called)
        self.journal: list[Record] = []

    def __repr__(self) -> str:
        return f"Bundle({self.called!r}: {len(self.manifest['answers'])} answers)"

    @property
    def name(self) -> str:
        """Name of the source that was recorded."""
        return str(self.manifest["source"])

    @property
    def server(self) -> Mapping[str, str]:
        """Build of the recorded server: ``application``, ``version``, …."""
        return dict(self.manifest["server"])

    @property
    def window(self) -> Window:
        """Window under analysis."""
        return manifests.window(
            self.manifest["window"], timezone=self.manifest.get("timezone", "UTC")
        )

    @property
    def baseline(self) -> Window | None:
        """Window that it is compared with."""
        stored = self.manifest["baseline"]
        return manifests.window(stored, timezone=self.window.timezone) if stored else None

    @property
    def recorded(self) -> tuple[Window, ...]:
        """Windows whose targets it knows: its own, or those of the recording it is part of."""
        stored = self.manifest.get("targets_of")
        if stored:
            return tuple(manifests.window(each, timezone=self.window.timezone) for each in stored)
        return tuple(window for window in (self.window, self.baseline) if window is not None)

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that it was recorded for; empty if unknown."""
        return tuple(str(topic) for topic in self.manifest.get("topics", ()))

    @property
    def match(self) -> str | None:
        """Matchers that narrow its queries; None if a version without this field recorded it."""
        return self.manifest.get("match")

    @property
    def whole(self) -> bool:
        """Whether it was recorded to its end."""
        return bool(self.manifest.get("whole", True))

    def verify(self, *, deeply: bool = False) -> None:
        """Check that all files are as they were recorded.

        Parameters
        ----------
        deeply
            Whether to read the content of the files too, before others get them.

        Raises
        ------
        BundleError
            If anything is damaged, or is no part of the bundle's directory.
        """
        for row in self.manifest["answers"]:
            if "error" in row:
                continue
            content = self._content(row)
            if deeply:
                read = read_table if "exemplars" in row else read_frame
                read(content, file=self._shown(row))
        if self.manifest.get("kubernetes") is not None:
            self._content(self.manifest["kubernetes"])

    def copy_to(self, directory: Path) -> None:
        """Write the same bundle into a new directory: the files of its manifest, and no other.

        Raises
        ------
        BundleError
            If anything is damaged.
        OSError
            If it cannot be written.
        """
        (directory / "answers").mkdir(parents=True)
        kubernetes = self.manifest.get("kubernetes")
        rows = [row for row in self.manifest["answers"] if "error" not in row]
        for row in [*rows, *([kubernetes] if kubernetes else [])]:
            (directory / row["file"]).write_bytes(self._content(row))
        text = json.dumps(self.manifest, indent=1, ensure_ascii=False)
        (directory / manifests.MANIFEST).write_text(text + "\n", encoding="utf-8")

    @property
    def kubernetes(self) -> dict[str, Any] | None:
        """The Kubernetes objects that were recorded, as a document; None if none were.

        Raises
        ------
        BundleError
            If they are damaged.
        """
        row = self.manifest.get("kubernetes")
        if row is None:
            return None
        try:
            document = foreign.parse(self._content(row))
        except ValueError as problem:
            raise BundleError(
                f"the bundle is damaged: cannot read {self._shown(row)} ({problem})"
            ) from None
        if not isinstance(document, dict):
            raise self._damaged(row, " holds no objects")
        return document

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Answer a range query from the recorded answers.

        A simple query that it does not hold is computed from another one that it holds, see
        `cilium_analysis.bundle.computed`. A warning in the journal says so, and the frame has it
        in ``attrs``, see `cilium_analysis.frames.NOTE`. What topics ask is never computed, see
        `cilium_analysis.source.as_recorded`.

        Raises
        ------
        BundleError
            If the bundle neither holds the query for this window and step, nor what it can be
            computed from.
        PrometheusError
            If the server refused the query when the bundle was recorded.
        """
        rows = [row for row in self._held(promql) if row["window"] and "exemplars" not in row]
        for row in rows:
            held = manifests.window(row["window"])
            if covers(held, window):
                frame = self._loaded(Answer(row, held))
                if held == window:
                    # The server may have moved start and end; the report had all of it.
                    return self._note(row, frame, window)
                inside = frame.loc[(frame.index >= window.start) & (frame.index <= window.end)]
                there = np.flatnonzero(np.asarray(inside.notna()).any(axis=0))
                return self._note(row, inside.iloc[:, there], window)
        asked = parse(promql) if computes() else None
        if asked is not None:
            found = self._simple(asked.metric)
            if twin := next((f for f in found if f.query.means(asked) and f.has(window)), None):
                return self.range(twin.promql, window)
            recorded = [one for one in found if one.is_of_series]
            try:
                if best := chosen(recorded, asked, window):
                    return self._computed(promql, asked, best, window)
                if not rows:
                    known = dict.fromkeys(one.promql for one in self._answers() if one.has(window))
                    who = self.called + ("" if self.whole else ", whose recording was cut short,")
                    said = instead(promql, asked, recorded, known, window, load=self._loaded)
                    raise BundleError(line(f"{who} cannot answer {said}"))
            except ParameterError as problem:
                said = line(f"{self.called} cannot answer {promql}: {problem}")
                raise BundleError(said) from None
        raise BundleError(self._missing(promql, rows, f"{iso(window.start)} to {iso(window.end)}"))

    def _computed(self, promql: str, asked: Simple, best: Held, window: Window) -> pd.DataFrame:
        """Compute an answer from one that was recorded, and mark it."""
        began = time.perf_counter()
        frame = compute(self._loaded(best), best, asked, window)
        mark = best.mark(asked, window)
        frame.attrs[NOTE] = mark
        spent, samples = time.perf_counter() - began, int(frame.notna().to_numpy().sum())
        warnings = (mark, *best.row["warnings"])
        note(self, Record(promql, window, frame.shape[1], samples, 0, spent, warnings))
        return frame

    def _answers(self) -> Iterator[Answer]:
        """Yield the answers to range queries."""
        for row in self.manifest["answers"]:
            if row["window"] and "file" in row and "exemplars" not in row:
                yield Answer(row, manifests.window(row["window"]))

    def _simple(self, metric: str) -> list[Held]:
        """List the answers to simple queries for a metric."""
        found = []
        for one in self._answers():
            query = parse(one.promql) if metric in one.promql else None
            if query is not None and query.metric == metric:
                found.append(Held(one.row, one.window, query))
        return found

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Answer an instant query from the recorded answers; errors as for `range`."""
        rows = [row for row in self._held(promql) if "time" in row]
        for row in rows:
            if row["time"] == iso(moment):
                frame = self._load(row)
                if len(frame) > 1:
                    raise self._damaged(row, " has more than one time")
                return self._note(row, frame, None)
        raise BundleError(self._missing(promql, rows, iso(moment)))

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        """List exemplars from the recorded answers; errors as for `range`."""
        rows = [row for row in self._held(promql) if "exemplars" in row]
        for row in rows:
            held = manifests.window(row["window"])
            if held.start <= window.start and window.end <= held.end:
                table = read_table(self._content(row), file=self._shown(row))
                chosen = table
                if len(table):  # a column of nothing has no type to compare
                    inside = (table["time"] >= window.start) & (table["time"] <= window.end)
                    chosen = table[inside].reset_index(drop=True)
                return self._note(row, chosen, window, samples=len(chosen))
        raise BundleError(self._missing(promql, rows, f"{iso(window.start)} to {iso(window.end)}"))

    @property
    def queries(self) -> tuple[str, ...]:
        """All range queries that it answers, in the order of recording."""
        rows = (row for row in self.manifest["answers"] if row["window"] and "error" not in row)
        return tuple(dict.fromkeys(str(row["promql"]) for row in rows if "exemplars" not in row))

    def label_names(self, *, match: str = "", window: Window | None = None) -> list[str]:
        """List the names of labels in the answers.

        Parameters
        ----------
        match
            A selector: only answers to queries that ask for its metric count.
        window
            As of a server; all that was recorded counts.
        """
        names = {str(name) for frame in self._frames(match) for name in frame.columns.names}
        return sorted(names - {"__name__"})

    def label_values(
        self, name: str, *, match: str = "", window: Window | None = None
    ) -> list[str]:
        """List the values of a label in the answers; of ``__name__``, the metrics with an answer.

        Parameters
        ----------
        name
            Of the label.
        match, window
            As of `label_names`.
        """
        if name == "__name__":
            return self._there()
        held = (f.columns for f in self._frames(match) if name in f.columns.names)
        return sorted({str(value) for columns in held for value in columns.unique(name)} - {""})

    def metrics(self, about: str = "") -> pd.DataFrame:
        """Find metrics by name or by meaning; as of `cilium_analysis.metrics.search`.

        Parameters
        ----------
        about
            Part of a name, or words such as ``dropped packets``; empty for all metrics. Those
            with an answer in the bundle are ``there``.
        """
        return search(about, there=dict.fromkeys(self._there(), Exported()))

    def metric(self, name: str) -> Help:
        """Explain a metric of Cilium; as of `cilium_analysis.metrics.help_on`."""
        return help_on(name, there=self._there())

    def _there(self) -> list[str]:
        """List the metrics of the range queries with an answer; of the others nothing is known."""
        rows = (row for row in self.manifest["answers"] if row["window"] and row.get("samples"))
        return metrics_of(dict.fromkeys(str(row["promql"]) for row in rows))

    def _frames(self, match: str) -> Iterator[pd.DataFrame]:
        """Yield the answers to range queries for the metric that a selector names, if it does."""
        named = _WORD.match(match.strip())
        for promql in self.queries:
            if not named or named[0] in metrics_of([promql]):
                row = next(r for r in self._held(promql) if r["window"] and "file" in r)
                yield self._load(row)

    def _held(self, promql: str) -> list[dict[str, Any]]:
        return [row for row in self.manifest["answers"] if row["promql"] == promql]

    def _missing(self, promql: str, rows: list[dict[str, Any]], wanted: str) -> str:
        held = ", ".join(
            f"{row['window']['start']} to {row['window']['end']} every"
            f" {row['window']['step_seconds']:g}s"
            if row["window"]
            else row["time"]
            for row in rows
        )
        what = (
            f"holds this query for {held}"
            if held
            else (
                f"holds {len(self.manifest['answers'])} answers about {iso(self.window.start)}"
                f" to {iso(self.window.end)}, but not to this query"
            )
        )
        why = "" if self.whole else ", as its recording was cut short"
        return f"no answer for {wanted} in {self.called}: the bundle {what}{why}: {promql}"

    def _load(self, row: Mapping[str, Any]) -> pd.DataFrame:
        return read_frame(self._content(row), file=f"{self._shown(row)}, {row['promql']}")

    def _loaded(self, one: Answer) -> pd.DataFrame:
        """Read an answer to a range query, all of whose samples must be from its window."""
        frame = self._load(one.row)
        if said := astray(frame, one.window):
            raise self._damaged(one.row, f": {said}")
        return frame

    def _shown(self, row: Mapping[str, Any]) -> str:
        return f"{self.called}/{row['file']}"

    def _content(self, row: Mapping[str, Any]) -> bytes:
        """Return the content of the file of an answer, which must be as it was recorded."""
        if "error" in row:
            raise manifests.refusal(row["error"])
        try:
            content = foreign.read(self.directory, row["file"], most=_MOST)
        except OSError as problem:
            raise self._damaged(row, f": {problem.strerror or problem}") from None
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise self._damaged(row, " has changed since it was recorded")
        return content

    def _damaged(self, row: Mapping[str, Any], why: str) -> BundleError:
        return BundleError(f"the bundle is damaged: {self._shown(row)}{why}")

    def _note(
        self,
        row: Mapping[str, Any],
        frame: pd.DataFrame,
        window: Window | None,
        *,
        samples: int | None = None,
    ) -> pd.DataFrame:
        """Add the cost and the warnings of the recording to the journal."""
        warnings = tuple(row["warnings"])
        if samples is None:
            samples = int(frame.notna().to_numpy().sum())
        cost = {"bytes": row["bytes"], "seconds": row["seconds"], "warnings": warnings}
        series = row["series"] if "exemplars" in row else frame.shape[1]
        note(self, Record(row["promql"], window, series, samples, **cost))
        return frame


def metrics_of(queries: Iterable[str]) -> list[str]:
    """List the metrics that queries ask for, sorted: ``up``, and those known to be Cilium's."""
    found: set[str] = set()
    for promql in queries:
        named = (name for text in _NAMED.findall(promql) for name in _WORD.findall(text))
        found.update(named, _WORD.findall(_STRING.sub('""', promql)))
    return sorted(name for name in found if name == "up" or find(name) is not None)
