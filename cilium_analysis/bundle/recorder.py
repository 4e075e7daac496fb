"""Record what a source answers."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any

from cilium_analysis.bundle.files import read_frame, read_table, write_frame, write_table
from cilium_analysis.bundle.manifest import KUBERNETES, MANIFEST, SCHEMA, read, refusal, versions
from cilium_analysis.errors import BudgetExceeded, Interrupted, OutputError, QueryRejected
from cilium_analysis.source import (
    Record,
    Relay,
    followed,
    iso,
    note,
    recorded_range,
    weighed,
    window_as_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window


#: A recording that is kept says what is in it, at most so often [s].
EVERY = 1.0


class Recorder(Relay):
    """A source that passes on what another answers, and keeps it in a new bundle.

    What several topics ask, be it at the same time, is asked once: the others get what was kept.
    Use it as a context manager: the directory appears under its name when the block ends well, and
    not at all when it ends with an error, unless it is to be kept; `show` makes it appear before.
    Nothing is recorded after the block: threads that still ask then get an error.

    Parameters
    ----------
    source
        What really answers.
    directory
        Of the bundle; must not exist, unless it is kept.
    window, baseline
        What the bundle is about, for those who read it.
    topics
        Whose questions it answers.
    match
        Matchers that narrow all of them.
    kept
        Whether what was recorded stays where it is if the block ends with an error, unless that
        is nothing. Then the directory may hold a recording that was cut short, which goes on.

    Raises
    ------
    OutputError
        If the directory exists already or cannot be written.
    """

    def __init__(
        self,
        source: Source,
        directory: Path,
        *,
        window: Window,
        baseline: Window | None = None,
        topics: Sequence[str] = (),
        match: str = "",
        kept: bool = False,
    ) -> None:
        super().__init__(source)
        self._directory = directory
        self._window = window
        self._baseline = baseline
        self._topics = list(topics)
        self._match = match
        self._answers: dict[tuple[str, str], dict[str, Any]] = {}
        self._asking: defaultdict[tuple[str, str], Lock] = defaultdict(Lock)
        self._lock, self._ended = RLock(), False
        self._kubernetes: dict[str, Any] | None = None
        self._told: dict[str, str] = {}
        self._kept, self._whole, self._written, self._number = kept, False, 0.0, 0
        if kept:
            self._place = directory
            self._go_on()
            return
        if directory.exists():
            raise OutputError(f"{directory} exists already: choose another directory")
        self._place = _temporary_beside(directory)

    def _go_on(self) -> None:
        """Take up what the directory holds already; what was refused is asked once more."""
        if (self._place / MANIFEST).exists():
            manifest = read(self._place)
            rows = [row for row in manifest["answers"] if "error" not in row]
            self._answers = {_key(row["promql"], row): row for row in rows}
            names = [Path(row["file"]).stem for row in rows]
            self._number = max(map(int, names), default=0)
            self._kubernetes = manifest.get("kubernetes")
        else:
            self._place.mkdir(parents=True)

    def __enter__(self) -> Recorder:
        if self._kept:
            self._write_manifest(known=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._ended = True
            written = False
            try:
                if kind is None:
                    self._whole = True
                    self.show()
                    written = True
            finally:
                self._whole = written
                if not written and self._kept and any("file" in r for r in self._answers.values()):
                    with suppress(OSError):
                        self._write_manifest(known=True)
                elif not written:
                    shutil.rmtree(self._place, ignore_errors=True)

    def show(self) -> None:
        """Let the directory answer what was recorded so far.

        For who keeps it from others until all is there: if the block ends with an error, what was
        shown is removed.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        self._told = dict(self.server)
        try:
            with self._lock:
                self._write_manifest(known=True)
                if self._place != self._directory:
                    self._place.rename(self._directory)
                self._place = self._directory
        except OSError as problem:
            raise OutputError(f"cannot write the bundle {self._directory}: {problem}") from None

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Pass a range query on, and keep its answer, or its refusal."""
        when = {"window": window_as_json(window)}
        return self._answer(
            promql, when, lambda: recorded_range(self.source, promql, window), window
        )

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Pass an instant query on, and keep its answer, or its refusal."""
        return self._answer(
            promql, {"time": iso(moment)}, lambda: self.source.instant(promql, moment), None
        )

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        """Pass a question for exemplars on, and keep its answer, or its refusal."""
        when = {"window": window_as_json(window), "exemplars": True}
        return self._answer(promql, when, lambda: self.source.exemplars(promql, window), window)

    def keep_kubernetes(self, document: Mapping[str, Any]) -> None:
        """Keep the objects of a cluster, so that `Bundle.kubernetes` gives them again.

        Parameters
        ----------
        document
            JSON-ready, with ``server``, ``read``, ``unread`` and ``notes`` for the manifest.
        """
        content = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        (self._place / KUBERNETES).write_bytes(content)
        told = {key: document[key] for key in ("server", "read", "unread", "notes")}
        digest = hashlib.sha256(content).hexdigest()
        self._kubernetes = {"file": KUBERNETES, "sha256": digest, **told}

    def _answer(
        self,
        promql: str,
        when: Mapping[str, Any],
        ask: Callable[[], pd.DataFrame],
        window: Window | None,
    ) -> pd.DataFrame:
        key = _key(promql, when)
        with self._asking[key]:
            kept = self._answers.get(key)
            if kept is not None:
                return self._again(kept, window)
            self._check_open()
            try:
                with weighed(self.source, promql), followed() as said:
                    frame = ask()
            except (BudgetExceeded, QueryRejected) as problem:
                # Of an unreachable server nothing is kept: that is no answer at all.
                error = {"type": type(problem).__name__, "message": str(problem)}
                error["reason"] = problem.reason
                self._keep(key, {"promql": promql, "window": None, **when, "error": error})
                raise
            row = {"promql": promql, "window": None, **when}
            self._keep_answer(key, row, frame, [*said.records][-1])
            return frame

    def _check_open(self) -> None:
        if self._ended:
            raise Interrupted("the recording has ended: nothing more is asked")

    def _again(self, row: Mapping[str, Any], window: Window | None) -> pd.DataFrame:
        """Give a kept answer once more; its warnings are for this reader too, its cost is not."""
        if "error" in row:
            raise refusal(row["error"])
        record = Record(
            promql=str(row["promql"]),
            window=window,
            series=int(row["series"]),
            samples=int(row["samples"]),
            bytes=0,
            seconds=0.0,
            warnings=tuple(row["warnings"]),
        )
        note(self, record)
        read = read_table if "exemplars" in row else read_frame
        with self._lock:  # the directory may get its name meanwhile
            path = self._place / str(row["file"])
            content = path.read_bytes()
        return read(content, file=str(path))

    def _keep_answer(
        self,
        key: tuple[str, str],
        row: Mapping[str, Any],
        frame: pd.DataFrame,
        record: Record,
    ) -> None:
        write = write_table if "exemplars" in row else write_frame
        with self._lock:
            self._check_open()
            self._number += 1
            file = f"answers/{self._number:04}.parquet"
            path = self._place / file
            path.parent.mkdir(exist_ok=True)
            rows = write(frame, path)
            told = record.as_json()
            cost = {k: told[k] for k in ("series", "samples", "bytes", "seconds", "warnings")}
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            self._keep(key, {**row, "file": file, "rows": rows, "sha256": digest, **cost})
            if self._kept and time.monotonic() - self._written > EVERY:
                self._write_manifest()
                self._written = time.monotonic()

    def _keep(self, key: tuple[str, str], row: dict[str, Any]) -> None:
        with self._lock:
            self._answers[key] = row

    def _write_manifest(self, *, known: bool = False) -> None:
        """Say what is in the recording; what is not known of the server is not asked then."""
        if not known:
            self._told = dict(self.server)
        with self._lock:  # two threads would take each other's file
            manifest = {
                "schema": SCHEMA,
                "source": self.name,
                "server": self._told,
                "recorded": iso(datetime.now(UTC).replace(microsecond=0)),
                "window": window_as_json(self._window),
                "timezone": self._window.timezone,
                "baseline": window_as_json(self._baseline) if self._baseline else None,
                # A recording of part of a recording: what is known of its targets is the whole's.
                "targets_of": [window_as_json(window) for window in self.recorded],
                "topics": self._topics,
                "match": self._match,
                "versions": versions(),
                "kubernetes": self._kubernetes,
                "whole": self._whole,
                "answers": list(self._answers.values()),
            }
            text = json.dumps(manifest, indent=1, ensure_ascii=False)
            unfinished = self._place / f".{MANIFEST}"
            unfinished.write_text(text + "\n", encoding="utf-8")
            unfinished.replace(self._place / MANIFEST)


def _temporary_beside(directory: Path) -> Path:
    """Make a directory on the same file system, so that the rename is one step."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = directory.parent / f".{directory.name}-{token_hex(4)}"
        temporary.mkdir()
    except OSError as problem:
        raise OutputError(f"cannot write to {directory.parent}: {problem}") from None
    return temporary


def _key(promql: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """Tell answers apart: by query, time or window, and kind."""
    when = {key: row.get(key) for key in ("window", "time", "exemplars")}
    return promql, json.dumps(when, sort_keys=True)
