"""The figures: what is measured, beside what, and what was aimed at."""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import prometheus_api_client
import prometheus_pandas.query

from cilium_analysis import Prometheus, Window, counters, frames
from tests.benchmarks import dataset, measure
from tests.benchmarks.link import SlowLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

PROGRAM = "import sys; from cilium_analysis.cli import main; sys.exit(main({}))"
MIB = 2**20
#: of a slow link: 100 Mbit/s [bytes/s]
SLOW = 12.5e6


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    what: str
    measured: str
    against: str
    target: str
    met: bool | None


def fetching(url: str) -> Iterator[Figure]:
    """Fetch 2.88 million samples, 57 MB of JSON, with each client, in turn."""
    taken = measure.side_by_side({"curl": _curl(url), "range()": _ours(url)}, rounds=7)
    ratio = measure.ratio(taken["range()"], taken["curl"])
    yield Figure(
        "`range()`, 2.88 M samples",
        seconds(taken["range()"]),
        f"`curl -o /dev/null` {seconds(taken['curl'])}, ratio {ratio:.2f}",
        "≤ 1.5 ×",
        ratio <= 1.5,
    )
    others = {"prometheus-pandas": _pandas(url), "prometheus-api-client": _api_client(url)}
    slow = measure.side_by_side({"range()": _ours(url)} | others, rounds=2)
    for name in others:
        ratio = measure.ratio(slow[name], slow["range()"])
        against = f"{name} {seconds(slow[name])}, {ratio:.1f} × as long"
        yield Figure(
            f"`range()` in turn with {name}",
            seconds(slow["range()"]),
            against,
            "≥ 10 ×",
            ratio >= 10,
        )


def _times() -> tuple[str, str, str]:
    day = dataset.DAY
    return (f"{day.start.timestamp():.0f}", f"{day.end.timestamp():.0f}", "30")


def _curl(url: str) -> Callable[[], object]:
    start, end, step = _times()
    fields = {"query": dataset.DAY_QUERY, "start": start, "end": end, "step": step}
    data = [part for name, value in fields.items() for part in ("--data", f"{name}={value}")]
    return measure.command(
        ["curl", "-s", "-f", "-o", "/dev/null", *data, f"{url}/api/v1/query_range"]
    )


def _ours(url: str) -> Callable[[], pd.DataFrame]:
    return lambda: _fetch_day(Prometheus(url))()


def _pandas(url: str) -> Callable[[], object]:
    client = prometheus_pandas.query.Prometheus(url)
    start, end, step = map(float, _times())
    return lambda: client.query_range(dataset.DAY_QUERY, start, end, step)


def _api_client(url: str) -> Callable[[], object]:
    client = prometheus_api_client.PrometheusConnect(url=url)
    day = dataset.DAY

    def fetch() -> object:
        answer = client.custom_query_range(dataset.DAY_QUERY, day.start, day.end, "30")
        return prometheus_api_client.MetricRangeDataFrame(answer)

    return fetch


def remembering(url: str) -> Iterator[Figure]:
    """Measure the peak of a process that fetches, beyond what it held before."""
    cases = (
        ("2.88 M", dataset.DAY_QUERY, dataset.DAY),
        ("10.4 M", dataset.LONG_QUERY, dataset.LONG),
    )
    for name, query, window in cases:
        times = (window.start.isoformat(), window.end.isoformat(), "30")
        peak, frame, samples = measure.memory(url, query, times)
        assert samples == window.points * (1000 if query == dataset.DAY_QUERY else 720)
        allowed = 3 * frame + 64 * MIB
        yield Figure(
            f"peak extra memory, {name} samples",
            f"{peak / MIB:.0f} MiB",
            f"frame {frame / MIB:.0f} MiB",
            f"≤ {allowed / MIB:.0f} MiB",
            peak <= allowed,
        )


