"""The client against real servers: what it asks for, what it makes of it, and when it refuses."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_pandas.query import metric_name

from cilium_analysis import frames
from cilium_analysis.errors import (
    AnswerContradictory,
    AnswerIncomplete,
    BudgetExceeded,
    NotPrometheus,
    QueryRejected,
    ServerUnavailable,
)
from cilium_analysis.prometheus import Plan, Prometheus, planning
from cilium_analysis.prometheus.planning import number, seconds
from cilium_analysis.window import Window
from cilium_simulator.exporter import LiveExporter
from tests.answers import assert_label_frame, patient, plainly
from tests.conftest import installed_or_skip
from tests.faults import (
    PATIENCE,
    Reply,
    Request,
    Stub,
    broken,
    counted,
    forward,
    matrix,
    refusal,
    text,
    vector,
)
from tests.servers.prometheus import NotInstalled
from tests.servers.victoria import VictoriaServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.process import ServerProcess
    from tests.servers.served import ClusterServer

RECORDED = Path(__file__).parent / "data" / "prom-json"
QUERIES = [
    "cilium_drop_count_total",
    "sum by (reason, node) (increase(cilium_drop_count_total[2m]))",
    "sum(cilium_endpoint)",
    "cilium_endpoint / 0",
    "vector(1)",
    "time()",
    "no_such_metric",
    "{__name__=~'cilium_.*'}  # all of them",
]


@pytest.fixture
def held(cluster_server: Callable[..., ClusterServer], server_kind: str) -> ClusterServer:
    """A server with two hours of a cluster, scraped each 15 s."""
    return cluster_server("restart_1_15", server_kind)


@pytest.fixture
def client(held: ClusterServer) -> Iterator[Prometheus]:
    with Prometheus(held.url) as prometheus:
        yield prometheus


def window_of(held: ClusterServer, step: str = "30s", hours: float = 2) -> Window:
    end = held.scenario.end
    began = end - timedelta(hours=hours)
    return Window.parse(began.isoformat(), end.isoformat(), step=step)


def asked_plainly(server: ServerProcess, query: str, window: Window) -> bytes:
    words = {
        "query": query,
        "start": window.start.timestamp(),
        "end": window.end.timestamp(),
        "step": window.step.total_seconds(),
    }
    return server.get(f"/api/v1/query_range?{urlencode(words)}")


def stamps(window: Window) -> list[int]:
    first = round(window.start.timestamp() * 1000)
    step = round(window.step / timedelta(milliseconds=1))
    return [first + step * n for n in range(window.points)]


# Ranges.


@pytest.mark.slow
@pytest.mark.parametrize("query", QUERIES)
def test_a_range_is_what_the_server_says(
    query: str, held: ClusterServer, client: Prometheus
) -> None:
    window = window_of(held)
    found = client.range(query, window)
    assert_label_frame(found, plainly(asked_plainly(held.server, query, window)))
    assert query.startswith("no_such") == found.empty
    if not found.empty:
        assert set(frames.milliseconds(found.index)) <= set(stamps(window))
    (record,) = client.journal
    assert record.promql == query
    assert record.window == window
    assert record.series == found.shape[1]
    assert record.samples == found.count().sum()
    assert record.bytes > 0
    assert record.warnings == ()


@pytest.mark.parametrize("query", ["cilium_drop_count_total", "sum by (node) (cilium_endpoint)"])
def test_a_range_and_a_query_of_upstream_have_the_same_numbers(
    query: str, held: ClusterServer, client: Prometheus
) -> None:
    window = window_of(held)
    found = client.range(query, window)
    upstream = client.query_range(query, window.start, window.end, window.step)
    keys = [
        dict(zip(found.columns.names, key, strict=True))
        for key in found.columns.to_flat_index().tolist()
    ]
    names = [metric_name({k: v for k, v in labels.items() if v}) for labels in keys]
    assert sorted(names) == sorted(upstream.columns)
    assert pd.DatetimeIndex(found.index).tz_localize(None).tolist() == upstream.index.tolist()
    np.testing.assert_array_equal(found.to_numpy(), upstream[names].to_numpy())


def pieces_of(stub: Stub) -> list[tuple[float, float]]:
    """The ranges that were asked for, as times."""
    asked = [r.params for r in stub.requests if r.path.endswith("query_range") and not r.counts]
    return sorted((float(p["start"]), float(p["end"])) for p in asked)


@pytest.mark.slow
@pytest.mark.parametrize("query", ["cilium_drop_count_total", "sum(rate(cilium_endpoint[1m]))"])
def test_a_long_window_is_asked_for_in_pieces(query: str, held: ClusterServer) -> None:
    """14,401 points: more than Prometheus gives at once. The seams are elsewhere when checked."""
    window = window_of(held, "500ms")
    with Stub(forward(held.url)) as stub, Prometheus(stub.url) as client:
        found = client.range(query, window)
        asked = pieces_of(stub)
    assert len(asked) >= 2
    step = window.step.total_seconds()
    assert asked[0][0] == window.start.timestamp()
    assert asked[-1][1] == window.end.timestamp()
    for before, behind in pairwise(asked):
        assert behind[0] == before[1] + step
    parts = [plainly(asked_plainly(held.server, query, p)) for p in window.split(5000)]
    wanted = pd.concat(parts).sort_index(axis=1)
    assert_label_frame(found, wanted)
    assert found.index.is_unique
    assert set(frames.milliseconds(found.index)) <= set(stamps(window))


def test_pieces_that_come_in_any_order_are_put_in_order() -> None:
    window = Window.parse("2026-03-21T00:00Z", "2026-03-21T10:00Z", step="1s")
    done = [threading.Event() for _ in range(4)]
    starts = [piece.start.timestamp() for piece in window.split(9001)]

    def last_first(request: Request) -> Reply:
        if request.counts:
            return counted(request, 1)
        begin = float(request.params["start"])
        place = starts.index(begin)
        if place < 3:
            assert done[place + 1].wait(PATIENCE)
        done[place].set()
        return matrix(({"a": "b"}, {begin: "1", float(request.params["end"]): "2"}))

    with Stub(last_first) as stub, Prometheus(stub.url, concurrency=4) as client:
        found = client.range("x", window)
    assert found.index.is_monotonic_increasing
    assert found["b"].iloc[:, 0].tolist() == [1, 2] * 4
    assert frames.milliseconds(found.index)[::2].tolist() == [round(s * 1000) for s in starts]


def large(answer: Callable[[Request], Reply], series: int = 10_000) -> Callable[[Request], Reply]:
    """Say that there are many series, so that a range is asked for in many pieces."""

    def ask(request: Request) -> Reply:
        return counted(request, series) if request.counts else answer(request)

    return ask


LARGE = Window.parse("2026-03-21T00:00Z", "2026-03-21T10:00Z", step="15s")


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_so_many_requests_at_a_time_and_no_more(concurrency: int) -> None:
    together = threading.Barrier(concurrency)

    def wait(request: Request) -> Reply:
        together.wait(PATIENCE)
        # Time for one too many to come in.
        time.sleep(0.02)
        return matrix(({"a": "b"}, {float(request.params["start"]): "1"}))

    with Stub(large(wait)) as stub, Prometheus(stub.url, concurrency=concurrency) as client:
        found = client.range("x", LARGE)
        asked = pieces_of(stub)
    assert len(asked) == len(found) == 24
    assert stub.most == concurrency


def test_after_an_error_nothing_more_is_asked_for() -> None:
    """Though the pieces before the one that fails are still to come."""
    opened = threading.Event()
    third = list(LARGE.split(101))[2].start.timestamp()

    def fail_in_the_third(request: Request) -> Reply:
        if float(request.params["start"]) == third:
            return refusal(422, "execution", "out of luck")
        assert opened.wait(PATIENCE)
        return matrix()

    with Stub(large(fail_in_the_third)) as stub, Prometheus(stub.url, concurrency=3) as client:
        try:
            with pytest.raises(QueryRejected, match="out of luck"):
                client.range("x", LARGE)
            assert not opened.is_set()
        finally:
            opened.set()
        for thread in threading.enumerate():
            if thread.name.startswith("cilium-analysis"):
                thread.join(PATIENCE)
        assert client.journal == []
        assert len(pieces_of(stub)) <= 4


def count_of(held: ClusterServer, query: str) -> int:
    """How many series there are at the start, the middle or the end of the two hours."""
    words = [{"query": query, "time": moment.timestamp()} for moment in ends_of(window_of(held))]
    bodies = [json.loads(held.server.get(f"/api/v1/query?{urlencode(each)}")) for each in words]
    return max(len(body["data"]["result"]) for body in bodies)


def ends_of(window: Window) -> tuple[datetime, ...]:
    return window.start, window.start + window.length / 2, window.end


def test_the_budget_is_kept(held: ClusterServer) -> None:
    window = window_of(held)
    query = "cilium_bpf_map_pressure"
    series = count_of(held, query)
    budget = 60 * series
    with Stub(forward(held.url)) as stub, Prometheus(stub.url, max_samples=budget) as client:
        with pytest.raises(BudgetExceeded) as caught:
            client.range(query, window)
        message = str(caught.value)
        assert message.startswith(
            f"about {series} series at 241 points are {series * 241:,} samples, more than the"
            f" budget of {budget:,}: take a step of 125s or more, a shorter window, narrower"
        )
        assert message.endswith(f"(query: {query})")
        assert pieces_of(stub) == []
        assert client.journal == []
        # What it proposes helps, and a little less does not.
        assert client.range(query, window_of(held, "125s")).count().sum() <= budget
        with pytest.raises(BudgetExceeded):
            client.range(query, window_of(held, "100s"))
        with pytest.raises(BudgetExceeded):
            client.range("{__name__=~'.+'}", window_of(held, "600s"))


@patient
@given(
    points=st.integers(2, 10**6),
    step=st.integers(1, 10**7),
    series=st.integers(1, 10**7),
    budget=st.integers(1, 10**9),
)
def test_the_step_that_is_proposed_is_within_the_budget(
    points: int, step: int, series: int, budget: int
) -> None:
    began = datetime(2000, 1, 1, tzinfo=UTC)
    each = timedelta(milliseconds=step)
    window = Window(began, began + each * (points - 1), each)
    found = planning.plan(window, [series, None, 0])
    assert found.samples == series * points
    try:
        planning.check(found, window, budget=budget, promql="x")
    except BudgetExceeded as refused:
        assert found.samples > budget
        proposed = re.search(r"a step of (\d+)s", str(refused))
        if proposed is None:
            assert series * 4 > budget or window.length < timedelta(seconds=1)
        else:
            ends = window.start.isoformat(), window.end.isoformat()
            wider = Window.parse(
                *ends, step=f"{proposed[1]}s", now=datetime.max.replace(tzinfo=UTC)
            )
            planning.check(planning.plan(wider, [series]), wider, budget=budget, promql="x")
    else:
        assert found.samples <= budget


def test_a_plan_says_what_would_be_asked(held: ClusterServer, client: Prometheus) -> None:
    window = window_of(held)
    assert client.plan("cilium_bpf_map_pressure", window) == Plan(
        count_of(held, "cilium_bpf_map_pressure"), 241, 1
    )
    assert client.plan("no_such_metric", window) == Plan(0, 241, 1)
    assert client.plan("cilium_bpf_map_pressure", window_of(held, "250ms")).requests == 3
    assert client.plan("up # a remark", window).series == client.plan("up", window).series
    assert client.journal == []


def test_a_plan_of_what_cannot_be_counted() -> None:
    with Stub(refusal(400, "bad_data", "expected type instant vector")) as stub:
        with Prometheus(stub.url) as client:
            plan = client.plan("scalar(up)", LARGE)
    assert plan == Plan(None, 2401, 1)
    assert plan.samples is None


@pytest.mark.parametrize(("points", "asked"), [(2, 0), (99, 0), (100, 1), (101, 1)])
def test_a_short_window_is_not_planned(points: int, asked: int) -> None:
    began = datetime(2026, 3, 21, 8, tzinfo=UTC)
    window = Window(began, began + timedelta(seconds=30 * (points - 1)), timedelta(seconds=30))
    with Stub(large(lambda _: matrix())) as stub:
        with Prometheus(stub.url) as client:
            client.range("x", window)
            assert [request.counts for request in stub.requests] == [True] * asked + [False]
        # Where the budget is small, every window is.
        with Prometheus(stub.url, max_samples=1000) as client, pytest.raises(BudgetExceeded):
            client.range("x", window)


def test_where_answers_were_narrow_nothing_is_counted_first(
    held: ClusterServer, client: Prometheus
) -> None:
    window = window_of(held)
    with Stub(forward(held.url)) as stub, Prometheus(stub.url) as narrow:
        narrow.range("up", window)
        assert [request.counts for request in stub.requests] == [True, False]
        found = narrow.range("cilium_bpf_map_pressure", window)
        assert [request.counts for request in stub.requests[2:]] == [False]
    assert found.equals(client.range("cilium_bpf_map_pressure", window))


@pytest.mark.slow
def test_an_answer_that_is_wider_than_all_before_keeps_the_budget(held: ClusterServer) -> None:
    window, budget = window_of(held), 250_000
    copies = [f"label_replace({{__name__=~'.+'}}, 'copy', '{n}', '', '')" for n in range(5)]
    everything = " or ".join(copies)
    assert count_of(held, everything) * window.points > budget
    with Stub(forward(held.url)) as stub, Prometheus(stub.url, max_samples=budget) as client:
        client.range("up", window)
        with pytest.raises(BudgetExceeded, match="more than the budget of 250,000: take a step of"):
            client.range(everything, window)
        assert [request.counts for request in stub.requests] == [True, False, False]
        assert len(client.journal) == 1


@pytest.mark.parametrize("length", [timedelta(days=1), timedelta(days=2)])
@pytest.mark.parametrize("victoria", [False, True])
def test_series_are_counted_at_the_ends_and_the_middle(length: timedelta, victoria: bool) -> None:
    began = datetime(2026, 3, 21, tzinfo=UTC)
    window = Window(began, began + length, timedelta(minutes=1))
    known = {"X-Server-Hostname": "here"} if victoria else {}

    def answer(request: Request) -> Reply:
        return replace(counted(request, 7), headers=known)

    with Stub(answer) as stub, Prometheus(stub.url) as client:
        assert client.plan("x", window).series == 7
        asked = [{**request.params, "timeout": ""} for request in stub.requests]
        assert client.plan("x", window).series == 7
        again = stub.requests[len(asked) :]
    ends = [seconds(moment) for moment in ends_of(window)]
    moments = [{"query": "count(x\n)", "time": each, "timeout": ""} for each in ends]
    half = number(length.total_seconds() / 2)
    once = {"start": ends[0], "end": ends[2], "step": half, "query": "count(x\n)", "timeout": ""}
    short = length <= timedelta(days=1)
    assert asked == [once] * short + moments * (victoria or not short)
    # Once it is known what the server is, it is asked in one way only.
    assert len(again) == (1 if short and not victoria else 3)


def test_a_server_that_cannot_count_over_a_window_counts_at_moments() -> None:
    def answer(request: Request) -> Reply:
        if request.path.endswith("query_range"):
            return refusal(422, "execution", "not today")
        return counted(request, 3)

    with Stub(answer) as stub, Prometheus(stub.url) as client:
        assert client.plan("x", LARGE).series == 3


def test_a_budget_may_be_used_up() -> None:
    planning.check(Plan(10, 2401, 1), LARGE, budget=24_010, promql="x")
    planning.check(Plan(None, 2401, 1), LARGE, budget=1, promql="x")
    with pytest.raises(BudgetExceeded):
        planning.check(Plan(10, 2401, 1), LARGE, budget=24_009, promql="x")


# Servers that give less at once.


@pytest.fixture(scope="module")
def strict_victoria() -> Iterator[VictoriaServer]:
    """A VictoriaMetrics that gives at most 100 points."""
    try:
        server = VictoriaServer(flags=["-search.maxPointsPerTimeseries=100"])
    except NotInstalled as error:
        installed_or_skip(error)
        return
    with server:
        began = 1_774_080_000_000
        lines = [f'x{{a="b"}} {n} {began + n * 15_000}\n' for n in range(1000)]
        server.load_text("".join(lines))
        yield server


@pytest.mark.parametrize("query", ["x", "x + " * 300 + "x"])
def test_a_smaller_limit_is_learnt_from_the_refusal(
    query: str, strict_victoria: VictoriaServer
) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T12:00Z", step="15s")
    with Prometheus(strict_victoria.url) as client:
        found = client.range(query, window)
    times = 1 + query.count("+")
    assert found.iloc[:, 0].tolist() == [float(n * times) for n in range(961)]
    assert frames.milliseconds(found.index).tolist() == stamps(window)


def test_a_limit_on_the_length_of_a_query() -> None:
    """As Mimir words it (err-mimir-max-query-length)."""
    window = Window.parse("2026-03-01T00:00Z", "2026-03-11T00:00Z", step="1h")

    def at_most_a_day(request: Request) -> Reply:
        begin, end = (float(request.params[name]) for name in ("start", "end"))
        if end - begin > 86400:
            return refusal(
                422,
                "execution",
                "the query time range exceeds the limit (query length: 240h0m0s, limit: 1d)"
                " (err-mimir-max-query-length). To adjust the related per-tenant limit, configure"
                " -querier.max-partial-query-length, or contact your service administrator.",
            )
        return matrix(({"a": "b"}, dict.fromkeys(np.arange(begin, end + 1, 3600.0).tolist(), "1")))

    with Stub(large(at_most_a_day, series=1)) as stub, Prometheus(stub.url) as client:
        found = client.range("x", window)
    assert frames.milliseconds(found.index).tolist() == stamps(window)


@pytest.mark.parametrize(
    "message",
    [
        "the maximum number of points is 2; see a flag",
        "the maximum number of points is 100000",
        "the query time range exceeds the limit (query length: 1h, limit: 30s)",
        "the query time range exceeds the limit (query length: 1h, limit: 0s)",
        "the maximum number of points is",
        "no limit: 5",
    ],
)
def test_a_limit_that_leads_nowhere_is_an_error(message: str) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:30Z", step="30s")
    with Stub(refusal(422, "422", message)) as stub:
        with Prometheus(stub.url) as client, pytest.raises(QueryRejected, match=re.escape(message)):
            client.range("x", window)
        assert len(stub.requests) == 1


def exchange(name: str) -> tuple[dict[str, str], Reply]:
    """A recorded request's parameters and its reply."""
    found = json.loads((RECORDED / f"{name}.json").read_text())
    if isinstance(found["body"], str):
        return found["request"]["params"], text(found["status"], found["body"])
    body = json.dumps(found["body"], separators=(",", ":")).encode()
    return found["request"]["params"], Reply(body, found["status"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("prometheus__limit_max_samples", "execution: query processing would load too many"),
        ("thanos-wikimedia__step_limit_over", "exceeded maximum resolution of 11,000 points"),
        ("vm-single__limit_points", "the maximum number of points is 100; (see -search"),
    ],
)
def test_recorded_refusals(name: str, words: str) -> None:
    params, reply = exchange(name)
    with Stub(reply) as stub, Prometheus(stub.url) as client:
        with pytest.raises(QueryRejected) as caught:
            client.query_range(params["query"], params["start"], params["end"], params["step"])
    assert words in str(caught.value)
    assert f"(query: {params['query']})" in str(caught.value)


