"""A source that answers from memory, for tests that are not about HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.source import Record, note
from cilium_analysis.window import Window


class MemorySource:
    """Answers what it was given: frames by query; empty for every other query."""

    name = "http://prometheus:9090"
    server: Mapping[str, str] = {"application": "Prometheus", "version": "3.5.0"}

    def __init__(
        self,
        answers: Mapping[str, pd.DataFrame] | None = None,
        *,
        warnings: tuple[str, ...] = (),
        error: Exception | None = None,
        tables: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        self.answers = answers or {}
        self.tables = tables or {}
        self.warnings = warnings
        self.error = error
        self.journal: list[Record] = []

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        return self._answer(promql, window)

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        return self._answer(promql, None).tail(1)

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        table = self.tables.get(promql, pd.DataFrame({"time": [], "value": []}))
        note(self, Record(promql, window, 1, len(table), 100, 0.5, self.warnings))
        return table

    def _answer(self, promql: str, window: Window | None) -> pd.DataFrame:
        if self.error:
            raise self.error
        frame = self.answers.get(promql, frames.empty())
        samples = int(frame.notna().to_numpy().sum())
        note(self, Record(promql, window, frame.shape[1], samples, 100, 0.5, self.warnings))
        return frame


def grid(window: Window, columns: Mapping[tuple[str, ...], object], names: str) -> pd.DataFrame:
    """A label frame over all points of a window, from values by labels."""
    begin = round(window.start.timestamp() * 1000)
    times = begin + round(window.step.total_seconds() * 1000) * np.arange(window.points)
    values = np.stack([np.broadcast_to(v, len(times)) for v in columns.values()], axis=1)
    series = [dict(zip(names.split(), key, strict=True)) for key in columns]
    return frames.build(times.astype(np.int64), values.astype(float), series)
