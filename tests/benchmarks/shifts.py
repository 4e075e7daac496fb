"""Time and memory that the statistics of a large incident take, and what they find in it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.statistics.deviations import deviations
from tests.benchmarks.cases import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

SERIES, STEPS = 100_000, 360
#: Every so manieth series has a step; a kind of series is so wide.
STRUCK, KIND = 50, 1_000
MINUTE = pd.Timedelta(minutes=1)
TIME_AIM, MEMORY_AIM = 30.0, 2.0
_CHILD = "from tests.benchmarks.shifts import measure; print(measure())"


def large() -> tuple[pd.DataFrame, dict[int, int]]:
    """Make counts of a large incident and its baseline, and where and when series step.

    Most are quiet; a third is sparse, a third busy, a third scatters more than Poisson counts.
    """
    rng = np.random.default_rng(20260321)
    values = np.empty((2 * STEPS, SERIES))
    for number, first in enumerate(range(0, SERIES, KIND)):
        rates = rng.gamma(0.5, (0.2, 40.0, 40.0)[number % 3], size=KIND)
        scatter = rng.gamma(4.0, 0.25, size=(2 * STEPS, KIND)) if number % 3 == 2 else 1.0
        values[:, first : first + KIND] = rng.poisson(rates * scatter, size=(2 * STEPS, KIND))
    steps = {}
    for one in range(0, SERIES, STRUCK):
        steps[one] = int(rng.integers(30, STEPS - 30))
        tall = 8.0 * values[:STEPS, one].std() + 2.0
        values[STEPS + steps[one] :, one] += rng.poisson(tall, size=STEPS - steps[one])
    values[rng.random((1, SERIES)).repeat(2 * STEPS, axis=0) < 0.01] = 0.0
    times = pd.date_range("2026-03-21", periods=2 * STEPS, freq=MINUTE, tz="UTC")
    return pd.DataFrame(values, index=times), steps


def measure() -> str:
    """Run in a process of its own: seconds, peak [bytes], and how many are found, and dated."""
    frame, steps = large()
    baseline, window = frame.iloc[:STEPS], frame.iloc[STEPS:]
    deviations(baseline.iloc[:, :KIND], window.iloc[:, :KIND], counts=True)  # imports
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    began = time.perf_counter()
    table = deviations(baseline, window, counts=True).set_index("series")
    taken = time.perf_counter() - began
    hit = table.loc[table.index.isin(list(steps))]
    # The step of a row begins one before it.
    onsets = pd.DatetimeIndex([window.index[steps[one]] for one in hit.index]) - MINUTE
    dated = (hit["earliest"] <= onsets) & (onsets <= hit["latest"])
    figures = [taken, _peak(), len(steps), len(hit), int(dated.sum()), len(table) - len(hit)]
    return json.dumps(figures)


def _peak() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def figures() -> Iterator[Figure]:
    """Give the figures as rows of the table."""
    done = subprocess.run([sys.executable, "-c", _CHILD], check=True, capture_output=True)
    taken, peak, struck, found, dated, others = json.loads(done.stdout)
    yield Figure(
        f"who left the baseline and when, {SERIES:,} × {STEPS}",
        f"{taken:.1f} s",
        f"{found:,} of {struck:,} steps found, onset within its interval in {dated / found:.0%};"
        f" {others:,} others",
        f"≤ {TIME_AIM:.0f} s",
        taken <= TIME_AIM,
    )
    yield Figure(
        "peak memory of that, data included",
        f"{peak / 2**30:.2f} GiB",
        "window and baseline 0.54 GiB",
        f"≤ {MEMORY_AIM:.0f} GiB",
        peak <= MEMORY_AIM * 2**30,
    )