def test_a_recorded_answer_with_more_keys_than_usual() -> None:
    _, reply = exchange("thanos-wikimedia__partial_response_param")
    with Stub(reply) as stub, Prometheus(stub.url) as client:
        found = client.instant("count(node_load1)", datetime.now(UTC))
    assert found.to_numpy().tolist() == [[1.0]]
    assert frames.milliseconds(found.index).tolist() == [1790926314000]


def test_times_are_those_of_the_answer() -> None:
    """Mimir and Thanos may move a range to multiples of its step."""
    window = Window(
        datetime(2026, 3, 21, 8, 0, 7, tzinfo=UTC),
        datetime(2026, 3, 21, 8, 5, 7, tzinfo=UTC),
        timedelta(seconds=60),
    )
    moved = [window.start.timestamp() - 7 + 60 * n for n in range(6)]
    with Stub(matrix(({"a": "b"}, dict.fromkeys(moved, "1")))) as stub:
        with Prometheus(stub.url) as client:
            found = client.range("x", window)
    assert frames.milliseconds(found.index).tolist() == [round(t * 1000) for t in moved]


@pytest.mark.parametrize("shift", [-60, 0, 45, 60])
def test_start_and_end_may_be_moved_by_a_step(shift: int) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:05Z", step="60s")
    times = [window.start.timestamp() + shift + 60 * n for n in range(6)]
    with Stub(matrix(({"a": "b"}, dict.fromkeys(times, "1")))) as stub:
        with Prometheus(stub.url) as client:
            assert client.range("x", window).shape == (6, 1)


