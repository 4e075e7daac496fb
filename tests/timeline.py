"""A source for tests of flows: counters in memory, and when their targets were scraped."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cilium_analysis.topics.flows.data import COUNTERS
from cilium_analysis.window import Window
from tests.sources import MemorySource


class Timeline(MemorySource):
    """A source whose frames, by a part of the query, reach over the baseline and the window."""

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        for part, frame in self.answers.items():
            if part not in promql:
                continue
            if "count_over_time(" in promql and "> bool" not in promql:
                return stretches(frame, window)
            return frame.loc[window.start : window.end]
        return super().range(promql, window)


def stretches(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Count the scrapes in the steps of a window, of targets that answer with more than 0."""
    samples = frame.where(frame > 0).resample(window.step, closed="right", label="right").count()
    return samples.loc[window.start : window.end].replace(0, np.nan).astype(float)


def timeline(**values: pd.DataFrame) -> Timeline:
    """A source that knows some counters; when `servers` were scraped, and `agents` too."""
    asked = {
        "servers": "count_over_time(hubble_flows_processed_total",
        "agents": "cilium_process_start_time_seconds",
    }
    return Timeline(
        {asked.get(n) or f"max_over_time({COUNTERS[n].name}": f for n, f in values.items()}
    )
