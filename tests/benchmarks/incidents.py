"""Judge the analysis by incidents whose truth is known.

``python -m tests.benchmarks.incidents`` prints for each case at which rank the true finding is, how
far its onset and its total are off, how many findings are false, and whether it stays first when
the asked window begins five minutes earlier or later. The server's answers are kept below
``--cache``, so that only what was never asked needs a server.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import cilium_simulator
from cilium_analysis import connect, incident
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.capture import TOPICS
from cilium_analysis.errors import BundleError
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.source import Source
from cilium_analysis.window import Window
from cilium_simulator import nodes
from cilium_simulator.expected import Expected, Sought
from cilium_simulator.scenario import Scenario
from cilium_simulator.truth import Truth
from tests.benchmarks.cases import Figure
from tests.incidents import HALVES, HELD, TUNED, Case, cases
from tests.servers.served import ClusterServers

CACHE = Path(__file__).parents[2] / ".cache" / "incidents"
#: the start of the window moves by so much, and what is first should stay first
MOVES = (timedelta(minutes=-5), timedelta(minutes=5))
AT_ONCE = 2
NEAR_STEPS, NEAR_TOTAL = 2.0, 0.01


def analyse(source: Source, window: Window, baseline: Window, match: str) -> Findings:
    """Give the ranked stories, as a report lists them."""
    data = incident.load(source, window, baseline, match=match)
    if data.missing:
        raise BundleError(f"not recorded yet: {', '.join(data.missing)}")
    return incident.findings(data)


@dataclass(frozen=True)
class Verdict:
    """How an analysis did in one case."""

    case: Case
    #: where the true finding is; None if nowhere, or if there is none
    rank: int | None
    #: error of its onset [steps, or scrapes if they are further apart], and of its total [share]
    onset: float | None
    total: float | None
    #: warnings and worse that are neither true nor follow from what is
    false: tuple[str, ...]
    #: the ranks when the window's start moves
    moved: tuple[int | None, ...]
    listed: tuple[str, ...]

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is to be found."""
        return not _expected(self.case).finding


def _expected(case: Case) -> Expected:
    if case.scenario.truth is None:
        raise ValueError(f"{case.name} does not say what is to be found")
    truth = case.scenario.truth
    return truth if _named(case.scenario) else truth.translated(_addresses(case.scenario))


def _named(scenario: Scenario) -> bool:
    """Tell whether anything in the metrics gives nodes their names."""
    return scenario.style != "annotations" or scenario.version < (1, 19, 0)


def _addresses(scenario: Scenario) -> dict[str, str]:
    return {name: nodes.address(position) for position, name in enumerate(scenario.nodes)}


def window_of(case: Case, move: timedelta = timedelta()) -> Window:
    """Give the window that is asked for, as the command line would make it."""
    start, end = (_moment(case, second) for second in _expected(case).window)
    whole = Window.parse(start.isoformat(), end.isoformat())
    return replace(whole, start=whole.start + move)


def _moment(case: Case, second: int) -> datetime:
    return case.scenario.start + timedelta(seconds=second)


def judge(case: Case, truth: Truth, answers: Sequence[Findings]) -> Verdict:
    """Compare the findings of the asked window, and of the moved ones, with the truth."""
    expected, first = _expected(case), answers[0]
    rank, sought = _rank(expected, first)
    found = first[rank - 1] if rank else None
    return Verdict(
        case,
        rank,
        _onset_error(case, truth, found, sought) if found and sought else None,
        _total_error(case, truth, found, sought) if found and sought else None,
        tuple(f.title for f in first if _false(expected, f)),
        tuple(_rank(expected, one)[0] for one in answers[1:]),
        tuple(f"{_mark(expected, f)} [{f.severity}] {f.kind} {f.title}" for f in first),
    )


def _rank(expected: Expected, findings: Findings) -> tuple[int | None, Sought | None]:
    for rank, finding in enumerate(findings, start=1):
        for sought in expected.finding:
            if sought.fits(finding.kind, finding.labels):
                return rank, sought
    return None, None


def _false(expected: Expected, finding: Finding) -> bool:
    return finding.severity >= Severity.WARNING and _mark(expected, finding) == "-"