@pytest.mark.parametrize("far", [-86400, -121, 421, 86400])
def test_samples_outside_of_the_window_are_no_answer(far: int) -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:05Z", step="60s")
    begin = window.start.timestamp()
    near = {begin + 60 * n: "1" for n in range(6)}
    strayed = dict(sorted({**near, begin + far: "5"}.items()))
    with Stub(matrix(({"a": "b"}, near), ({"a": "c"}, strayed))) as stub:
        with Prometheus(stub.url) as client, pytest.raises(AnswerContradictory) as caught:
            client.range("x", window)
    for part in ('{a="c"} has a sample at 2026-03-2', "2026-03-21T08:00:00Z to", "(query: x)"):
        assert part in str(caught.value)
    assert client.journal == []


def test_no_answer_that_contradicts_itself_becomes_numbers() -> None:
    """Neither in a frame, nor in the form of prometheus-pandas, nor as a budget."""
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:05Z", step="60s")
    begin = window.start.timestamp()
    twice = matrix(({"a": "b"}, {begin: "1"}), ({"a": "b"}, {begin: "2"}))
    asks: list[Callable[[Prometheus], object]] = [
        lambda client: client.range("x", window),
        lambda client: client.instant("x[5m]", window.end),
        lambda client: client.query("x[5m]"),
        lambda client: client.query_range("x", window.start, window.end, window.step),
    ]
    with Stub(twice) as stub, Prometheus(stub.url) as client:
        for ask in asks:
            with pytest.raises(AnswerContradictory, match=r'\{a="b"\} twice.*\(query: x'):
                ask(client)
    two = vector(({"a": "b"}, begin, "1"), ({"a": "b"}, begin, "2"))
    with Stub(two) as stub, Prometheus(stub.url) as client:
        with pytest.raises(AnswerContradictory, match="twice"):
            client.instant("x", window.end)