def slow_link(url: str) -> Iterator[Figure]:
    """Fetch over 100 Mbit/s: what ``auto`` chooses against what it could have chosen."""
    with SlowLink(url, rate=SLOW) as link:
        modes: tuple[Literal["auto", "gzip", "identity"], ...] = ("auto", "gzip", "identity")
        clients = {mode: Prometheus(link.url, compression=mode) for mode in modes}
        calls = {str(mode): _fetch_day(client) for mode, client in clients.items()}
        calls["auto"]()  # it learns from its first answer
        taken = measure.side_by_side(calls, rounds=3)
    best = min(statistics.median(taken["gzip"]), statistics.median(taken["identity"]))
    ratio = statistics.median(taken["auto"]) / best
    yield Figure(
        "`range()` over 100 Mbit/s, encoding chosen",
        seconds(taken["auto"]),
        f"gzip {seconds(taken['gzip'])}, identity {seconds(taken['identity'])}",
        "the better of both",
        ratio <= 1.1,
    )


def _fetch_day(client: Prometheus) -> Callable[[], pd.DataFrame]:
    return lambda: client.range(dataset.DAY_QUERY, dataset.DAY)


def starting() -> Iterator[Figure]:
    """Start Python with the package, and the command with ``--help``."""
    calls = {
        "pandas": measure.python("import pandas"),
        "ours": measure.python("import cilium_analysis"),
        "all": measure.python("from cilium_analysis import *"),
        "help": measure.command([sys.executable, "-c", PROGRAM.format(["--help"])]),
    }
    taken = measure.side_by_side(calls, rounds=9)
    beside = f"`import pandas` {seconds(taken['pandas'])}, ratio "
    ratio = measure.ratio(taken["ours"], taken["pandas"])
    against = f"{beside}{ratio:.2f}"
    yield Figure(
        "`import cilium_analysis`", seconds(taken["ours"]), against, "≤ 1.2 ×", ratio <= 1.2
    )
    against = f"{beside}{measure.ratio(taken['all'], taken['pandas']):.2f}"
    what = "`from cilium_analysis import *`, which loads requests too"
    yield Figure(what, seconds(taken["all"]), against, "", None)
    median = statistics.median(taken["help"])
    yield Figure("`cilium-analysis --help`", seconds(taken["help"]), "", "≤ 0.5 s", median <= 0.5)


def reporting() -> Iterator[Figure]:
    """Make reports on the sample, as whole commands: one notebook, and all of them."""
    with tempfile.TemporaryDirectory() as folder:
        output = ["--output", str(Path(folder) / "reports")]
        commands = {
            "drops": ["report", "drop_reasons", "--source", "sample", *output],
            "incident": ["report", "incident", "--source", "sample", *output],
            "all": ["demo", *output],
        }
        calls = {
            name: measure.command([sys.executable, "-c", PROGRAM.format(command)])
            for name, command in commands.items()
        }
        taken = measure.side_by_side(calls, rounds=3)
    rows = (
        ("drops", "drop report on the sample", 15),
        ("incident", "incident report on the sample", 20),
        ("all", "all notebooks on the sample", 60),
    )
    for name, what, limit in rows:
        met = statistics.median(taken[name]) <= limit
        yield Figure(what, seconds(taken[name]), "", f"≤ {limit} s", met)


def counting() -> Iterator[Figure]:
    """Count what 5,000 counters gained at 720 points."""
    window = Window(dataset.START, dataset.START + timedelta(seconds=30 * 719), dataset.STEP)
    series = list(dataset.counters("bench", window, 5000))
    times = series[0].times.astype(np.int64)
    frame = frames.build(
        times,
        np.stack([one.values for one in series], axis=1),  # noqa: PD011
        [{**s.labels, "number": str(n)} for n, s in enumerate(series)],
    )
    taken = measure.side_by_side({"ours": lambda: counters.increase(frame)}, rounds=3)["ours"]
    yield Figure("`counters.increase`, 5,000 × 720", seconds(taken), "", "", None)


def seconds(taken: list[float]) -> str:
    return f"{statistics.median(taken):.2f} s"
