"""Classic histograms, and the same stored as native ones: every topic tells the same of both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from pandas.api.types import is_numeric_dtype

from cilium_analysis import connect
from cilium_analysis.metrics import find
from cilium_analysis.targets.histograms import HISTOGRAMS
from cilium_analysis.topics import connectivity, dns, drops, endpoints, flows, health, http, setup
from cilium_analysis.topics.buckets import BOUNDS, for_people
from cilium_analysis.window import Window
from cilium_simulator.scenario import Service, load
from cilium_simulator.simulation import Cluster, simulate
from tests.conftest import installed_or_skip
from tests.field.make import Metrics
from tests.field.native import ALWAYS, NEVER, serving_native
from tests.servers.prometheus import NotInstalled

SCENARIO = load("dns_failures").with_(
    name="native",
    version=(1, 18, 3),
    interval=30,
    services=(Service("default/web", "default/api", 5.0),),
)
FIRST, TURN, LAST = (SCENARIO.start + timedelta(minutes=m) for m in (65, 85, 95))
#: How histograms are stored: as native ones, as classic ones, from when until when.
STORED = {
    "classic": (NEVER, ALWAYS),
    "native": (ALWAYS, NEVER),
    "both": (ALWAYS, ALWAYS),
    "becomes native": ((TURN.timestamp(), ALWAYS[1]), (ALWAYS[0], TURN.timestamp())),
    "becomes classic": ((ALWAYS[0], TURN.timestamp()), (TURN.timestamp(), ALWAYS[1])),
}
WINDOW = Window.parse(FIRST.isoformat(), LAST.isoformat(), step="30s")
Ask = Callable[[str, ModuleType], Any]


def as_metrics(cluster: Cluster) -> Metrics:
    """What a Prometheus 3 has of a cluster that is looked at, without marks of ended series."""
    metrics = Metrics()
    begin = (WINDOW.baseline().start - timedelta(minutes=15)).timestamp()
    for series in cluster.series:
        labels = dict(series.labels)
        if labels.get("le", "").isdigit():
            labels["le"] += ".0"
        times = series.times / 1000
        some = (times >= begin) & (times <= LAST.timestamp())
        values = series.values  # noqa: PD011 - an array
        samples = zip(times[some].tolist(), values[some].tolist(), strict=True)
        metrics.add(series.name, {k: v for k, v in labels.items() if v}, samples)
    return metrics


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Ask a topic about the same cluster whose histograms are stored in one way or another."""
    metrics = as_metrics(simulate(SCENARIO))
    there = [name for name in HISTOGRAMS if f"{name}_sum" in metrics.series]
    urls: dict[str, str] = {}
    loaded: dict[tuple[str, str], Any] = {}
    with ExitStack() as stack:

        def read(stored: str, topic: ModuleType) -> Any:
            if stored not in urls:
                native, classic = STORED[stored]
                serving = serving_native(metrics, *there, native=native, classic=classic)
                try:
                    urls[stored] = stack.enter_context(serving)
                except NotInstalled as error:
                    installed_or_skip(error)
            key = (stored, topic.__name__)
            if key not in loaded:
                loaded[key] = topic.load(connect(urls[stored]), WINDOW, WINDOW.baseline())
            return loaded[key]

        yield read