def test_a_window_that_is_not_aligned(held: ClusterServer, client: Prometheus) -> None:
    """VictoriaMetrics moves it, Prometheus does not."""
    aligned = window_of(held, hours=1)
    shift = timedelta(seconds=7)
    window = Window(aligned.start + shift, aligned.end + shift, aligned.step)
    found = client.range("sum(cilium_endpoint)", window)
    assert_label_frame(found, plainly(asked_plainly(held.server, "sum(cilium_endpoint)", window)))
    offset = frames.milliseconds(found.index) % 30_000
    assert set(offset.tolist()) == {0 if held.kind == "victoria" else 7000}


# Refusals of real servers.


@pytest.mark.parametrize("query", ["up{", "sum(", "rate(up)", "up[5m]"])
def test_bad_promql_shows_the_server_s_own_words(
    query: str, held: ClusterServer, client: Prometheus
) -> None:
    if held.kind == "victoria" and query in ("rate(up)", "up[5m]"):
        # MetricsQL allows these.
        client.range(query, window_of(held))
        return
    with pytest.raises(QueryRejected) as caught:
        client.range(query, window_of(held))
    own = {
        "up{": ("unexpected end of input", "unexpected token"),
        "sum(": ("unclosed left parenthesis", "unexpected token"),
        "rate(up)": ("expected type range vector", ""),
        "up[5m]": ("invalid expression type", ""),
    }[query]
    message = str(caught.value)
    assert own[held.kind == "victoria"] in message
    assert message.endswith(f"(query: {query})")
    assert "\n" not in message
    assert client.journal == []


