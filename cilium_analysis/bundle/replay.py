"""Answer from a recorded directory."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cilium_analysis import foreign
from cilium_analysis.bundle import contents
from cilium_analysis.bundle import manifest as manifests
from cilium_analysis.bundle.files import read_frame, read_table
from cilium_analysis.errors import BundleError
from cilium_analysis.frames import astray
from cilium_analysis.metrics import Exported, Help, help_on, search
from cilium_analysis.source import Record, iso, note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from cilium_analysis.window import Window


#: Of a file of a bundle [bytes].
_MOST = 2**30


class Bundle:
    """A source that answers from a recorded directory.

    Parameters
    ----------
    directory
        Of the bundle.
    called
        What errors call it instead, as where it was fetched from.

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
        """What the recorded server said of itself."""
        return dict(self.manifest["server"])

    @property
    def window(self) -> Window:
        """What the bundle is about."""
        return manifests.window(
            self.manifest["window"], timezone=self.manifest.get("timezone", "UTC")
        )

    @property
    def baseline(self) -> Window | None:
        """What it compares with."""
        stored = self.manifest["baseline"]
        return manifests.window(stored, timezone=self.window.timezone) if stored else None

    @property
    def recorded(self) -> tuple[Window, ...]:
        """The windows whose targets it knows: its own, or those of the recording it is part of."""
        stored = self.manifest.get("targets_of")
        if stored:
            return tuple(manifests.window(each, timezone=self.window.timezone) for each in stored)
        return tuple(window for window in (self.window, self.baseline) if window is not None)

    @property
    def topics(self) -> tuple[str, ...]:
        """Whose questions it answers, as far as it says so."""
        return tuple(str(topic) for topic in self.manifest.get("topics", ()))

    @property
    def match(self) -> str | None:
        """Matchers that narrow its queries; None if it is of a version that did not keep them."""
        return self.manifest.get("match")

    @property
    def whole(self) -> bool:
        """Whether it was recorded to its end."""
        return bool(self.manifest.get("whole", True))

    def verify(self, *, deeply: bool = False) -> None:
        """See that all of it is there as it was recorded, before anything is made of it.

        Parameters
        ----------
        deeply
            Whether to read what is in the files too, for who hands them on to others.

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
        """Write the same bundle into a new directory: what its manifest names, and no other file.

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
            raise BundleError(f"the bundle is damaged: {self._shown(row)} holds no objects")
        return document

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Answer a range query from the recorded answers.

        Raises
        ------
        BundleError
            If the bundle does not hold the query for this window and step.
        PrometheusError
            If the server refused the query when the bundle was recorded.
        """
        rows = [row for row in self._held(promql) if row["window"] and "exemplars" not in row]
        for row in rows:
            held = manifests.window(row["window"])
            if _covers(held, window):
                frame = self._load(row)
                if said := astray(frame, held):
                    raise BundleError(f"the bundle is damaged: {self._shown(row)}: {said}")
                if held == window:
                    # The server may have moved start and end; the report had all of it.
                    return self._note(row, frame, window)
                inside = (frame.index >= window.start) & (frame.index <= window.end)
                return self._note(row, _with_samples(frame.loc[inside]), window)
        raise BundleError(self._missing(promql, rows, f"{iso(window.start)} to {iso(window.end)}"))

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Answer an instant query from the recorded answers; errors as for `range`."""
        rows = [row for row in self._held(promql) if "time" in row]
        for row in rows:
            if row["time"] == iso(moment):
                frame = self._load(row)
                if len(frame) > 1:
                    raise BundleError(
                        f"the bundle is damaged: {self._shown(row)} has more than one time"
                    )
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
        return contents.label_names(self._frames(contents.metric_of(match)))

    def label_values(
        self, name: str, *, match: str = "", window: Window | None = None
    ) -> list[str]:
        """List the values of a label in the answers; of ``__name__``, the metrics they are about.

        Parameters
        ----------
        name
            Of the label.
        match, window
            As of `label_names`.
        """
        if name == "__name__":
            return self._there()
        return contents.label_values(self._frames(contents.metric_of(match)), name)

    def metrics(self, about: str = "") -> pd.DataFrame:
        """Find metrics by name or by meaning; as of `cilium_analysis.metrics.search`.

        Parameters
        ----------
        about
            Part of a name, or words such as ``dropped packets``; empty for all there are. Those
            are ``there`` which a recorded query asked for and had an answer about.
        """
        return search(about, there=dict.fromkeys(self._there(), Exported()))

    def metric(self, name: str) -> Help:
        """Tell what is known of a metric of Cilium; as of `cilium_analysis.metrics.help_on`."""
        return help_on(name, there=self._there())

    def _there(self) -> list[str]:
        """List the metrics of the range queries that had an answer: to others, nothing is known."""
        rows = (row for row in self.manifest["answers"] if row["window"] and row.get("samples"))
        return contents.metrics_of(dict.fromkeys(str(row["promql"]) for row in rows))

    def _frames(self, metric: str) -> Iterator[pd.DataFrame]:
        """Give the answers to range queries that ask for a metric; to all if it is empty."""
        for promql in self.queries:
            if not metric or metric in contents.metrics_of([promql]):
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

    def _shown(self, row: Mapping[str, Any]) -> str:
        return f"{self.called}/{row['file']}"

    def _content(self, row: Mapping[str, Any]) -> bytes:
        """Give what the file of an answer holds, if it is what was recorded."""
        if "error" in row:
            raise manifests.refusal(row["error"])
        try:
            content = foreign.read(self.directory, row["file"], most=_MOST)
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise BundleError(f"the bundle is damaged: {self._shown(row)}: {reason}") from None
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise BundleError(
                f"the bundle is damaged: {self._shown(row)} has changed since it was recorded"
            )
        return content

    def _note(
        self,
        row: Mapping[str, Any],
        frame: pd.DataFrame,
        window: Window | None,
        *,
        samples: int | None = None,
    ) -> pd.DataFrame:
        """Keep the cost and the warnings of the recording, which a replay must not lose."""
        warnings = tuple(row["warnings"])
        if samples is None:
            samples = int(frame.notna().to_numpy().sum())
        cost = {"bytes": row["bytes"], "seconds": row["seconds"], "warnings": warnings}
        series = row["series"] if "exemplars" in row else frame.shape[1]
        note(self, Record(row["promql"], window, series, samples, **cost))
        return frame


def _with_samples(frame: pd.DataFrame) -> pd.DataFrame:
    there = np.asarray(frame.notna()).any(axis=0)
    return frame if there.all() else frame.iloc[:, np.flatnonzero(there)]


def _covers(held: Window, wanted: Window) -> bool:
    """Tell whether every point of the wanted window is a point of the one held."""
    inside = held.start <= wanted.start and wanted.end <= held.end
    in_phase = not (wanted.start - held.start) % held.step
    return held.step == wanted.step and inside and in_phase