def _mark(expected: Expected, finding: Finding) -> str:
    """Mark what is sought, what is right besides, and what is neither."""
    for mark, group in (("+", expected.finding), ("~", expected.also)):
        if any(sought.fits(finding.kind, finding.labels) for sought in group):
            return mark
    return "-"


def _onset_error(case: Case, truth: Truth, finding: Finding, sought: Sought) -> float | None:
    if sought.event is None:
        return None
    window = window_of(case)
    # The truth counts whole seconds; what began before the window begins with it.
    onset = max(truth.incidents[sought.event].onset, window.start)
    fine = (window.step.total_seconds(), case.scenario.interval, _expected(case).resolution)
    return (finding.start - onset).total_seconds() / max(fine)


def _total_error(case: Case, truth: Truth, finding: Finding, sought: Sought) -> float | None:
    if not sought.total:
        return None
    # Between the last scrape and the window's edge nobody can tell what was counted.
    window, scrape = window_of(case), timedelta(seconds=case.scenario.interval)
    least, most = (
        sum(truth.caused(event, start, end) for event in sought.total)
        for start, end in (
            (window.start, window.end - scrape),
            (window.start - scrape, window.end),
        )
    )
    counted = finding.total or 0.0
    return counted / min(max(counted, least), most) - 1


def run(case: Case, cache: Path, *, moves: Sequence[timedelta] = MOVES) -> Verdict:
    """Analyse one case from what was recorded, or from a server if that does not suffice."""
    folder = cache / f"{case.name}-{case.variant}-{_digest(case)}"
    try:
        answers = _ask(Bundle(folder / "bundle"), case, moves)
    except BundleError:
        answers = _record(case, folder, moves)
    return judge(case, Truth.read(folder / "truth.json"), answers)


def attempt(case: Case, cache: Path, *, moves: Sequence[timedelta] = MOVES) -> Verdict:
    """Do as `run`, but let an analysis that breaks count as one that is wrong."""
    try:
        return run(case, cache, moves=moves)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        return Verdict(case, None, None, None, (said,), (), (f"! {said}",))


def _ask(source: Source, case: Case, moves: Sequence[timedelta]) -> list[Findings]:
    """Analyse the window, and where something is to be found the moved ones."""
    windows = [window_of(case), *(window_of(case, m) for m in moves if _expected(case).finding)]
    baseline = _expected(case).baseline
    return [analyse(source, window, window.baseline(baseline), "") for window in windows]


def _record(case: Case, folder: Path, moves: Sequence[timedelta]) -> list[Findings]:
    """Analyse with a real server that holds the case; keep its answers and the truth."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    window = window_of(case)
    with tempfile.TemporaryDirectory() as scratch:
        servers = ClusterServers(Path(scratch))
        try:
            served = servers(case.scenario)
            with Recorder(
                connect(served.url), folder / "bundle", window=window, topics=TOPICS
            ) as recorder:
                answers = _ask(recorder, case, moves)
            served.truth.write(folder / "truth.json")
        finally:
            servers.stop()
    return answers


def _digest(case: Case) -> str:
    """Name what the answers depend on: the scenario without its truth, and the simulation."""
    parts = [repr(replace(case.scenario, truth=None)), repr(_expected(case).window)]
    parts += [p.read_text() for p in sorted(Path(cilium_simulator.__file__).parent.glob("*.py"))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def table(verdicts: Iterable[Verdict], *, detailed: bool = False) -> Iterator[str]:
    """Give a line per case, as soon as it is known; `detailed` with its findings below."""
    yield f"{'case':26} {'nodes':>5} {'version':8} {'every':>5} {'style':21} " + (
        f"{'rank':>4} {'onset':>6} {'total':>8} {'false':>5} moved"
    )
    for v in verdicts:
        details = [f"    {line}" for line in v.listed] if detailed else []
        yield "\n".join([_line(v), *details])


def _line(v: Verdict) -> str:
    s = v.case.scenario
    return (
        f"{s.name:26} {len(s.nodes):5} {'.'.join(map(str, s.version)):8} {s.interval:4}s"
        f" {s.style:21} {'quiet' if v.quiet else v.rank or '-':>4}"
        f" {_number(v.onset, '+.1f'):>6} {_number(v.total, '+.2%'):>8} {len(v.false):5}"
        f" {'/'.join(str(rank or '-') for rank in v.moved)}"
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def summary(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Give the figures of one half as lines."""
    for score in scores(verdicts):
        yield f"{score.what:42} {score}"


