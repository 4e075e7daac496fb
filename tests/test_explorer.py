"""The explorer without a browser: what is chosen, what is asked, what overtakes what."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from cilium_analysis import connect, frames, plots
from cilium_analysis.connection import SAMPLES, sample_directory
from cilium_analysis.errors import ParameterError, UsageError, WindowError
from cilium_analysis.explorer import asking, panels, pictures, reporting, scope
from cilium_analysis.explorer.background import Job, Runner
from cilium_analysis.explorer.session import Session
from cilium_analysis.explorer.state import (
    TOPICS,
    State,
    asked,
    dragged,
    inside,
    matchers,
    read,
    unsaid,
    window_from,
)
from cilium_analysis.prometheus import Deadline, Prometheus
from cilium_analysis.question import ask
from cilium_analysis.topics import drops, http
from cilium_analysis.window import Window
from tests.faults import Reply, Stub, forward

if TYPE_CHECKING:
    from cilium_analysis.explorer.asking import Loaded, Progress
    from cilium_analysis.explorer.scope import Scope
    from tests.faults import Request
    from tests.servers.served import ClusterServer

Serve = Callable[..., "ClusterServer"]
PATIENCE = 60.0
#: of the incident in the sample, and a quieter part
INCIDENT = ("2026-03-21 08:50", "2026-03-21 09:30")
BEFORE = ("2026-03-21 08:05", "2026-03-21 08:45")


class Screen:
    """Shows a session as text, in the thread of the test."""

    def __init__(self, state: State) -> None:
        self.calls: Queue[Callable[[], None]] = Queue()
        self.problems: list[str] = []
        self.shown: list[tuple[str, Window]] = []
        self.progress: list[Progress] = []
        self.session = Session(self, state, self.calls.put)

    def opened(self) -> None:
        assert self.session.overview is not None

    def unopened(self, problem: str) -> None:
        self.problems += [problem] if problem else []

    def chosen(self) -> None:
        pass

    def drawn(self, topic: str) -> None:
        self.shown.append((topic, self.session.loaded[topic].asked.window))

    def progressed(self, progress: Progress) -> None:
        self.progress.append(progress)

    def ended(self, problem: str) -> None:
        self.problems += [problem] if problem else []

    def step(self) -> None:
        """Do the next thing that a thread has posted."""
        self.calls.get(timeout=PATIENCE)()

    def finish(self) -> None:
        """Go on until nothing is under way."""
        while self.session.busy:
            self.step()

    def drain(self) -> None:
        try:
            while True:
                self.calls.get(timeout=0.2)()
        except Empty:
            pass


@pytest.fixture(scope="module")
def sample() -> Scope:
    question = ask(source="sample")
    return scope.of(question.source, "sample", question.window)


@pytest.fixture(scope="module")
def state() -> State:
    return State(ask(source="sample").window)


@pytest.fixture(scope="module")
def incident(sample: Scope, state: State) -> dict[str, Loaded]:
    """All topics of the incident, as they are loaded."""
    chosen = replace(
        state, window=window_from(*INCIDENT, sample, step="", timezone=state.window.timezone)
    )
    question = asked(chosen, sample)
    source = asking.Watched(connect("sample"), Job())
    found = asking.answers(source, question, sample, first="http_status")
    return {one.topic: one for one in found if isinstance(one, asking.Loaded)}


@pytest.fixture
def screen(state: State) -> Screen:
    return Screen(state)


def on_server(url: str, window: tuple[str, str] = INCIDENT) -> tuple[Screen, Window]:
    """Open a server, as far as it takes to choose something there."""
    chosen = Window.parse(*window, step="30s")
    made = Screen(State(chosen))
    made.session.open(Prometheus(url), window=chosen)
    while made.session.scope is None:
        made.step()
    return made, chosen


def test_the_screen_adds_up_what_a_report_adds_up(
    incident: dict[str, Loaded], state: State
) -> None:
    """The same window, loaded as the notebooks do."""
    source, question = connect("sample"), incident["drop_reasons"].asked
    window, baseline = question.window, question.baseline
    table = drops.by_reason(drops.load(source, window, baseline))
    shown = panels.panel(incident["drop_reasons"], state)
    assert shown.total == table["packets"].sum() > 60_000
    assert shown.table["packets"].to_dict() == table["packets"].to_dict()
    assert shown.table["expected"].sum() == pytest.approx(table["expected"].sum())
    statuses = http.by_status(http.load(source, window, baseline))
    assert panels.panel(incident["http_status"], state).total == statuses["requests"].sum() > 0


@pytest.mark.parametrize("topic", TOPICS)
def test_every_grouping_has_the_same_total(
    incident: dict[str, Loaded], state: State, topic: str
) -> None:
    seen = [panels.panel(incident[topic], state.grouped(topic, by)) for by in panels.CHOICES[topic]]
    assert len({one.total for one in seen}) == 1
    for one in seen:
        if one.kind == "stacked":
            step = incident[topic].asked.window.step.total_seconds()
            assert one.frame.sum().sum() * step == pytest.approx(one.total)
            assert one.table.iloc[:, 0].sum() == pytest.approx(one.total)


def test_filters_split_a_total_into_its_parts(incident: dict[str, Loaded], state: State) -> None:
    nodes = panels.values(incident["drop_reasons"])["node"]
    parts = [
        panels.panel(incident["drop_reasons"], state.filtered("node", [node])).total
        for node in nodes
    ]
    assert sum(parts) == panels.panel(incident["drop_reasons"], state).total
    assert max(parts) < sum(parts)
    denied = state.filtered("reason", ["Policy denied"]).filtered("node", nodes[:2])
    table = panels.panel(incident["drop_reasons"], denied.grouped("drop_reasons", "node")).table
    assert set(table.index) <= set(nodes[:2])
    # A filter on what a topic does not have leaves it alone, and its picture.
    some = state.filtered("reason", ["Policy denied"])
    assert panels.key(incident["http_status"], some) == panels.key(incident["http_status"], state)
    assert panels.key(incident["drop_reasons"], some) != panels.key(incident["drop_reasons"], state)


def test_a_picture_reads_itself_out_and_takes_nothing_for_markup(
    incident: dict[str, Loaded], state: State
) -> None:
    loaded = incident["drop_reasons"]
    hostile = "<img src=x onerror=alert(1)>$x$\"'"
    now = loaded.data.now
    counts = frames.relabel(now.counts, "reason", [hostile] * now.counts.shape[1])
    loaded = replace(loaded, data=replace(loaded.data, now=replace(now, counts=counts)))
    seen = panels.panel(loaded, state)
    drawn = pictures.picture(seen, timezone="UTC", title=hostile) + pictures.legend(seen)
    assert "<img" not in drawn
    assert "&lt;img src=x" in drawn
    assert 'role="img" aria-label="&lt;img' in drawn
    assert f"{seen.total:,.0f} packets dropped" in drawn
    assert "<style" not in drawn


def test_many_groups_are_drawn_as_few_that_add_up() -> None:
    times = pd.date_range("2026-03-21", periods=720, freq="30s", tz="UTC")
    frame = pd.DataFrame({f"n{i}": float(i) for i in range(500)}, index=times)
    panel = panels.Panel("drop_reasons", "stacked", frame, "packets/s", 0.0, "", "", frame)
    drawn = pictures.thinned(panel)
    assert drawn.shape[0] <= pictures.POINTS
    assert drawn.shape[1] == pictures.MOST + 1
    assert drawn.sum(axis=1).iloc[0] == frame.sum(axis=1).iloc[0]
    assert drawn.index[-1] == frame.index[-1]
    ax = Figure().subplots()
    plots.stacked(drawn, most=pictures.MOST, ax=ax)
    assert [area.get_label() for area in ax.collections] == list(drawn)
    assert ax.dataLim.ymax == frame.sum(axis=1).iloc[0]


@pytest.mark.parametrize("kind", ["stacked", "lines"])
def test_the_legend_tells_apart_what_the_picture_does(kind: panels.Kind) -> None:
    times = pd.date_range("2026-03-21", periods=9, freq="30s", tz="UTC")
    every = [f"{i}-x" for i in range(300)]
    same = [name for name in every if plots.colour(name) == plots.colour(every[0])][:4]
    frame = pd.DataFrame({name: float(9 - i) for i, name in enumerate(same)}, index=times)
    panel = panels.Panel("drop_reasons", kind, frame, "packets/s", 0.0, "", "", frame)
    swatches = re.findall(r"<svg.*?</svg>", pictures.legend(panel))
    assert len(set(swatches)) == 4
    assert all(plots.colour(every[0]) in swatch for swatch in swatches)


def test_a_window_is_read_as_people_write_it(sample: Scope) -> None:
    window = window_from("08:30", "9:00:20", sample, step="", timezone="UTC")
    assert (window.start.hour, window.start.minute) == (8, 30)
    assert window.end.isoformat() == "2026-03-21T09:00:30+00:00"  # on the recording's grid
    assert window_from("2020-01-01", "09:00", sample, step="", timezone="UTC").start == (
        sample.extent.start
    )
    with pytest.raises(WindowError, match="is not a time"):
        window_from("half past eight", "09:00", sample, step="", timezone="UTC")
    with pytest.raises(WindowError, match="exchange From and To"):
        window_from("09:00", "08:30", sample, step="", timezone="UTC")
    with pytest.raises(WindowError, match="nothing is known outside"):
        window_from("2026-03-25 09:00", "2026-03-25 10:00", sample, step="", timezone="UTC")
    assert window_from("18:00", "18:01", sample, step="", timezone="Asia/Tokyo").timezone == (
        "Asia/Tokyo"
    )


def test_what_is_dragged_lies_on_the_grid(sample: Scope) -> None:
    start = sample.extent.start + timedelta(minutes=30, seconds=7)
    window = dragged(start, start + timedelta(seconds=3), sample, step="", timezone="UTC")
    assert window.points == 3
    assert not (window.start - sample.extent.start) % window.step
    server = replace(sample, held=(), extent=Window.parse(*INCIDENT, step="5m"))
    start = server.extent.start + timedelta(minutes=6)
    seen = dragged(start, start + timedelta(minutes=12), server, step="", timezone="UTC")
    assert seen.step == timedelta(seconds=30)
    assert seen.length >= timedelta(minutes=10)


def test_a_recording_says_what_it_compares_with(sample: Scope, state: State) -> None:
    whole = asked(state, sample)
    assert (whole.compared, whole.note) == ("previous", "")
    early = replace(
        state,
        window=inside(
            sample.extent.start + timedelta(minutes=5),
            sample.extent.start + timedelta(minutes=40),
            sample,
            timezone="UTC",
        ),
    )
    other = asked(early, sample)
    assert other.baseline == sample.baseline
    assert "does not hold the baseline previous" in other.note
    assert other.compared == "2026-03-21T06:00:00Z/2026-03-21T08:00:00Z"


def test_filters_become_matchers_only_where_every_series_has_the_label(
    sample: Scope, state: State
) -> None:
    everywhere = replace(sample, held=(), labels=frozenset({"node"}))
    chosen = state.filtered("node", ['a"b', "w.1"]).filtered("reason", ["Policy denied"])
    chosen = replace(chosen, match='cluster="prod"')
    assert matchers(chosen, everywhere) == 'cluster="prod",node=~"a\\"b|w\\\\.1"'
    assert unsaid(chosen, everywhere) == ("reason",)
    assert matchers(chosen, sample) == 'cluster="prod"'
    assert unsaid(chosen, sample) == ("node", "reason")
    assert matchers(state.filtered("node", ["w.1"]), everywhere) == 'node="w.1"'
    with pytest.raises(ParameterError, match="label matchers"):
        matchers(replace(state, match="nonsense"), sample)


@pytest.mark.slow
def test_a_report_from_the_screen_finds_what_the_screen_says(
    incident: dict[str, Loaded], sample: Scope, state: State, tmp_path: Path
) -> None:
    question = incident["drop_reasons"].asked
    shown = replace(state, window=question.window).filtered("reason", ["Policy denied"])
    out = tmp_path / "my reports"
    made = reporting.recipe(shown, question, sample, incident, output=str(out))
    assert shlex.split(made.command) == ["cilium-analysis", *made.arguments]
    assert "node_connectivity" not in made.arguments
    assert [text.split(":")[0] for text in made.unsaid] == [
        "Connectivity",
        "The filters on reason only select what is drawn and added up here",
    ]
    pieces = list(reporting.make(made, Job()))
    report = pieces[-1]
    assert isinstance(report, reporting.Made)
    found = json.loads((report.page.parent / "findings.json").read_text())
    assert found["findings"] == reporting.findings(incident)["findings"]
    assert {"drop_spike", "http_denied"} <= {row["kind"] for row in found["findings"]}
    page = (report.page.parent / "drop_reasons.html").read_text()
    assert f"{panels.panel(incident['drop_reasons'], shown).total:,.0f}" in page


def test_a_report_that_fails_says_why_in_a_line(tmp_path: Path) -> None:
    wrong = reporting.Recipe(("report", "drop_reasons", "--source", str(tmp_path / "nowhere")))
    with pytest.raises(reporting.NotMade, match="no source"):
        list(reporting.make(wrong, Job()))


def test_arguments_cannot_become_options(sample: Scope, state: State, incident: Any) -> None:
    odd = replace(sample, address="-x")
    made = reporting.recipe(state, asked(state, sample), odd, incident, output="reports")
    assert "--source=-x" in made.arguments


def test_a_newer_job_overtakes_an_older_one() -> None:
    calls: Queue[Callable[[], None]] = Queue()
    runner, shown, ended = Runner(calls.put), list[str](), list[Exception | None]()
    gate, begun = threading.Event(), threading.Event()

    def slow(job: Job) -> Iterator[str]:
        yield "older, first"
        begun.set()
        assert gate.wait(PATIENCE)
        yield "older, second"

    runner.start(slow, show=shown.append, end=ended.append)
    assert begun.wait(PATIENCE)
    runner.start(lambda _: iter(["newer"]), show=shown.append, end=ended.append)
    gate.set()
    while not ended:
        calls.get(timeout=PATIENCE)()
    assert shown == ["newer"]
    assert ended == [None]
    assert not runner.busy


def test_an_error_ends_a_job_and_is_told() -> None:
    calls: Queue[Callable[[], None]] = Queue()
    runner, ended = Runner(calls.put), list[Exception | None]()

    def wrong(job: Job) -> Iterator[str]:
        yield "begun"
        raise WindowError("no such time")

    runner.start(wrong, show=lambda _: None, end=ended.append)
    while runner.busy:
        calls.get(timeout=PATIENCE)()
    assert [str(one) for one in ended] == ["no such time"]


@pytest.mark.slow
def test_what_was_loaded_is_shown_again_at_once(screen: Screen, sample: Scope) -> None:
    session = screen.session
    session.open(connect("sample"))
    screen.finish()
    whole = session.state.window
    assert {topic for topic, _ in screen.shown} == set(TOPICS)
    part = inside(whole.middle, whole.end, sample, timezone="UTC")
    session.choose(replace(session.state, window=part))
    assert session.busy
    assert not session.fresh("drop_reasons")
    screen.finish()
    assert all(session.loaded[topic].asked.window == part for topic in TOPICS)
    screen.shown.clear()
    session.choose(replace(session.state, window=whole))
    assert not session.busy
    assert screen.shown == [(topic, whole) for topic in dict(screen.shown)]
    assert len(screen.shown) == len(TOPICS)
    session.choose(session.state.filtered("node", ["worker-1"]))
    assert not session.busy  # a recording's series are chosen among, not asked for
    session.choose(replace(session.state, baseline="yesterday"))
    assert len(screen.problems) == 1
    assert "yesterday" in screen.problems[0]
    assert "\n" not in screen.problems[0]
    assert session.state.baseline == "previous"


def test_on_a_server_a_filter_that_is_a_label_narrows_the_queries(cluster_server: Serve) -> None:
    server = cluster_server("sample")
    screen, window = on_server(server.url)
    session = screen.session
    while not session.fresh("drop_reasons"):
        screen.step()
    assert screen.problems == []
    assert session.scope is not None
    assert session.scope.labels == {"node"}
    everything = session.loaded["drop_reasons"]
    session.choose(session.state.filtered("node", ["worker-2"]))
    assert not session.fresh("drop_reasons")
    while not session.fresh("drop_reasons"):
        screen.step()
    session.stop()
    narrowed = session.loaded["drop_reasons"]
    assert narrowed.asked.match == 'node="worker-2"'
    total = panels.panel(narrowed, session.state).total
    assert 0 < total == panels.panel(everything, session.state).total
    assert narrowed.asked.window == window


def test_what_is_under_way_is_given_up_and_the_source_stays_usable(cluster_server: Serve) -> None:
    """The server never answers the first question: stopping must not wait for it."""
    real = forward(cluster_server("sample").url)
    gate, arrived = threading.Event(), threading.Event()
    hang = [False]

    def slow(request: Request) -> Reply:
        if hang[0] and "cilium_drop_count_total" in request.params.get("query", ""):
            arrived.set()
            return Reply(gate=gate)
        return real(request)

    with Stub(slow) as stub:
        try:
            screen, _ = on_server(stub.url)
            hang[0] = True
            session = screen.session
            earlier = Window.parse(*BEFORE, step="30s")
            session.choose(replace(session.state, window=earlier))
            assert arrived.wait(PATIENCE)
            workers = [t for t in threading.enumerate() if "explorer" in t.name]
            assert workers
            assert session.stop()
            assert not session.busy
            for worker in workers:
                worker.join(PATIENCE / 10)
                assert not worker.is_alive(), "the request was not given up"
            assert not session.fresh("drop_reasons")
            hang[0] = False
            session.choose(replace(session.state, window=earlier))
            while not session.fresh("drop_reasons"):
                screen.step()
            session.stop()
            assert screen.problems == []
            assert session.loaded["drop_reasons"].asked.window == earlier
        finally:
            gate.set()


def test_a_newer_choice_overtakes_an_older_one(cluster_server: Serve) -> None:
    real = forward(cluster_server("sample").url)
    gate, arrived = threading.Event(), threading.Event()
    slow_start = str(int(Window.parse(*BEFORE, step="30s").start.timestamp()) - 300)

    def slow(request: Request) -> Reply:
        if request.params.get("start") == slow_start:
            arrived.set()
            return Reply(gate=gate)
        return real(request)

    with Stub(slow) as stub:
        try:
            screen, _ = on_server(stub.url)
            session = screen.session
            older = replace(session.state, window=Window.parse(*BEFORE, step="30s"))
            newer = replace(
                session.state,
                window=Window.parse("2026-03-21 09:10", "2026-03-21 09:40", step="30s"),
            )
            session.choose(older)
            assert arrived.wait(PATIENCE)
            screen.shown.clear()
            session.choose(newer)
            while not session.fresh("drop_reasons"):
                screen.step()
            gate.set()
            screen.drain()
            assert {one for _, one in screen.shown} == {newer.window}
            assert screen.problems == []
        finally:
            gate.set()


@pytest.mark.slow
def test_a_server_that_has_gone_is_one_line_and_the_old_stays(cluster_server: Serve) -> None:
    with Stub(forward(cluster_server("sample").url)) as stub:
        screen, window = on_server(stub.url)
        session = screen.session
        while not session.fresh("drop_reasons"):
            screen.step()
        stub.play(Reply(b"no", 400))
        session.choose(replace(session.state, window=Window.parse(*BEFORE, step="30s")))
        screen.finish()
    assert len(screen.problems) == 1
    assert "\n" not in screen.problems[0]
    assert not session.fresh("drop_reasons")
    assert session.loaded["drop_reasons"].asked.window == window


def test_credentials_do_not_stay_in_an_address() -> None:
    with pytest.raises(ParameterError, match="credentials do not belong"):
        scope.opened("http://me:secret@prometheus:9090")
    with pytest.raises(ParameterError, match="credentials do not belong"):
        scope.opened("http://prometheus:9090?namespace=shop&token=secret")
    with pytest.raises(UsageError) as told:
        scope.opened("http://me:sec@ret@[prometheus:9090")
    assert "sec" not in str(told.value)


@pytest.mark.slow
def test_without_a_front_end_it_says_what_it_is_for(tmp_path: Path) -> None:
    """As papermill runs it; no report does."""
    import papermill

    from cilium_analysis.capture import TOPICS as REPORTED
    from cilium_analysis.report.notebooks import notebook_directory

    assert "explore" not in REPORTED
    ran = papermill.execute_notebook(
        str(notebook_directory() / "explore.ipynb"),
        str(tmp_path / "ran.ipynb"),
        parameters={"source": "sample"},
        progress_bar=False,
        cwd=str(tmp_path),
    )
    (out,) = [out for cell in ran.cells if cell.cell_type == "code" for out in cell.outputs]
    assert "open this notebook in JupyterLab" in out["data"]["text/plain"]
    assert "open this notebook in JupyterLab" in out["data"]["text/html"]


def test_a_job_asks_as_its_source_does() -> None:
    """By a client of its own, so that breaking it off leaves the others alone."""
    deadline = Deadline.after(60)
    url = "http://user:secret@127.0.0.1:9/prom?namespace=shop&token=open-sesame"
    with Prometheus(url, timeout=7, deadline=deadline, max_bytes=5) as source:
        client = scope.again(source)
        assert isinstance(client, Prometheus)
        assert client.name == source.name
        assert client.transport == source.transport
        assert client.transport.session is not source.transport.session


@pytest.mark.parametrize("topic", TOPICS)
def test_a_count_of_nodes_without_data_is_unknown(
    incident: dict[str, Loaded], state: State, topic: str
) -> None:
    nowhere = panels.panel(incident[topic], state.filtered("node", ["worker-9"]))
    assert nowhere.headline == "Unknown"
    assert nowhere.beside == "no data of worker-9 in this window"
    assert "Unknown: no data of worker-9" in pictures.picture(nowhere, timezone="UTC", title="x")
    beside = panels.panel(incident[topic], state.filtered("node", ["worker-2", "worker-9"]))
    only = panels.panel(incident[topic], state.filtered("node", ["worker-2"]))
    assert beside.headline == only.headline != "Unknown"
    assert beside.beside == f"{only.beside}; no data of worker-9 in this window"


def test_a_sample_is_named_as_people_name_it(
    incident: dict[str, Loaded], sample: Scope, state: State, tmp_path: Path
) -> None:
    for name in SAMPLES:
        assert scope.address_of(connect(name)) == name
    copy = tmp_path / "copy"
    shutil.copytree(sample_directory(), copy)
    assert scope.address_of(connect(str(copy))) == str(copy)
    question = incident["drop_reasons"].asked
    here = scope.of(connect("sample"), scope.address_of(connect("sample")), question.window)
    made = reporting.recipe(state, question, here, incident, output="reports")
    assert " --source sample " in made.command


# What is typed


@pytest.fixture
def typed(state: State) -> dict[str, str]:
    """The fields as they are shown at first."""
    ends = {"start": "2026-03-21 08:00:00", "end": "2026-03-21 10:00:00"}
    return ends | {"step": "30s", "baseline": "previous", "match": ""}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "half past eight"}, {"start": "is not a time"}),
        ({"end": ""}, {"end": "is not a time"}),
        ({"step": "often"}, {"step": "is not a duration"}),
        ({"start": "11:00"}, {"end": "not later than From"}),
        ({"step": "3h"}, {"step": "longer than the window"}),
        ({"start": "2200-01-01", "end": "2200-01-02"}, {"start": "starts in the future"}),
        ({"baseline": "before"}, {"baseline": "is not a duration"}),
        ({"baseline": "1h"}, {"baseline": "overlaps the window"}),
        ({"match": "cluster=prod"}, {"match": 'write it as label="value"'}),
        ({"match": 'node=~"worker-("'}, {"match": "cannot read the pattern of node"}),
        (
            {"start": "x", "step": "y", "baseline": "z", "match": "!"},
            dict.fromkeys(("start", "step", "baseline", "match"), ""),
        ),
    ],
)
def test_each_field_says_why_its_text_was_rejected(
    sample: Scope, state: State, typed: dict[str, str], changes: dict[str, str], said: Any
) -> None:
    server = replace(sample, held=())
    found, wrong = read(typed | changes, state, server)
    assert found == state
    assert set(wrong) == set(said)
    assert all(said[name] in reason for name, reason in wrong.items())


def test_what_can_be_read_holds_beside_what_cannot(
    sample: Scope, state: State, typed: dict[str, str]
) -> None:
    server = replace(sample, held=())
    changes = {"start": "08:30", "match": "cluster=prod", "baseline": "1d"}
    found, wrong = read(typed | changes, state, server)
    assert set(wrong) == {"match"}
    assert (found.window.start.minute, found.baseline, found.match) == (30, "1d", "")
    # A recording takes no matchers, and has a step of its own.
    found, wrong = read(typed | {"match": "!", "step": "?", "end": "09:00"}, state, sample)
    assert wrong == {}
    assert found.window.length == timedelta(hours=1)
    # A window that what holds cannot be compared with waits.
    hourly = replace(state, baseline="2h")
    found, wrong = read(typed | {"end": "10:30", "baseline": "2h"}, hourly, server)
    assert (found, set(wrong)) == (hourly, {"baseline"})


# Another source


def test_a_server_is_opened_where_it_has_metrics(cluster_server: Serve) -> None:
    url = cluster_server("sample").url
    far = Window.parse("2026-01-01 08:00", "2026-01-01 12:00", step="10s")
    source = Prometheus(url)
    found = scope.there(source, far, match="", now=datetime(2026, 4, 2, tzinfo=UTC))
    assert found.length == timedelta(hours=2)
    assert found.step == timedelta(seconds=30)
    assert drops.load(source, found, found.baseline()).now.counts.shape[1]
    stays = Window.parse(*INCIDENT, step="5s")
    found = scope.there(source, stays, match="")
    assert (found.start, found.end) == (stays.start, stays.end)
    assert found.step == timedelta(seconds=15)  # as often as it is scraped
    present = datetime(2026, 3, 21, 9, 40, tzinfo=UTC)
    assert scope.there(source, far, match="", now=present).end == present
    assert scope.there(source, far, match='node="nowhere"', now=present) == far


@pytest.mark.slow
def test_another_source_brings_its_window_step_and_matchers(
    cluster_server: Serve, tmp_path: Path
) -> None:
    url = cluster_server("sample").url
    made = Screen(State(Window.parse("2026-01-01 08:00", "2026-01-01 12:00", step="1h")))
    session = made.session
    session.open("sample")
    made.finish()
    session.choose(replace(session.state, window=Window.parse(*INCIDENT, step="30s")))
    session.open(url)
    made.finish()
    # It has that too, in the steps in which it is scraped.
    assert session.state.window == Window.parse(*INCIDENT, step="15s")
    session.choose(replace(session.state, match='node=~"worker-.*"', baseline="1d"))
    made.finish()
    copy = shutil.copytree(sample_directory(), tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["match"] == ""
    session.open(str(copy))
    made.finish()
    assert session.state.match == ""
    assert session.state.baseline == "1d"
    assert session.scope is not None
    assert session.state.window == session.scope.extent
    assert made.problems == []