def test_a_wrong_path_is_noticed(held: ClusterServer) -> None:
    with Prometheus(held.url + "/wrong/prefix") as client:
        with pytest.raises(NotPrometheus, match="with its path prefix"):
            client.range("up", window_of(held))
        assert "version" not in client.server


def test_an_exporter_is_no_prometheus() -> None:
    with LiveExporter() as exporter:
        exporter.metrics.add("hubble_drop_total", {"reason": "POLICY_DENIED"}, 3)
        with Prometheus(f"http://{exporter.address}") as client:
            with pytest.raises(NotPrometheus):
                client.instant("up", datetime.now(UTC))
            with pytest.raises(NotPrometheus):
                client.metadata()
            assert client.server == {}


def test_a_short_timeout_is_no_refusal(held: ClusterServer) -> None:
    with Prometheus(held.url, timeout=0.45, retries=20) as client:
        assert not client.instant("cilium_endpoint", held.scenario.end).empty


def test_a_server_s_own_timeout(cluster_server: Callable[..., ClusterServer]) -> None:
    held = cluster_server("restart_1_15", "prometheus-2")
    waits: list[float] = []
    with Prometheus(held.url, retries=1, pause=waits.append) as client:
        with pytest.raises(ServerUnavailable, match="timeout: query timed out in"):
            client.query("up", timeout="0s")
    assert len(waits) == 1


