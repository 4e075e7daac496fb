"""What a bundle computes where scrapes are slower than its steps, fail or end, beside real servers.

The servers have stale markers, as if they had scraped the targets themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import Window, connect, frames
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.capture import capture
from cilium_analysis.errors import BundleError
from cilium_analysis.question import ask
from cilium_simulator import remote_write
from cilium_simulator.scrape import Series
from tests.conftest import installed_or_skip
from tests.field import make
from tests.field.asking import available
from tests.field.make import MINUTE, START, Metrics
from tests.servers.prometheus import NotInstalled, PrometheusServer

STEP = 30
WINDOW = Window.parse("2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z", step="30s")
WIDE = Window(WINDOW.start - timedelta(minutes=5), WINDOW.end, WINDOW.step)
LEVEL, COUNTER = "cilium_endpoint", "cilium_drop_count_total"
SLOPE = 2.0


@dataclass(frozen=True)
class Target:
    """When one is scraped: every so many seconds, give or take, and when not [min of the window].

    The first scrape that fails leaves a stale marker.
    """

    every: int
    away: tuple[float, float] = (0.0, 0.0)
    jitter: float = 0.0

    def times(self, number: int) -> tuple[list[float], list[float]]:
        random = np.random.default_rng(number)
        due = range(START - 1800 + 3 + 7 * number, START + 5400, self.every)
        gap = [START + MINUTE * minute for minute in self.away]
        missed = [at for at in due if gap[0] <= at < gap[1]]
        at = [at + random.uniform(-1, 1) * self.jitter for at in due if at not in missed]
        return at, [float(at) for at in missed[:1]]


TARGETS = {
    "as often as steps": Target(30),
    "every 45 s": Target(45),
    "every minute": Target(60),
    "every minute, more or less": Target(60, jitter=4.0),
    "every 2 min": Target(120),
    "one scrape failed": Target(30, away=(20.0, 20.5)),
    "away for 4 min": Target(30, away=(20.0, 24.0)),
    "away for 20 min": Target(60, away=(20.0, 40.0)),
    "gone": Target(60, away=(50.0, 100.0)),
    "late": Target(60, away=(-60.0, 30.0)),
}
#: The targets that are scraped all the time.
STEADY = '{instance=~"as often.*|every.*"}'


def series() -> Iterator[Series]:
    random = np.random.default_rng(1)
    for number, (instance, target) in enumerate(TARGETS.items()):
        at, stale = target.times(number)
        counted = [SLOPE * (time - START + 3600) for time in at]
        for name, values in ((LEVEL, random.integers(1, 30, len(at))), (COUNTER, counted)):
            yield Series(
                *(name, "gauge", {"instance": instance, "reason": "", "direction": ""}),
                times=np.array(at) * 1000,
                values=np.array(values, dtype=float),
                stale=np.array(stale) * 1000,
            )


@pytest.fixture(scope="module", params=["prometheus-2", "prometheus-3"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[object, Bundle]]:
    """A server that has received the series, and a bundle that was recorded as topics do."""
    folder = tmp_path_factory.mktemp("scrapes")
    try:
        server = PrometheusServer(request.param, remote_write=True)
    except NotInstalled as error:
        installed_or_skip(error)
    with server:
        for body in remote_write.requests(series(), float_le=request.param == "prometheus-3"):
            server.get("/api/v1/write", body, remote_write.HEADERS)
        source = connect(server.url)
        with Recorder(source, folder / "bundle", window=WINDOW) as recorder:
            recorder.range(f"max by (instance) (last_over_time({LEVEL}{{}}[30s]))", WIDE)
            by = "instance, direction, reason"
            recorder.range(f"max by ({by}) (max_over_time({COUNTER}{{}}[30s]))", WIDE)
        yield source, Bundle(folder / "bundle")


@pytest.mark.parametrize("instance", TARGETS)
def test_levels_are_there_when_a_server_has_them(
    both: tuple[Bundle, Bundle], instance: str
) -> None:
    """But for what a sample of the last scrape is shown longer, or shorter, than until the next."""
    server, bundle = both
    promql = f'sum({LEVEL}{{instance="{instance}"}})'
    found, truth = bundle.range(promql, WINDOW).iloc[:, 0], server.range(promql, WINDOW).iloc[:, 0]
    assert len(truth) >= 60
    times = found.index.union(truth.index)
    alike = found.reindex(times).fillna(0.0) == truth.reindex(times).fillna(0.0)
    target = TARGETS[instance]
    missed = START + MINUTE * target.away[0]
    assert (np.abs(frames.milliseconds(times[~alike]) / 1000 - missed) <= target.every + STEP).all()
    assert (~alike).sum() <= 2


def test_sums_neither_fall_at_the_end_nor_between_scrapes(both: tuple[Bundle, Bundle]) -> None:
    server, bundle = both
    for promql in (f"count({LEVEL}{STEADY})", f"sum({LEVEL}{STEADY})"):
        found, truth = bundle.range(promql, WINDOW), server.range(promql, WINDOW)
        pd.testing.assert_frame_equal(found, truth, check_exact=True)
    assert "or show a series for up to 5m after its last sample" in bundle.journal[-1].warnings[0]


def test_rates_are_whole_wherever_they_are_given(both: tuple[Bundle, Bundle]) -> None:
    server, bundle = both
    for instance, over in (
        ("as often as steps", "1m"),
        ("every minute", "2m"),
        ("every minute", "5m"),
        ("every 2 min", "4m"),
    ):
        promql = f'sum(rate({COUNTER}{{instance="{instance}"}}[{over}]))'
        found, truth = bundle.range(promql, WINDOW), server.range(promql, WINDOW)
        pd.testing.assert_frame_equal(found, truth, check_exact=False, rtol=1e-9)
        assert found.to_numpy() == pytest.approx(SLOPE)
        assert len(found) == 121


@pytest.mark.parametrize(
    ("promql", "apart", "works"),
    [
        (f'sum(rate({COUNTER}{{instance="every minute"}}[1m]))', "1m", "2m"),
        (f'sum(rate({COUNTER}{{instance=~".*45 s|one scrape.*"}}[59s]))', "45s", "1m"),
        (f"sum(increase({COUNTER}[2m]))", "2m", "4m"),
        (f"max by (instance) (rate({COUNTER}{STEADY}[30s]))", "2m", "4m"),
    ],
)
def test_a_range_is_long_enough_for_the_slowest_scrapes(
    both: tuple[Bundle, Bundle], promql: str, apart: str, works: str
) -> None:
    _, bundle = both
    with pytest.raises(BundleError, match=rf"{apart} .* this works: .*\[{works}\]") as raised:
        bundle.range(promql, WINDOW)
    text = str(raised.value)
    assert bundle.range(text.rpartition("this works: ")[2], WINDOW).notna().all(axis=None)


def test_no_range_is_named_that_is_longer_than_the_recording(both: tuple[Bundle, Bundle]) -> None:
    _, bundle = both
    with pytest.raises(BundleError, match=rf"this works: sum\(rate\({COUNTER}\[4m\]\)\)"):
        bundle.range(f"sum(rate({COUNTER}[2h]))", WINDOW)


def test_steps_in_which_nothing_was_scraped_count_too(
    both: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    """Of one target alone: an answer has no row for a step without any sample."""
    server, _ = both
    for name, target in TARGETS.items():
        only = f'{{instance="{name}"}}'
        with Recorder(server, tmp_path / name, window=WINDOW) as recorder:
            recorder.range(f"max by (instance) (last_over_time({LEVEL}{only}[30s]))", WIDE)
            by = "instance, direction, reason"
            recorder.range(f"max by ({by}) (max_over_time({COUNTER}{only}[30s]))", WIDE)
        bundle = Bundle(tmp_path / name)
        found, truth = (one.range(f"sum({LEVEL}{only})", WINDOW) for one in (bundle, server))
        assert abs(len(found) - len(truth)) <= 2
        assert (found.index[-1] == truth.index[-1]) or target.away[1] > 60
        both_have = found.index.intersection(truth.index)
        pd.testing.assert_frame_equal(found.loc[both_have], truth.loc[both_have])
        if target == Target(60):
            with pytest.raises(BundleError, match=r"1m apart.* this works: .*\[2m\]"):
                bundle.range(f"sum(rate({COUNTER}{only}[1m]))", WINDOW)
            rates = bundle.range(f"sum(rate({COUNTER}{only}[2m]))", WINDOW)
            assert rates.to_numpy() == pytest.approx(SLOPE)
            assert len(rates) == 121


def test_a_pair_of_servers_counts_once_and_the_answer_says_so(tmp_path: Path) -> None:
    """What topics record tells targets apart, and hardly ever the copies of one."""
    metrics = Metrics()
    for replica, offset in (("a", 7), ("b", 22)):
        at = make.scrapes(offset=offset)
        for number in (1, 2, 3):
            target = make.agent(number, prometheus_replica=replica)
            make.vitals(metrics, target, at=at)
            make.drops(metrics, target, make.steady(1.0), at=at)
    with available(metrics) as url:
        question = ask(source=url, start=make.iso(make.START), end=make.iso(make.END))
        topics, where = ("drop_reasons",), tmp_path / "bundle"
        window, baseline = question.window, question.baseline
        capture(question.source, window, baseline, topics=topics, match="", directory=where)
        bundle = Bundle(where)
        for promql, copies in (
            ("count(cilium_drop_count_total)", 2),
            ("sum(rate(cilium_drop_count_total[5m]))", 2),
            ("avg(rate(cilium_drop_count_total[5m]))", 1),
        ):
            found, truth = (
                each.range(promql, window).mean().item() for each in (bundle, question.source)
            )
            assert found * copies == pytest.approx(truth, rel=0.01)
            said = "a server counts what a pair of servers has stored twice, and this may not"
            assert (said in bundle.journal[-1].warnings[0]) == (copies > 1)