@dataclass(frozen=True)
class Score:
    """One figure over several cases: a share of hits, or a mean of what should not be."""

    what: str
    count: int
    of: int
    aim: float | None
    share: bool = True

    def __str__(self) -> str:
        if not self.of:
            return "–"
        value = self.count / self.of
        if self.share:
            return f"{value:.0%} ({self.count} of {self.of})"
        return f"{value:.2f} ({self.count} in {self.of})"

    @property
    def target(self) -> str:
        """The aim in words."""
        if self.aim is None:
            return ""
        return f"≥ {self.aim:.0%}" if self.share else f"≤ {self.aim}"

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        if self.aim is None or not self.of:
            return None
        value = self.count / self.of
        return value >= self.aim if self.share else value <= self.aim


def scores(verdicts: Sequence[Verdict]) -> list[Score]:
    """Give all figures of one half."""
    loud = [v for v in verdicts if not v.quiet]
    quiet = [v for v in verdicts if v.quiet]
    onsets = [v.onset for v in loud if v.onset is not None]
    totals = [v.total for v in loud if v.total is not None]
    return [
        _share("first", [v.rank == 1 for v in loud], 0.9),
        _share("within the first three", [v.rank is not None and v.rank <= 3 for v in loud], 0.98),
        _share(
            "first, and still when the window moves",
            [v.rank == 1 and set(v.moved) == {1} for v in loud if v.moved],
            None,
        ),
        _share(
            "first the same when the window moves",
            [set(v.moved) == {1} for v in loud if v.moved and v.rank == 1],
            1.0,
        ),
        _share("onset within two steps", [abs(x) <= NEAR_STEPS for x in onsets], 0.9),
        _share("total within 1 %", [abs(x) <= NEAR_TOTAL for x in totals], 1.0),
        Score("false per incident", sum(len(v.false) for v in loud), len(loud), None, share=False),
        Score(
            "false per quiet day", sum(len(v.false) for v in quiet), len(quiet), 0.1, share=False
        ),
    ]


def _share(what: str, hits: Sequence[bool], aim: float | None) -> Score:
    return Score(what, sum(hits), len(hits), aim)


def figures(cache: Path = CACHE) -> Iterator[Figure]:
    """Give the figures of both halves as rows of the table."""
    chosen = list(cases())
    with ProcessPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(partial(attempt, cache=cache), chosen))
    for half in HALVES:
        mine = [v for v in verdicts if v.case.half == half]
        for score in scores(mine):
            what = f"{len(mine)} incidents and quiet days {_HALF[half]}: {score.what}"
            yield Figure(what, str(score), "", score.target, score.met)


_HALF = {"tune": "tuned with", "held": "held out"}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.incidents")
    parser.add_argument("--half", choices=HALVES, help="only the cases to tune with, or the others")
    parser.add_argument("--only", default="*", metavar="NAME", help="such as 'dns_*'")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="of the answers")
    parser.add_argument("--list", action="store_true", help="list all findings of each case")
    parser.add_argument(
        "--still", action="store_true", help="do not move windows: three times as fast"
    )
    parser.add_argument(
        "--variants", type=int, nargs="*", default=(TUNED, HELD), help="numbers of clusters"
    )
    given = parser.parse_args()
    every = cases(variants=given.variants)
    chosen = [c for c in every if given.half in (None, c.half) and fnmatch(c.name, given.only)]
    verdicts: list[Verdict] = []
    moves = () if given.still else MOVES
    with ProcessPoolExecutor(min(AT_ONCE, len(chosen) or 1)) as pool:
        done = pool.map(partial(attempt, cache=given.cache, moves=moves), chosen)
        for line in table(_kept(done, verdicts), detailed=given.list):
            print(line, flush=True)
    for half in HALVES:
        mine = [v for v in verdicts if v.case.half == half]
        if mine:
            print("", f"{half}: {len(mine)} cases", *summary(mine), sep="\n")


def _kept(verdicts: Iterable[Verdict], kept: list[Verdict]) -> Iterator[Verdict]:
    """Pass verdicts on and keep them, so that lines can appear while others are computed."""
    for verdict in verdicts:
        kept.append(verdict)
        yield verdict


if __name__ == "__main__":
    main()