# Servers that fail on the way.


@pytest.mark.parametrize("ends", ["cut", "reset"])
def test_an_answer_that_breaks_off_is_no_frame(ends: Any, held: ClusterServer) -> None:
    window = window_of(held)
    whole = forward(held.url)
    half = broken(whole, ends)
    with Stub(half) as stub, Prometheus(stub.url, retries=2, pause=lambda _: None) as client:
        with pytest.raises(AnswerIncomplete, match="broke off") as caught:
            client.range("cilium_drop_count_total", window)
        assert "(query: c" in str(caught.value)
        assert client.journal == []
        assert len(stub.requests) == 3
        stub.play(whole, whole, whole, half, half, whole)
        found = client.range("cilium_drop_count_total", window)
    assert_label_frame(
        found, plainly(asked_plainly(held.server, "cilium_drop_count_total", window))
    )
    assert client.journal[0].samples == found.count().sum()


def test_one_piece_of_many_breaks_off(held: ClusterServer) -> None:
    window = window_of(held, "500ms")
    whole = forward(held.url)
    half = broken(whole, "cut")
    lock = threading.Lock()
    last = window.end.timestamp()

    def at_last(request: Request) -> Reply:
        with lock:
            is_last = float(request.params.get("end", 0)) == last
        return half(request) if is_last else whole(request)

    with Stub(at_last) as stub, Prometheus(stub.url, retries=1, pause=lambda _: None) as client:
        with pytest.raises(AnswerIncomplete):
            client.range("sum(cilium_endpoint)", window)
    assert client.journal == []