OTHERS = [stored for stored in STORED if stored != "classic"]
#: What one query counts over the whole window is of one kind of histograms only.
OVER_ALL = {"probes"}
TABLES: dict[str, tuple[ModuleType, Callable[[Any], pd.DataFrame]]] = {
    "lookups": (dns, dns.proxy_latency),
    "waits": (dns, dns.waits),
    "requests": (http, http.latency),
    "regenerations": (endpoints, endpoints.regenerations),
    "steps": (endpoints, endpoints.regeneration_times),
    "durations": (health, health.latency),
    "probes": (connectivity, connectivity.latency),
}


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """By names: numbers that are equal to the last digit but one leave rows in any order.

    Of histograms that are stored as native ones only, those bounds are known that are in use, and
    those that Cilium has: how far numbers are to be trusted may differ, but not the numbers.
    """
    table = table.reset_index().drop(columns=list(BOUNDS), errors="ignore")
    names = [str(name) for name in table if not is_numeric_dtype(table[name])]
    return table.drop(columns="index", errors="ignore").sort_values(names, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stored", "table"),
    [
        (stored, table)
        for stored in OTHERS
        for table in TABLES
        if table not in OVER_ALL or "becomes" not in stored
    ],
)
def test_tables_are_the_same_however_histograms_are_stored(
    stored: str, table: str, ask: Ask
) -> None:
    topic, give = TABLES[table]
    classic, other = (in_order(give(ask(each, topic))) for each in ("classic", stored))
    assert len(classic)
    pd.testing.assert_frame_equal(other, classic, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("stored", OTHERS)
@pytest.mark.parametrize("topic", [connectivity, dns, endpoints, health, http])
def test_findings_are_the_same(stored: str, topic: ModuleType, ask: Ask) -> None:
    classic, other = (topic.findings(ask(each, topic)) for each in ("classic", stored))
    assert [(f.kind, f.labels, f.start) for f in other] == [
        (f.kind, f.labels, f.start) for f in classic
    ]
    # Of probes in a time with both kinds, the mean is of one kind only.
    if topic is not connectivity or "becomes" not in stored:
        assert [f.title for f in other] == [f.title for f in classic]


def test_the_monitoring_itself_is_told_what_it_costs(ask: Ask) -> None:
    name = "convert_classic_histograms_to_nhcb"
    rows = {
        stored: setup.configurations(ask(stored, setup)).set_index("configuration")
        for stored in ("classic", "native", "both")
    }
    assert name not in rows["classic"].index
    assert name not in rows["both"].index
    assert "stored as native histograms only" in str(rows["native"].loc[name, "here"])


def test_bounds_are_told_by_what_was_counted() -> None:
    """Versions have other buckets, and the last of them may hold a quantile."""
    delays = Metrics()
    name = "cilium_policy_implementation_delay"
    at = {"instance": "10.0.0.1:9962", "job": "cilium-agent", "node": "worker-1", "source": "k8s"}
    times = range(int(FIRST.timestamp()) - 1800, int(LAST.timestamp()), 30)
    # So many took longer than the last bound that the quantile is there.
    shares = {"0.5": 0.2, "1.0": 0.4, "5.0": 0.5, "10.0": 0.9, "+Inf": 1.0}
    for le, share in shares.items():
        grown = [(t, 10.0 * share * (place + 1)) for place, t in enumerate(times)]
        delays.add(f"{name}_bucket", {**at, "le": le}, grown)
    for part, each in (("count", 10.0), ("sum", 30.0)):
        delays.add(f"{name}_{part}", at, [(t, each * (n + 1)) for n, t in enumerate(times)])
    delays.add("cilium_process_start_time_seconds", at, [(t, 1.0) for t in times])
    try:
        with serving_native(delays, name) as url:
            source = connect(url)
            data = health.load(source, WINDOW, WINDOW.baseline())
    except NotInstalled as error:
        installed_or_skip(error)
        return
    (row,) = health.latency(data).to_dict("records")
    # It lies beyond the last bound, so that it is more than that.
    assert (row["p99"], row["last bound"]) == (float("inf"), 10.0)
    assert row["mean time"] == pytest.approx(3.0)
    assert not [note for note in health.notes(data) if "unknown: " in note]


def test_all_histograms_that_questions_read_are_asked_for() -> None:
    read = re.compile(r"(\w+)_(?:bucket|sum|count)\{")
    queries = [
        query.promql
        for topic in (connectivity, dns, drops, endpoints, flows, health, http)
        for query in topic.QUERIES.values()
    ]
    named = {name for promql in queries for name in read.findall(promql)}
    histograms = {n for n in named if (metric := find(n)) and metric.kind == "histogram"}
    assert histograms == set(HISTOGRAMS)


def test_people_are_given_queries_that_have_an_answer() -> None:
    native = {"cilium_a_seconds": (1.0,)}
    asked = "histogram_quantile(0.9, sum by (le, type) (rate(cilium_a_seconds_bucket[5m])))"
    assert for_people(asked, native) == (
        "histogram_quantile(0.9, sum by (type) (rate(cilium_a_seconds[5m])))"
    )
    counted = 'sum(rate(cilium_a_seconds_count{outcome="fail"}[5m]))'
    assert for_people(counted, native) == (
        'sum(histogram_count(rate(cilium_a_seconds{outcome="fail"}[5m])))'
    )
    assert for_people(asked, {}) == asked
