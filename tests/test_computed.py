"""What a bundle computes from what it holds, beside what real servers answer to the same query."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cilium_analysis
from cilium_analysis import Window, connect, counters, frames
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.bundle.simple import AGGREGATIONS, RATES, Simple, parse
from cilium_analysis.connection import sample_directory
from cilium_analysis.errors import BundleError
from cilium_analysis.memory import Remembering
from cilium_analysis.queries import Matcher
from cilium_analysis.source import as_recorded
from cilium_analysis.topics import TOPICS
from tests.conftest import installed_or_skip
from tests.field.make import START, Metrics
from tests.servers.prometheus import NotInstalled, PrometheusServer, blocks_from_openmetrics

STEP, EDGE = 30, "2026-11-20T10:00:00Z"
WINDOW = Window.parse(EDGE, "2026-11-20T11:00:00Z", step="30s")
#: from before the window on, as topics ask
WIDE = Window(WINDOW.start - timedelta(minutes=10), WINDOW.end, WINDOW.step)
DROPS = "cilium_drop_count_total"
#: the agent is asked at the very steps, or in between
ON_STEP, BETWEEN = "steps", "between"
AS_TOPICS_ASK = (
    "max by (instance, direction, reason) (max_over_time(cilium_drop_count_total{}[30s]))"
)


def counts(number: int, every: int) -> dict[int, float]:
    """A counter by its scrapes: busy and quiet times; every third falls to 0 in between."""
    random = np.random.default_rng(number)
    gained = random.poisson(random.choice([0, 0, 2, 40], size=600))
    values = np.cumsum(gained).astype(float) + 1000.0 * (number % 2)
    if number % 3 == 2:
        values[200:] -= values[200] - 3.0
    offset = 0 if every == 0 else 7
    times = range(START - 1800 + offset, START + 3600 + 1, STEP)
    return dict(zip(times, values, strict=False))


def series() -> Iterator[tuple[dict[str, str], dict[int, float]]]:
    for number in range(8):
        where = ON_STEP if number < 4 else BETWEEN
        labels = {
            "instance": f"10.0.0.{number}:9962",
            "node": f"node-{number % 3}",
            "reason": "Policy denied" if number % 2 else "Stale or unroutable IP",
            "direction": "INGRESS",
            "phase": where,
        }
        values = counts(number, 0 if where == ON_STEP else 7)
        if number == 3:  # born in the window
            values = {at: value for at, value in values.items() if at > START + 1000}
        yield labels, values


@pytest.fixture(scope="module", params=["prometheus-2", "prometheus-3"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, object, Bundle]]:
    """A server, and a bundle that was recorded from it."""
    folder = tmp_path_factory.mktemp("computed")
    metrics = Metrics()
    for labels, values in series():
        metrics.add(DROPS, labels, values.items())
        metrics.add("cilium_endpoint", labels, ((at, value % 17) for at, value in values.items()))
    metrics.add("only_here", {"a": "x\ny", "b": "1"}, ((at, 1.0) for at in counts(0, 0)))
    metrics.add("only_here", {"a": "z"}, ((at, 2.0) for at in counts(0, 0)))
    metrics.write(folder / "metrics.om")
    try:
        blocks_from_openmetrics(folder / "metrics.om", folder / "blocks", kind=request.param)
        server = PrometheusServer(request.param, data=folder / "blocks")
    except NotInstalled as error:
        installed_or_skip(error)
    with server:
        source = connect(server.url)
        with Recorder(source, folder / "bundle", window=WINDOW) as recorder:
            for name in (DROPS, "cilium_endpoint", "only_here"):
                recorder.range(name, WIDE)
            recorder.range('cilium_policy{node="node-1"}', WIDE)
            recorder.range("sum by (node) (cilium_identity)", WIDE)
        yield request.param, source, Bundle(folder / "bundle")


EXACT = [
    "cilium_endpoint{node='node-1'}",
    'cilium_endpoint{node=~"node-[01]",instance!="10.0.0.1:9962"}',
    "cilium_endpoint{node!~`node-.`}",
    "sum(cilium_endpoint)",
    "sum by (node) (cilium_endpoint)",
    "MAX(cilium_endpoint) BY (node, reason)",
    "min without (instance, phase,) (cilium_endpoint)",
    "count by (direction) (cilium_endpoint)",
    "avg by (node) (cilium_endpoint)  # of each node",
    "sum by (nowhere) (cilium_endpoint)",
    "sum by (node, nowhere) (cilium_endpoint)",
    'count by (b) (only_here)',
    'only_here{b=""}',
    'only_here{b!="1"}',
    'only_here{a=~"x|z"}',
    'only_here{a="x\\ny"}',
]  # fmt: skip


@pytest.mark.parametrize("promql", EXACT)
def test_metrics_and_their_aggregations_are_those_of_the_server(
    both: tuple[str, Bundle, Bundle], promql: str
) -> None:
    _, server, bundle = both
    found, truth = bundle.range(promql, WINDOW), server.range(promql, WINDOW)
    assert "Computed from the recorded" in bundle.journal[-1].warnings[0]
    pd.testing.assert_frame_equal(found, truth, check_exact="avg" not in promql, rtol=1e-12)


@pytest.mark.parametrize("both", ["prometheus-3"], indirect=True)
def test_a_dot_is_a_new_line_as_from_prometheus_3_on(both: tuple[str, Bundle, Bundle]) -> None:
    _, server, bundle = both
    promql = 'only_here{a=~"x.y"}'
    found, truth = bundle.range(promql, WINDOW), server.range(promql, WINDOW)
    assert found.shape[1] == 1
    pd.testing.assert_frame_equal(found, truth, check_exact=True)


@pytest.mark.parametrize("both", ["prometheus-2"], indirect=True)
def test_on_steps_rates_are_those_of_prometheus_2(both: tuple[str, Bundle, Bundle]) -> None:
    """It takes both ends of a range in; births and resets are in these series."""
    _, server, bundle = both
    for promql in (
        'rate(cilium_drop_count_total{phase="steps"}[5m])',
        'increase(cilium_drop_count_total{phase="steps"}[1m])',
        'sum by (node) (increase(cilium_drop_count_total{phase="steps"}[7m]))',
        'max(rate(cilium_drop_count_total{phase="steps"}[2m45s]))',
    ):
        found, truth = bundle.range(promql, WINDOW), server.range(promql, WINDOW)
        assert found.to_numpy().sum() != 0
        pd.testing.assert_frame_equal(found, truth, check_exact=False, rtol=1e-9)


@pytest.mark.parametrize("over", [60, 300, 600])
def test_how_a_server_extrapolates_is_all_that_differs(
    both: tuple[str, Bundle, Bundle], over: int
) -> None:
    """It sees all but the first interval of a range, and multiplies for the whole of it."""
    _, server, bundle = both
    promql = f'increase(cilium_drop_count_total{{phase="between"}}[{over}s])'
    found, truth = bundle.range(promql, WINDOW), server.range(promql, WINDOW)
    raw = server.range('cilium_drop_count_total{phase="between"}', WIDE)
    per_step = counters.increase(raw)
    first = per_step.shift(over // STEP - 1).loc[WINDOW.start :].to_numpy()
    part = (found.to_numpy() - first) * over / (over - STEP)
    # Near 0 a server extrapolates less far, as a counter was not negative.
    level = raw.shift(over // STEP - 1).loc[WINDOW.start :].to_numpy()
    safe = (level > found.to_numpy()) & ~np.isnan(found.to_numpy())
    assert safe.sum() > 300
    np.testing.assert_allclose(truth.to_numpy()[safe], part[safe], rtol=1e-9, atol=1e-9)


def test_disjoint_ranges_add_up_to_what_the_counters_gained(
    both: tuple[str, Bundle, Bundle],
) -> None:
    _, _, bundle = both
    frame = bundle.range("increase(cilium_drop_count_total[5m])", WINDOW)
    sums = frame.iloc[10::10].sum()
    for labels, values in series():
        inside = [value for at, value in values.items() if START - 29 < at <= START + 3600]
        steps = np.diff(inside)
        gained = float(np.where(steps < 0, np.array(inside[1:]), steps).sum())
        key = tuple(labels[name] for name in frame.columns.names)
        born = next(iter(values)) > START
        # A range in which a series is born is extrapolated to half an interval before it.
        assert sums[key] == pytest.approx(gained, rel=0.02 if born else 1e-9)


def test_what_topics_record_answers_people_too(
    both: tuple[str, Bundle, Bundle], tmp_path: Path
) -> None:
    _, server, whole = both
    with Recorder(server, tmp_path / "bundle", window=WINDOW) as recorder:
        recorder.range(AS_TOPICS_ASK, WIDE)
    bundle = Bundle(tmp_path / "bundle")
    for promql in (
        "sum by (reason) (increase(cilium_drop_count_total[5m]))",
        'avg by (instance) (rate(cilium_drop_count_total{reason=~"Policy.*"}[10m]))',
    ):
        found, truth = bundle.range(promql, WINDOW), whole.range(promql, WINDOW)
        pd.testing.assert_frame_equal(found, truth, check_exact=False, rtol=1e-9)
        mark = bundle.journal[-1].warnings[0]
        assert mark.startswith(
            "Computed from the recorded cilium_drop_count_total, its highest value of each 30s"
        )
    for promql in (
        "rate(cilium_drop_count_total[5m])",
        "sum by (node) (rate(cilium_drop_count_total[5m]))",
        "sum without (instance) (cilium_drop_count_total)",
        'sum(rate(cilium_drop_count_total{node="node-1"}[5m]))',
    ):
        with pytest.raises(BundleError, match="with the labels direction, instance, reason,"):
            bundle.range(promql, WINDOW)


def test_what_cannot_be_computed_shows_a_query_that_can(both: tuple[str, Bundle, Bundle]) -> None:
    _, _, bundle = both
    for promql, said in (
        ("rate(cilium_drop_count_total[30s])", r"one sample per 30s .* rate\(\w+\[1m\]\)"),
        ("sum(rate(cilium_drop_count_total[2h]))", r"from 2026-11-20T09:50:00Z on"),
        ("sum(cilium_policy)", r'holds cilium_policy of {node="node-1"} with all labels'),
        ("sum(cilium_identity)", "holds cilium_identity in other queries only"),
        ("sum(cilium_nothing)", "holds nothing of cilium_nothing"),
    ):
        with pytest.raises(BundleError, match=said) as raised:
            bundle.range(promql, WINDOW)
        text = str(raised.value)
        assert "\n" not in text
        bundle.range(text.rpartition("this works: ")[2], WINDOW)
    coarse = Window(WINDOW.start, WINDOW.end, timedelta(minutes=1))
    with pytest.raises(BundleError, match=r"for 2026-11-20T09:50:00Z to .* every 30s"):
        bundle.range("sum(cilium_endpoint)", coarse)


def test_a_recorded_query_is_answered_however_it_is_written(
    both: tuple[str, Bundle, Bundle],
) -> None:
    _, _, bundle = both
    held = "sum by (node) (cilium_identity)"
    for promql in ("sum(cilium_identity) by (node)", "SUM by(node)(cilium_identity{}) # all"):
        bundle.range(promql, WINDOW)
        assert bundle.journal[-1].promql == held
        assert bundle.journal[-1].warnings == ()


def test_before_the_recording_nothing_is_known(both: tuple[str, Bundle, Bundle]) -> None:
    _, _, bundle = both
    frame = bundle.range("sum(rate(cilium_drop_count_total[15m]))", WINDOW)
    assert frame.iloc[:10].isna().all(axis=None)
    assert frame.iloc[10:].notna().all(axis=None)
    assert "the first 5m are unknown" in bundle.journal[-1].warnings[0]
    assert frame.attrs[frames.NOTE] == bundle.journal[-1].warnings[0]


def test_patterns_are_read_by_re2(both: tuple[str, Bundle, Bundle]) -> None:
    _, _, bundle = both
    hostile = "(a|aa)+" * 20 + "c"
    assert not bundle.range(f'cilium_endpoint{{node=~"{hostile}"}}', WINDOW).shape[1]
    for refused in ("(?=node)", "(node", "node-1)|(node", "(a)\\\\1", "a{1001}"):
        with pytest.raises(BundleError, match="cannot read the pattern of node=~"):
            bundle.range(f'cilium_endpoint{{node=~"{refused}"}}', WINDOW)


@pytest.mark.parametrize(
    "promql",
    [
        "", "(", "sum(", "sum by", "sum by (a b) (c)", "a b", "a{b}", 'a{b="c"', "a[5m]",
        "rate(a)", "rate(a[5x])", "rate(sum(a)[5m])", "a offset 5m", "a + b",
        "sum(a) by (b) by (c)", "sum by (a) (b) by (c)", "topk(3, a)", "rate(a[5m:1m])",
        "a{'b'=\"c\"}", "{__name__='a'}", "sum((a))", "a{b='\\'}", "(" * 3000,
        "a{" + 'b="c",' * 3000 + "}", '"' * 3000,
        "a{b=\"\\xff\"}",
    ],
)  # fmt: skip
def test_everything_else_is_left_to_servers(promql: str) -> None:
    assert parse(promql) is None


_NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
_MATCHERS = st.builds(
    Matcher, _NAMES, st.sampled_from(["=", "!=", "=~", "!~"]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)  # fmt: skip


@given(
    metric=_NAMES.map(lambda name: f"m_{name}"),
    matchers=st.lists(_MATCHERS, max_size=3),
    function=st.sampled_from(["", *RATES]),
    aggregation=st.sampled_from(["", *AGGREGATIONS]),
    labels=st.lists(_NAMES, max_size=3, unique=True),
    without=st.booleans(),
)
def test_what_is_written_is_read_again(
    metric: str,
    matchers: list[Matcher],
    function: str,
    aggregation: str,
    labels: list[str],
    without: bool,
) -> None:
    over = timedelta(minutes=5) if function else timedelta()
    query = Simple(
        *(metric, tuple(matchers), function, over, aggregation),
        *((tuple(labels), without) if aggregation else ((), False)),
    )
    assert parse(str(query)) == query


# Reports never rest on it


def test_topics_and_memories_take_only_what_was_recorded() -> None:
    source, window = Remembering(connect("sample")), Bundle(sample_directory()).window
    promql = "sum by (node) (rate(cilium_drop_count_total[5m]))"
    assert source.range(promql, window).shape[1] > 1
    with as_recorded(), pytest.raises(BundleError, match="not to this query"):
        source.range(promql, window)


@pytest.mark.parametrize("topic", ["drop_reasons", "endpoint_growth", "http_status"])
def test_a_topic_without_its_answers_is_not_judged_by_others(topic: str, tmp_path: Path) -> None:
    """The metric as it is stays in the bundle, and would do to compute from."""
    shutil.copytree(sample_directory(), tmp_path / "bundle")
    path = tmp_path / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    plain = {DROPS, "cilium_endpoint", "hubble_drop_total", "hubble_http_requests_total"}
    manifest["answers"] = [row for row in manifest["answers"] if row["promql"] in plain]
    path.write_text(json.dumps(manifest))
    source = Bundle(tmp_path / "bundle")
    assert source.baseline is not None
    assert source.range(f"sum({DROPS})", source.window).shape[1] == 1
    source.journal.clear()
    with pytest.raises(BundleError, match="not to this query"):
        TOPICS[topic].load(source, source.window, source.baseline, match="")
    assert not any("Computed" in text for one in source.journal for text in one.warnings)


def test_all_code_that_asks_for_a_report_asks_for_what_was_recorded() -> None:
    """Sources that pass on, and what people type, are all that calls ``range`` by itself."""
    home = Path(cilium_analysis.__file__).parent
    relays = {"source.py", "memory.py", "absence.py", "topics/workloads.py"}
    people = {"magics/commands.py", "mcp/asking.py"}
    guarded = {"topics/loading.py", "topics/connectivity/asking.py"}  # inside answers.answered
    for path in home.rglob("*.py"):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "range"
            and len(node.args) == 2
            and ast.unparse(node.func.value) != "self"
        ]
        name = path.relative_to(home).as_posix()
        assert not calls or name in relays | people | guarded, name
        if name in guarded:
            assert len(
                re.findall(r"answers\.answered\(.*source\.range\(", path.read_text())
            ) == len(calls)
