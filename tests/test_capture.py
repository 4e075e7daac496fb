"""Capture: a bundle that answers everything its topics ask."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Event, Lock

import pytest

from cilium_analysis import Prometheus, incident
from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import TOPICS, capture, check_topics, load
from cilium_analysis.errors import AccessDenied, OutputError, ParameterError, ServerUnavailable
from cilium_analysis.question import ask
from cilium_analysis.topics import INCIDENT, drops
from cilium_analysis.topics import TOPICS as BY_NAME
from cilium_analysis.window import Window
from tests.faults import Answerer, Reply, Request, Stub, forward, matrix, refusal, text, vector
from tests.servers.served import ClusterServer
from tests.sources import MemorySource

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")


def test_no_topic_is_all_topics_and_twice_is_once() -> None:
    assert check_topics([]) == TOPICS
    assert check_topics(["drop_reasons", "drop_reasons"]) == ("drop_reasons",)


def test_an_unknown_topic_is_refused() -> None:
    with pytest.raises(
        ParameterError, match="unknown topic 'dropreasons': did you mean drop_reasons"
    ):
        check_topics(["dropreasons"])
    with pytest.raises(ParameterError, match="choose from incident, drop_reasons"):
        check_topics(["xyz"])


@pytest.mark.slow
@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_loads_from_what_was_captured(topic: str, tmp_path: Path) -> None:
    question = ask(source="sample", baseline="")
    window, baseline = question.window, question.baseline
    target = tmp_path / "bundle"
    capture(question.source, window, baseline, topics=[topic], match="", directory=target)
    bundle = Bundle(target)
    assert bundle.name == question.source.name
    assert (bundle.window, bundle.baseline) == (window, baseline)
    data = load(topic, bundle, window, baseline)
    if topic == INCIDENT:
        assert incident.findings(data)
        return
    known = BY_NAME[topic]
    assert known.findings(data).as_json()["source"] == question.source.name
    assert isinstance(known.notes(data), list)
    assert known.unknown(data) == ()
    if topic == "agent_health":  # its frames are read when they are first looked at
        for part in (data.now, data.baseline):
            assert set(part.frames) == {name for name, frame in part.frames.items() if len(frame)}


@pytest.mark.slow
def test_captured_drops_are_the_drops(tmp_path: Path) -> None:
    question = ask(source="sample", baseline="")
    window, baseline = question.window, question.baseline
    target = tmp_path / "bundle"
    capture(question.source, window, baseline, topics=[], match="", directory=target)
    there, here = (drops.load(s, window, baseline) for s in (question.source, Bundle(target)))
    assert here.now.counts.equals(there.now.counts)


@pytest.mark.slow
def test_together_they_record_what_each_does_alone(tmp_path: Path) -> None:
    question = ask(source="sample", baseline="")

    def recorded(topics: list[str]) -> set[tuple[str, str]]:
        target = tmp_path / ("-".join(topics) or "all")
        capture(
            question.source,
            question.window,
            question.baseline,
            topics=topics,
            match="",
            directory=target,
        )
        rows = Bundle(target).manifest["answers"]
        return {(row["promql"], str(row.get("window") or row.get("time"))) for row in rows}

    alone = [recorded([topic]) for topic in TOPICS]
    everything = recorded([])
    assert everything == set().union(*alone)
    assert recorded(["dns", "incident"]) == everything


def one_at_a_time(answer: Answerer) -> Answerer:
    """Refuse what comes while another request is answered, as nginx with limit_conn does."""
    busy = Lock()

    def ask(request: Request) -> Reply:
        if not busy.acquire(blocking=False):
            return text(503, "limiting connections by zone")
        try:
            return answer(request)
        finally:
            busy.release()

    return ask


@pytest.mark.slow
@pytest.mark.parametrize("proxy", [lambda answer: answer, one_at_a_time], ids=["open", "one"])
def test_topics_are_asked_side_by_side_and_bounded(
    proxy: Callable[[Answerer], Answerer],
    cluster_server: Callable[..., ClusterServer],
    tmp_path: Path,
) -> None:
    served = cluster_server("quiet")
    end = served.scenario.end
    start = end - timedelta(minutes=20)
    window = Window.parse(start.isoformat(), end.isoformat(), step="30s")
    asked: dict[int, set[tuple[str, str]]] = {}
    for number in (1, 3):
        with (
            Stub(proxy(forward(served.url))) as stub,
            Prometheus(stub.url, concurrency=number, retries=0) as source,
        ):
            target = tmp_path / str(number)
            capture(source, window, window.baseline(), topics=[], match="", directory=target)
            assert stub.most == number or proxy is one_at_a_time
            # With one connection only, there is one at a time as soon as that shows.
            assert source.transport.slots.most == (number if proxy is not one_at_a_time else 1)
        rows = Bundle(target).manifest["answers"]
        assert not [row for row in rows if "error" in row]
        asked[number] = {(row["promql"], str(row.get("window") or row.get("time"))) for row in rows}
        assert len(rows) == len(asked[number])
        assert len({row["file"] for row in rows}) == len(rows)
    assert asked[1] == asked[3]


def test_a_topic_that_fails_ends_the_recording_at_once(tmp_path: Path) -> None:
    """Though others still wait for their answers."""
    gate, waiting = Event(), Event()

    def ask(request: Request) -> Reply:
        query = request.params.get("query", "")
        if "max_over_time(cilium_drop_count_total" in query:
            assert waiting.wait(30)
            return refusal(401, "unauthorized", "who are you")
        if "max_over_time(hubble_http_requests_total" in query:
            waiting.set()
            assert gate.wait(30)
        if "query_range" in request.path:
            return matrix()
        # Of a server without any metric of Cilium nothing more would be asked.
        return vector(({}, 0.0, "1")) if query.startswith("max(") else vector()

    with Stub(ask) as stub, Prometheus(stub.url) as source:
        try:
            with pytest.raises(AccessDenied, match="who are you"):
                capture(
                    source,
                    WINDOW,
                    WINDOW.baseline(),
                    topics=["drop_reasons", "http_status"],
                    match="",
                    directory=tmp_path / "b",
                )
            assert not gate.is_set()
        finally:
            gate.set()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    source = MemorySource(error=ServerUnavailable("gone"))
    with pytest.raises(ServerUnavailable):
        capture(source, WINDOW, WINDOW.baseline(), topics=[], match="", directory=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_never_overwritten(tmp_path: Path) -> None:
    source = MemorySource()
    with pytest.raises(OutputError, match="exists already"):
        capture(source, WINDOW, WINDOW.baseline(), topics=[], match="", directory=tmp_path)
    assert not source.journal
