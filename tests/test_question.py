"""Questions: what the parameters of a notebook become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from cilium_analysis.bundle import Bundle
from cilium_analysis.errors import ParameterError, SourceError, WindowError
from cilium_analysis.question import ask
from cilium_analysis.topics import drops
from cilium_analysis.window import Window, fitting_step
from tests.field.asking import available
from tests.field.make import START, Metrics, agent, iso, scrapes, vitals
from tests.field.make import drops as drops_of


def test_a_bundle_is_asked_for_what_it_was_recorded_for() -> None:
    question = ask(source="sample", timezone="Asia/Tokyo")
    assert isinstance(question.source, Bundle)
    assert question.window.start == datetime(2026, 3, 21, 8, tzinfo=UTC)
    assert question.window.end == datetime(2026, 3, 21, 10, tzinfo=UTC)
    assert question.window.timezone == "Asia/Tokyo"
    assert question.baseline.end == question.window.start


def test_a_server_is_asked_for_the_last_two_hours() -> None:
    question = ask(source="http://127.0.0.1:9")
    assert question.window.length == timedelta(hours=2)
    assert datetime.now(UTC) - question.window.end < timedelta(minutes=2)


def test_times_without_an_offset_are_the_readers() -> None:
    question = ask(
        source="http://127.0.0.1:9",
        start="2026-03-21 08:00",
        end="2026-03-21 10:00",
        timezone="Asia/Tokyo",
        baseline="1d",
    )
    assert question.window.start == datetime(2026, 3, 20, 23, tzinfo=UTC)
    assert question.baseline.start == datetime(2026, 3, 19, 23, tzinfo=UTC)


def test_an_empty_baseline_is_the_recorded_one(tmp_path: Path) -> None:
    from cilium_analysis.bundle import Recorder
    from tests.sources import MemorySource

    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    with Recorder(
        MemorySource(), tmp_path / "b", window=window, baseline=window.baseline("1d")
    ) as recorder:
        recorder.range("up", window)
    assert ask(source=str(tmp_path / "b"), baseline="").baseline == window.baseline("1d")
    assert ask(source=str(tmp_path / "b")).baseline == window.baseline("previous")


@pytest.mark.parametrize(
    "name", ["source", "start", "end", "step", "baseline", "match", "timezone"]
)
def test_what_papermill_made_a_number_is_refused(name: str) -> None:
    given: dict[str, str] = {"source": "sample", name: 30}  # type: ignore[dict-item]
    with pytest.raises(ParameterError, match=f"the parameter {name}=30 is not text"):
        ask(**given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"source": ""}, SourceError, "no source"),
        ({"source": "sample", "match": "nope"}, ParameterError, "label matchers"),
        ({"source": "sample", "end": "now"}, WindowError, "needs a start"),
        ({"source": "sample", "step": "30s"}, WindowError, "needs a start"),
    ],
)
def test_what_cannot_be_is_refused(
    given: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ask(**given)


def test_the_question_shows_itself_escaped() -> None:
    times = {"start": "2026-03-21 08:00", "end": "2026-03-21 10:00", "step": "30s"}
    question = ask(source="http://127.0.0.1:9", match='node="<b>"', **times)
    assert "<dt>Only</dt><dd>node=&quot;&lt;b&gt;&quot;</dd>" in question._repr_html_()
    assert "Window: 2026-03-21 08:00:00 to 10:00:00 UTC, every 30s" in repr(question)


@pytest.mark.parametrize(
    ("minutes", "intervals", "step"),
    [
        (20, {5.0}, 5),
        (40, {5.0}, 10),
        (60, {5.0}, 15),
        (60, {10.0}, 20),
        (60, {15.0}, 15),
        (30, {10.0, 15.0}, 30),
        (20, {5.0, 60.0}, 30),
        (20, {7.3}, 30),
        (20, {30.0}, 30),
        (20, set(), 30),
        (119, {1.0}, 30),
        (120, {5.0}, 30),
        (24 * 60, {5.0}, 300),
    ],
)
def test_short_windows_of_targets_scraped_often_have_fine_steps(
    minutes: int, intervals: set[float], step: int
) -> None:
    now = datetime(2026, 3, 21, 12, tzinfo=UTC)
    window = Window.parse(f"-{minutes}m", "now", now=now)
    most = timedelta(seconds=min(intervals, default=0.0))
    assert fitting_step(window, most, intervals) == timedelta(seconds=step)


@pytest.mark.parametrize(
    ("minutes", "slowest", "step"),
    [(120, 60.0, 60), (120, 300.0, 300), (20, 1200.0, 1200), (20, 1201.0, 30), (120, 30.0, 30)],
)
def test_steps_hold_a_scrape_of_targets_scraped_rarely(
    minutes: int, slowest: float, step: int
) -> None:
    """Unless the window is shorter than their scrape interval."""
    window = Window.parse(f"-{minutes}m", now=datetime(2026, 3, 21, 12, tzinfo=UTC))
    found = fitting_step(window, timedelta(seconds=slowest), {15.0, slowest})
    assert found == timedelta(seconds=step)


def _in_notebook(monkeypatch: pytest.MonkeyPatch, *cells: str) -> None:
    """Let IPython remember these cells."""
    import IPython

    shell = SimpleNamespace(user_ns={"In": ["", *cells]})
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)


def test_a_mistyped_injected_parameter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = 'source: str = "sample"\nstart: str = ""  # a comment = here'
    _in_notebook(monkeypatch, own, '# Parameters\nstart = "-2h"\n', "import pandas")
    ask(source="sample")
    _in_notebook(monkeypatch, own, '# Parameters\nstrat = "-2h"\n', "import pandas")
    with pytest.raises(ParameterError, match=r"unknown parameter 'strat': did you mean start\?"):
        ask(source="sample")


def test_an_onset_is_good_to_one_scrape_in_a_short_window() -> None:
    metrics, at = Metrics(), scrapes(every=5, last=START + 3600)
    vitals(metrics, agent(1), at=at)
    began = START + 2417
    drops_of(metrics, agent(1), lambda second: 20.0 * (second >= began), base=1000, at=at)
    with available(metrics) as url:
        asked = ask(source=url, start=iso(START + 1800), end=iso(START + 3000))
        data = drops.load(asked.source, asked.window, asked.baseline)
    assert asked.window.step == timedelta(seconds=5)
    (finding,) = drops.findings(data)
    assert abs(finding.start.timestamp() - began) <= 5
