"""What counters gained, read from their sums, is what the query itself gives, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import Prometheus, Window
from cilium_analysis.queries import Matcher, Query
from cilium_analysis.source import Sums, summed
from cilium_analysis.topics import loading
from tests.conftest import installed_or_skip
from tests.field.make import END, MINUTE, START, Labels, Metrics, counter, scrapes, steady
from tests.servers.process import ServerProcess
from tests.servers.prometheus import NotInstalled, PrometheusServer, blocks_from_openmetrics
from tests.servers.victoria import VictoriaServer

WINDOW = Window(
    datetime.fromtimestamp(START, UTC), datetime.fromtimestamp(END, UTC), timedelta(minutes=1)
)
BLOCK = 10
PEERS = ("cart", "orders")
COUNTED = "hubble_flows_processed_total"


def _between(first: int, last: int) -> list[int]:
    return [at for at in scrapes() if START + first * MINUTE <= at < START + last * MINUTE]


def _without(first: int, last: int) -> list[int]:
    return sorted({*scrapes()} - {*_between(first, last)})


def _agent(
    metrics: Metrics, name: str, rate: float, at: list[int] | None = None, base: float = 1e6
) -> None:
    """Add an agent with a counter per peer, as far as it is scraped."""
    metrics.add("up", {"instance": name}, [(time, 1) for time in (at or scrapes())])
    for number, peer in enumerate(PEERS, start=1):
        labels = {"instance": name, "to": peer}
        counter(metrics, COUNTED, labels, steady(number * rate), base=base, at=at)


def _quiet(metrics: Metrics) -> None:
    """Add nothing that happens."""


def _a_gap(metrics: Metrics) -> None:
    _agent(metrics, "gap", 3.0, _without(40, 52))


def _one_gap_ends_as_another_begins(metrics: Metrics) -> None:
    _agent(metrics, "first", 3.0, _without(40, 50), base=5_000)
    _agent(metrics, "second", 3.0, _without(50, 60), base=5_000)


def _a_target_comes_with_its_past(metrics: Metrics) -> None:
    _agent(metrics, "late", 2.0, _between(30, 130), base=77_000)


def _a_target_goes(metrics: Metrics) -> None:
    _agent(metrics, "gone", 2.0, _between(-60, 33), base=77_000)


def _a_restart_that_others_hide(metrics: Metrics) -> None:
    """The counter falls by less than others gain in the same step."""
    metrics.add("up", {"instance": "again"}, [(at, 1) for at in scrapes()])
    before, after = _between(-300, 61), _between(61, 130)
    values = [(at, 40) for at in before] + [(at, 5 + n) for n, at in enumerate(after)]
    metrics.add(COUNTED, {"instance": "again", "to": "cart"}, values)


def _pods_come_and_go(metrics: Metrics) -> None:
    """Series of single pods, of agents that are scraped all the time."""
    for number, first in enumerate(range(0, 120, 9)):
        labels = {"instance": f"steady-{number % 4}", "to": "cart", "pod": f"cart-{number}"}
        counter(metrics, COUNTED, labels, steady(1.5), at=_between(first, first + 25))


def _a_pod_goes(metrics: Metrics) -> None:
    """One series ends, and others gain more than it had."""
    labels = {"instance": "steady-2", "to": "cart", "pod": "cart-9"}
    counter(metrics, COUNTED, labels, steady(0.1), at=_between(-30, 44))


def _a_pod_goes_at_the_end(metrics: Metrics) -> None:
    labels = {"instance": "steady-2", "to": "cart", "pod": "cart-9"}
    counter(metrics, COUNTED, labels, steady(0.1), at=_between(-30, 113))


def _a_peer_appears(metrics: Metrics) -> None:
    labels = {"instance": "steady-1", "to": "search"}
    counter(metrics, COUNTED, labels, steady(4.0), base=9, at=_between(71, 200))


HAPPENS: tuple[Callable[[Metrics], None], ...] = (
    *(_quiet, _a_gap, _one_gap_ends_as_another_begins, _a_target_comes_with_its_past),
    *(_a_target_goes, _a_restart_that_others_hide, _pods_come_and_go, _a_peer_appears),
    *(_a_pod_goes, _a_pod_goes_at_the_end),
)


class Case(Metrics):
    """Metrics of one thing that happens, beside those of all others on one server."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add(self, name: str, labels: Labels, samples: Iterable[tuple[float, float]]) -> None:
        super().add(name, {**labels, "case": self.name}, samples)


