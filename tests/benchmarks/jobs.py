"""What a whole run costs, and how well jobs share two cores and one server."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import measure
from tests.benchmarks.cases import PROGRAM, Figure, seconds
from tests.benchmarks.link import SlowLink
from tests.servers.served import ClusterServers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS = 3
#: Of a server in another region [s].
DELAY = 0.05
HOURS = timedelta(hours=2)
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


def processor() -> Iterator[Figure]:
    """Set the processor time of all reports on the sample against that of importing libraries."""
    with tempfile.TemporaryDirectory() as folder:
        demo = _command("demo", "--output", folder, "--jobs", "2")
        spent = {"demo": [_spent(demo) for _ in range(ROUNDS)]}
        bare = measure.python("import pandas, matplotlib.pyplot, IPython")
        spent["import"] = [_spent(bare) for _ in range(ROUNDS)]
    ratio = statistics.median(spent["demo"]) / statistics.median(spent["import"])
    yield Figure(
        "all notebooks on the sample, processor time",
        seconds(spent["demo"]),
        f"import of pandas, matplotlib, IPython {seconds(spent['import'])}, ratio {ratio:.1f}",
        "≤ 12 ×",
        ratio <= 12,
    )


def _spent(call: Callable[[], object]) -> float:
    """Give the processor time of a command and all that it started [s]."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def far() -> Iterator[Figure]:
    """Report on a server that is near, and on the same one 50 ms away."""
    with tempfile.TemporaryDirectory() as folder:
        servers = ClusterServers(Path(folder) / "servers")
        try:
            served = servers("sample", "prometheus-3")
            start, end = served.scenario.start, served.scenario.end
            window = ["--start", max(start, end - HOURS).isoformat(), "--end", end.isoformat()]
            with SlowLink(served.url, delay=DELAY) as link:
                calls = {
                    name: _command(
                        *("report", "--source", url, "--jobs", "2", *window),
                        *("--output", str(Path(folder) / name)),
                    )
                    for name, url in (("near", served.url), ("far", link.url))
                }
                taken = measure.side_by_side(calls, rounds=ROUNDS)
        finally:
            servers.stop()
    ratio = measure.ratio(taken["far"], taken["near"])
    yield Figure(
        "report of all topics, five nodes, server 50 ms away",
        seconds(taken["far"]),
        f"server on loopback {seconds(taken['near'])}, ratio {ratio:.2f}",
        "≤ 1.3 ×",
        ratio <= 1.3,
    )


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
