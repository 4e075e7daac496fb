"""How well jobs share two cores: the notebooks of a report, the reports of a fleet."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import measure
from tests.benchmarks.cases import PROGRAM, Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS = 3
CLUSTERS = 20
FLEET = """
defaults:
  topics: [drop_reasons, node_connectivity, endpoint_growth, http_status]
window: {{start: "2026-03-21T08:00:00Z", end: "2026-03-21T10:00:00Z"}}
clusters: [{clusters}]
"""


def notebooks() -> Iterator[Figure]:
    """Make all reports on the sample, one notebook at a time and two."""
    with tempfile.TemporaryDirectory() as folder:
        output = {jobs: Path(folder) / jobs for jobs in ("1", "2")}
        calls = {
            jobs: _command("demo", "--output", str(path), "--jobs", jobs)
            for jobs, path in output.items()
        }
        taken = measure.side_by_side(calls, rounds=ROUNDS)
        chains = [_chain(taken["1"], run) for run in _runs(output["1"])]
    ratio = measure.ratio(taken["1"], taken["2"])
    yield Figure(
        "all notebooks, `--jobs 2`",
        seconds(taken["2"]),
        f"`--jobs 1` {seconds(taken['1'])}, {ratio:.2f} × as long",
        "≥ 1.7 ×",
        ratio >= 1.7,
    )
    bound = max(statistics.median(chains), statistics.median(taken["1"]) / 2)
    above = statistics.median(taken["2"]) / bound
    yield Figure(
        "the same, beside the longest chain or half of all",
        seconds(taken["2"]),
        f"{bound:.2f} s, ratio {above:.2f}",
        "≤ 1.2 ×",
        above <= 1.2,
    )


def _chain(whole: Sequence[float], run: dict[str, Any]) -> float:
    """Give how long it takes with any number of cores [s].

    All is recorded before the longest notebook can run, which asks of it everything.
    """
    each = [row["seconds"] for row in run["topics"]]
    return float(statistics.median(whole) - sum(each) + max(each))


def fleet() -> Iterator[Figure]:
    """Make the reports of a fleet on two local workers, beside what their kernels took."""
    with tempfile.TemporaryDirectory() as folder:
        file, output = Path(folder) / "fleet.yaml", Path(folder) / "reports"
        named = ", ".join(
            f"{{name: c{number:02}, source: sample}}" for number in range(1, CLUSTERS + 1)
        )
        file.write_text(FLEET.format(clusters=named), encoding="utf-8")
        call = _command("fleet", str(file), "--output", str(output), "--workers", "2")
        taken = measure.side_by_side({"fleet": call}, rounds=1)["fleet"]
        runs = list(_runs(output))
    if len(runs) != CLUSTERS or any(run["status"] != "complete" for run in runs):
        raise RuntimeError("the fleet is not whole")
    kernels = sum(row["seconds"] for run in runs for row in run["topics"])
    ratio = taken[0] / (kernels / 2)
    yield Figure(
        f"fleet of {CLUSTERS} clusters × 4 topics, 2 workers",
        seconds(taken),
        f"half of what its notebooks took {kernels / 2:.2f} s, ratio {ratio:.2f}",
        "≤ 1.15 ×",
        ratio <= 1.15,
    )


def _command(*arguments: str) -> Callable[[], object]:
    return measure.command([sys.executable, "-c", PROGRAM.format(list(arguments))])


def _runs(output: Path) -> Iterator[dict[str, Any]]:
    for path in output.glob("*/run.json"):
        yield json.loads(path.read_text(encoding="utf-8"))
