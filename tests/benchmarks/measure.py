"""Seconds and bytes: of calls side by side, of child processes, of whole commands."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# VmHWM, not ru_maxrss: that one starts from the peak of the parent.
_MEMORY = """
import json, sys
from datetime import datetime, timedelta
from pathlib import Path
from cilium_analysis import Prometheus, Window

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

url, query, start, end, step = sys.argv[1:]
window = Window(*map(datetime.fromisoformat, (start, end)), timedelta(seconds=float(step)))
source = Prometheus(url, max_samples=100_000_000)
# A first small fetch, so that libraries are loaded.
source.range(query, Window(window.start, window.start + 10 * window.step, window.step))
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
frame = source.range(query, window)
print(json.dumps([status("VmHWM") - before, int(frame.memory_usage(deep=True).sum()), frame.size]))
"""


def side_by_side(
    calls: Mapping[str, Callable[[], object]], *, rounds: int
) -> dict[str, list[float]]:
    """Time calls in turn, so that a machine that drifts drifts for all of them [s]."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - began)
    return taken


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Give the median of the ratios of calls that ran in the same round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def python(code: str) -> Callable[[], object]:
    """Give a call that runs code in a Python process of its own."""
    return command([sys.executable, "-c", code])


def command(arguments: Sequence[str]) -> Callable[[], object]:
    """Give a call that runs a command and fails as it fails."""
    return lambda: subprocess.run(arguments, check=True, capture_output=True)


def memory(url: str, query: str, times: Sequence[str]) -> tuple[int, int, int]:
    """Fetch in a process of its own: its extra peak [bytes], the frame [bytes], its samples."""
    arguments = [sys.executable, "-c", _MEMORY, url, query, *times]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    peak, frame, samples = json.loads(done.stdout)
    return peak, frame, samples