def _loaded(kind: str, metrics: Metrics, folder: Path) -> ServerProcess:
    if kind.startswith("victoria"):
        server = VictoriaServer(kind)
        for name, series in metrics.series.items():
            for labels, samples in series.items():
                each = ",".join(f'{key}="{value}"' for key, value in labels)
                lines = (f"{name}{{{each}}} {value} {at * 1000}" for at, value in samples)
                server.load_text("\n".join(lines))
        return server
    metrics.write(folder / "metrics.om")
    blocks_from_openmetrics(folder / "metrics.om", folder / "blocks", kind=kind)
    return PrometheusServer(kind, data=folder / "blocks")


@pytest.fixture(params=["prometheus-2", "prometheus-3", "victoria-1"], scope="module")
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A server that holds all cases."""
    everything = Metrics()
    for happens in HAPPENS:
        case = Case(happens.__name__)
        for number in range(4):
            _agent(case, f"steady-{number}", 20.0 + number)
        happens(case)
        for name, series in case.series.items():
            everything.series[name].update(series)
    try:
        server = _loaded(request.param, everything, tmp_path_factory.mktemp("sums"))
    except NotInstalled as error:
        installed_or_skip(error)
        raise
    with server, Prometheus(server.url) as found:
        yield found


def _sums(source: Prometheus, case: str) -> Sums:
    matcher = Matcher("case", "=", case)
    selector = COUNTED + "{<match>}"
    vanished = f"({selector} offset <range> unless {selector})"
    broken = f"count({vanished} or (resets({selector}[<range>]) > 0)) or vector(0)"

    def written(promql: str, steps: int = 1) -> str:
        step = steps * WINDOW.step
        query = Query(promql.replace("<single>", "<match>"), "1", "")
        return query.render(match=[matcher], step=step, target=("instance",))

    gained = loading.gained(selector, there="up{<match>}")
    up = source.range(written("max by (instance) (max_over_time(up{<match>}[1m]))"), WINDOW)
    there = up.notna()
    moved = np.asarray((there != there.shift(fill_value=False)).any(axis=1))
    return Sums(
        promql=written(f"sum by (to) ({gained})"),
        total=written(f"sum by (to) ({selector})"),
        broken=written(broken, BLOCK),
        steps=BLOCK,
        unsteady=pd.DatetimeIndex(up.index[moved]),
    )


@pytest.mark.parametrize("case", [each.__name__ for each in HAPPENS])
def test_the_sums_give_what_the_query_gives(source: Prometheus, case: str) -> None:
    sums = _sums(source, case)
    exact = source.range(sums.promql, WINDOW)
    assert exact.sum().sum() > 0
    with summed(sums):
        found = source.range(sums.promql, WINDOW)
    pd.testing.assert_frame_equal(found, exact, check_freq=False)
    assert source.journal[-1].promql == sums.promql


def test_only_where_something_happens_is_the_query_itself_asked(source: Prometheus) -> None:
    asked = {}
    for happens in (_quiet, _a_gap, _pods_come_and_go):
        sums = _sums(source, happens.__name__)
        with summed(sums):
            found = source.range(sums.promql, WINDOW)
        asked[happens] = source.journal[-1].samples - 2 * found.size
    # Sums of one step more, the checks, and the rows at both ends of the window.
    assert asked[_quiet] < 0 < asked[_pods_come_and_go]
    assert asked[_quiet] < asked[_a_gap] < asked[_pods_come_and_go]