def test_a_server_that_dies_and_comes_back(
    cluster_server: Callable[..., ClusterServer], server_kind: str
) -> None:
    held = cluster_server("restart_1_15", server_kind, fresh=True)
    window = window_of(held, "60s", hours=1)
    query = "sum(cilium_endpoint)"
    with Prometheus(held.url, retries=2, pause=lambda _: None) as client:
        before = client.range(query, window)
        held.server.halt()
        with pytest.raises(ServerUnavailable, match="is it running, and reachable from here"):
            client.range(query, window)
        assert len(client.journal) == 1
    with Prometheus(held.url, retries=1, pause=lambda _: held.server.restart()) as client:
        assert_label_frame(client.range(query, window), before)


def test_times_are_sent_to_the_millisecond() -> None:
    window = Window(
        datetime(2026, 3, 21, 8, 0, 0, 125000, tzinfo=UTC),
        datetime(2026, 3, 21, 8, 0, 10, 120000, tzinfo=UTC),
        timedelta(milliseconds=1999),
    )
    with Stub(matrix()) as stub, Prometheus(stub.url) as client:
        client.range("x", window)
        (request,) = stub.requests
        stub.play(vector())
        client.instant("x", window.start)
        assert stub.requests[0].params["time"] == "1774080000.125"
    assert request.params["start"] == "1774080000.125"
    assert request.params["end"] == "1774080010.12"
    assert request.params["step"] == "1.999"
