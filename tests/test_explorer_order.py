"""The explorer shows what was chosen last, in whatever order and thread the kernel hears of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from ipywidgets.embed import dependency_state

from cilium_analysis import connect
from cilium_analysis.connection import sample_directory
from cilium_analysis.explorer import Explorer, scope
from cilium_analysis.explorer.background import Quiet
from cilium_analysis.explorer.panels import panel
from cilium_analysis.explorer.reporting import recipe
from cilium_analysis.explorer.state import TOPICS
from cilium_analysis.question import ask
from tests.test_explorer import INCIDENT, PATIENCE, on_server

if TYPE_CHECKING:
    from cilium_analysis.source import Source
    from tests.servers.served import ClusterServer

Serve = Callable[..., "ClusterServer"]
#: ipympl's own toolbar.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments")


class Shown:
    """An explorer of the sample, and what waits to be done where results are shown."""

    def __init__(self, workloads: str = "") -> None:
        self.calls: Queue[Callable[[], None]] = Queue()
        question = ask(source="sample", workloads=workloads)
        self.explorer = Explorer(question, post=self.calls.put)
        self.settle()

    def settle(self) -> None:
        """Do all that waits, in this thread."""
        while self.explorer.session.busy:
            self.calls.get(timeout=PATIENCE)()
        self.drain()

    def drain(self) -> None:
        try:
            while True:
                self.calls.get_nowait()()
        except Empty:
            pass

    @property
    def place(self) -> str:
        assert self.explorer.session.scope is not None
        return self.explorer.session.scope.address


@pytest.fixture(scope="module")
def opened() -> Shown:
    return Shown()


@pytest.fixture
def shown(opened: Shown) -> Shown:
    """The same for all tests: with the sample, and all that it holds."""
    opened.explorer.session.open("sample")
    opened.settle()
    return opened


@pytest.fixture
def copied(tmp_path: Path) -> str:
    """Another recording."""
    return str(shutil.copytree(sample_directory(), tmp_path / "copy"))


def elsewhere(call: Callable[[], object]) -> None:
    """Have something done in a thread of its own, as JupyterLab does with what is typed."""
    thread = Thread(target=call)
    thread.start()
    thread.join()


@pytest.mark.slow
def test_a_part_of_the_cluster_is_shown_until_another_source_is_opened(shown: Shown) -> None:
    whole = shown.explorer.session
    narrowed = Shown("default/frontend to default/web")
    part = narrowed.explorer.session
    assert part.scope is not None
    assert part.scope.held  # it is the recording, and asked as one
    totals = [panel(each.loaded["http_status"], each.state).total for each in (whole, part)]
    assert 0 < totals[1] < totals[0]
    # Requests of the pair, both ways: none is left out, and none of others is in.
    http = whole.loaded["http_status"].data.now.counts
    ends = {"default/frontend", "default/web"}
    mine = [
        set(pair) == ends
        for pair in zip(
            *(http.columns.get_level_values(n) for n in ("source", "destination")), strict=True
        )
    ]
    assert totals[1] == pytest.approx(float(http.loc[:, mine].sum().sum()))
    made = recipe(part.state, part.asked, part.scope, part.loaded, output="reports")  # type: ignore[arg-type]
    assert made.command.endswith("--from default/frontend --to default/web")
    # The same source, opened by its address, is all of it.
    part.open("sample")
    narrowed.settle()
    assert part.scope.workloads == ""
    assert panel(part.loaded["http_status"], part.state).total == totals[0]


@pytest.mark.slow
def test_what_one_place_answered_is_not_shown_of_another(cluster_server: Serve) -> None:
    """The question is the same to the second: window, step, baseline and matchers."""
    screen, window = on_server(cluster_server("sample").url)
    screen.finish()
    session = screen.session
    first = dict(session.loaded)
    assert panel(first["drop_reasons"], session.state).total > 50_000
    quiet = cluster_server("quiet")
    session.open(connect(quiet.url), window=window)
    while session.scope is None or session.scope.address != quiet.url:
        screen.step()
    assert not any(session.fresh(topic) for topic in first)
    screen.finish()
    for topic, one in session.loaded.items():
        assert one.asked == first[topic].asked
        assert one is not first[topic]
    assert panel(session.loaded["drop_reasons"], session.state).total < 1_000


@pytest.mark.slow
def test_what_the_first_place_still_answers_is_not_kept_for_the_second(
    cluster_server: Serve,
) -> None:
    """Nor its baseline, which lies in the window of the second."""
    screen, window = on_server(cluster_server("sample").url)
    session = screen.session
    session.choose(replace(session.state, baseline="2026-03-21T08:10Z/2026-03-21T08:50Z"))
    assert session.busy
    session.open(connect("sample"))
    while session.scope is None or not session.scope.held:
        screen.step()
    seen = len(screen.shown)
    assert session.state.baseline == "previous"
    assert session.loaded == {}
    screen.finish()
    assert screen.problems == []
    assert {one for _, one in screen.shown[seen:]} == {session.scope.extent} != {window}
    assert all(session.fresh(topic) for topic in TOPICS)


@pytest.mark.slow
def test_leaving_the_field_opens_what_was_typed(shown: Shown, copied: str) -> None:
    elsewhere(lambda: setattr(shown.explorer.sources.address, "value", copied))
    assert not shown.explorer.session.busy  # nothing has happened in that thread
    shown.drain()
    shown.settle()
    assert shown.place == copied
    assert shown.explorer.sources.address.value == copied


@pytest.mark.slow
@pytest.mark.parametrize("clicked", ["before", "after"])
def test_the_button_opens_what_was_typed(shown: Shown, copied: str, clicked: str) -> None:
    """The kernel may hear of the button before it hears of what was typed."""
    sources = shown.explorer.sources
    if clicked == "before":
        sources.open.click()
    elsewhere(lambda: setattr(sources.address, "value", copied))
    if clicked == "after":
        sources.open.click()
    shown.drain()
    shown.settle()
    assert shown.place == copied
    assert sources.address.value == copied


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("nowhere", "nowhere"),
        ("http://me:hunter2@prometheus:9090", "http://…@prometheus:9090"),
        ("http://prometheus:9090?namespace=shop&token=hunter2", "http://prometheus:9090?namespace"),
        ("prometheus:9090?password=hunter2#hunter2", "prometheus:9090?password=…"),
        ("admin:hunter2@prometheus:9090", "…@prometheus:9090"),
        ("http:/admin:hunter2/?#@prometheus:9090", "http:/…@prometheus:9090"),
    ],
)
def test_an_address_that_was_not_opened_stays_without_its_credentials(
    shown: Shown, typed: str, kept: str
) -> None:
    sources, before = shown.explorer.sources, shown.place
    elsewhere(lambda: setattr(sources.address, "value", typed))
    shown.drain()
    shown.settle()
    assert sources.address.value.startswith(kept)
    assert "hunter2" not in str(dependency_state(sources.widget))  # what a notebook keeps
    assert shown.place == before
    # It stays when something else is chosen.
    shown.explorer.session.choose(replace(shown.explorer.session.state, topic="http_status"))
    shown.settle()
    assert sources.address.value.startswith(kept)


@pytest.mark.slow
def test_a_place_that_is_being_opened_is_opened_once(
    shown: Shown, copied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = [], scope.opened

    def counted(address: str) -> Source:
        opened.append(address)
        return real(address)

    monkeypatch.setattr(scope, "opened", counted)
    session = shown.explorer.session
    for address in ("sample", copied, copied):
        session.open(address)
    shown.settle()
    session.open(copied)  # again, when it is there
    shown.settle()
    assert opened.count(copied) == 2
    assert shown.place == copied


@pytest.mark.slow
def test_choices_of_another_thread_wait_for_their_turn(shown: Shown) -> None:
    explorer, session = shown.explorer, shown.explorer.session
    before = session.state
    elsewhere(lambda: setattr(explorer.cards["drop_reasons"].by, "value", "node"))
    elsewhere(lambda: setattr(explorer.filters.dimension, "value", "reason"))
    elsewhere(lambda: setattr(explorer.details.topics, "value", "http_status"))
    assert session.state == before
    shown.settle()
    assert session.state.group("drop_reasons") == "node"
    assert session.state.topic == "http_status"
    reason = explorer.filters.values.options[0][1]
    elsewhere(lambda: setattr(explorer.filters.values, "value", (reason,)))
    shown.settle()
    assert session.state.filter("reason") == (reason,)


def test_what_is_typed_while_something_is_shown_is_not_lost(shown: Shown) -> None:
    """Shown in its place meanwhile: what holds still."""
    times, session = shown.explorer.times, shown.explorer.session
    elsewhere(lambda: setattr(times.start, "value", INCIDENT[0]))
    times.show(session.state, fixed=True)
    assert times.start.value == "2026-03-21 08:00:00"
    shown.drain()
    shown.settle()
    assert session.state.window.start.isoformat() == "2026-03-21T08:50:00+00:00"
    assert times.start.value == "2026-03-21 08:50:00"


def test_what_is_shown_chooses_nothing(shown: Shown) -> None:
    explorer = shown.explorer
    explorer.chosen()
    explorer.opened()
    for topic in explorer.cards:
        explorer.drawn(topic)
    assert shown.calls.empty()


def test_quiet_is_a_matter_of_one_thread() -> None:
    quiet, heard = Quiet(), list[int]()
    observer = quiet.unless(heard.append)
    with quiet:
        observer({"new": 1})
        elsewhere(lambda: observer({"new": 2}))
    observer({"new": 3})
    assert heard == [2, 3]
