"""The figures: what is measured, beside what, and what was aimed at."""

from __future__ import annotations

import json
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
    from collections.abc import Callable, Iterator, Sequence

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
        _seconds(taken["range()"]),
        f"`curl -o /dev/null` {_seconds(taken['curl'])}, ratio {ratio:.2f}",
        "≤ 1.5 ×",
        ratio <= 1.5,
    )
    others = {"prometheus-pandas": _pandas(url), "prometheus-api-client": _api_client(url)}
    slow = measure.side_by_side({"range()": _ours(url)} | others, rounds=2)
    for name in others:
        ratio = measure.ratio(slow[name], slow["range()"])
        against = f"{name} {_seconds(slow[name])}, {ratio:.1f} × as long"
        yield Figure(
            f"`range()` in turn with {name}",
            _seconds(slow["range()"]),
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
        _seconds(taken["auto"]),
        f"gzip {_seconds(taken['gzip'])}, identity {_seconds(taken['identity'])}",
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
    beside = f"`import pandas` {_seconds(taken['pandas'])}, ratio "
    ratio = measure.ratio(taken["ours"], taken["pandas"])
    against = f"{beside}{ratio:.2f}"
    yield Figure(
        "`import cilium_analysis`", _seconds(taken["ours"]), against, "≤ 1.2 ×", ratio <= 1.2
    )
    against = f"{beside}{measure.ratio(taken['all'], taken['pandas']):.2f}"
    what = "`from cilium_analysis import *`, which loads requests too"
    yield Figure(what, _seconds(taken["all"]), against, "", None)
    seconds = statistics.median(taken["help"])
    yield Figure("`cilium-analysis --help`", _seconds(taken["help"]), "", "≤ 0.5 s", seconds <= 0.5)


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
        yield Figure(what, _seconds(taken[name]), "", f"≤ {limit} s", met)


def side_by_side_notebooks() -> Iterator[Figure]:
    """Make all reports on the sample, one notebook at a time and two."""
    with tempfile.TemporaryDirectory() as folder:
        output = {jobs: Path(folder) / jobs for jobs in ("1", "2")}
        calls = {
            jobs: measure.command(
                [
                    sys.executable,
                    "-c",
                    PROGRAM.format(["demo", "--output", str(path), "--jobs", jobs]),
                ]
            )
            for jobs, path in output.items()
        }
        taken = measure.side_by_side(calls, rounds=3)
        bounds = [_bound(path) for path in output["2"].glob("*/run.json")]
    ratio = measure.ratio(taken["1"], taken["2"])
    yield Figure(
        "all notebooks, `--jobs 2`",
        _seconds(taken["2"]),
        f"`--jobs 1` {_seconds(taken['1'])}, {ratio:.2f} × as long",
        "≥ 1.7 ×",
        ratio >= 1.7,
    )
    above = statistics.median(taken["2"]) / statistics.median(bounds)
    yield Figure(
        "the same, beside the longest chain or half of all",
        _seconds(taken["2"]),
        f"{statistics.median(bounds):.2f} s, ratio {above:.2f}",
        "≤ 1.2 ×",
        above <= 1.2,
    )


def _bound(run: Path) -> float:
    """Give what two cores cannot beat: what is done before and after the notebooks, and these [s].

    The notebooks are timed as they ran, two at a time.
    """
    summary = json.loads(run.read_text(encoding="utf-8"))
    seconds = [row["seconds"] for row in summary["topics"]]
    return float(summary["seconds"] - _spanned(seconds) + max(max(seconds), sum(seconds) / 2))


def _spanned(seconds: Sequence[float]) -> float:
    """Give how long jobs take that two hands take up in this order."""
    hands = [0.0, 0.0]
    for each in seconds:
        hands[hands.index(min(hands))] += each
    return max(hands)


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
    yield Figure("`counters.increase`, 5,000 × 720", _seconds(taken), "", "", None)


def _seconds(taken: list[float]) -> str:
    return f"{statistics.median(taken):.2f} s"
