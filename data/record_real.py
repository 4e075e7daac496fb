"""Record the second sample bundle from the recording of three real agents.

Run as ``python -m data.record_real`` from the root of the repository; see ``data/README.md``.
"""

from __future__ import annotations

from pathlib import Path

from cilium_analysis import Window, connect
from cilium_analysis.bundle import Recorder
from cilium_analysis.capture import TOPICS, load, record_for_any_workloads
from cilium_analysis.source import Relay
from data.record import replace_by
from tests.field.recordings import AGENTS, WHOLE, at, recording

TARGET = Path(__file__).parent / "sample-real"
STEP = "15s"
#: What people ask first: series as they are, to group as one likes.
EXPLORED = (
    "sum by (reason) (rate(cilium_drop_count_total[5m]))",
    "cilium_drop_count_total",
    "cilium_endpoint",
    "hubble_drop_total",
)


class Sample(Relay):
    """A source under the name that says what it is: not a server of that address."""

    name = "sample-real (three real agents, Cilium 1.20-dev, synthetic traffic, injected faults)"


def record(target: Path) -> None:
    """Record every topic about the recording's window, against its quiet time."""
    start, end, *usual = map(at, WHOLE[AGENTS])
    window = Window.parse(start, end, step=STEP)
    baseline = window.baseline("/".join(usual))
    with recording(AGENTS) as url:
        source = Sample(connect(url))
        with Recorder(source, target, window=window, baseline=baseline, topics=TOPICS) as recorder:
            for topic in TOPICS:
                load(topic, recorder, window, baseline)
            record_for_any_workloads(recorder, window, baseline)
            for promql in EXPLORED:
                recorder.range(promql, window)


if __name__ == "__main__":
    replace_by(record, TARGET)
