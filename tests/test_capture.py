"""Capture: a bundle that answers everything its topics ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import TOPICS, capture, check_topics, load
from cilium_analysis.errors import OutputError, ParameterError, ServerUnavailable
from cilium_analysis.question import ask
from cilium_analysis.topics import drops
from cilium_analysis.window import Window
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


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_loads_from_what_was_captured(topic: str, tmp_path: Path) -> None:
    question = ask(source="sample", baseline="")
    window, baseline = question.window, question.baseline
    target = tmp_path / "bundle"
    capture(question.source, window, baseline, topics=[topic], match="", directory=target)
    bundle = Bundle(target)
    assert bundle.name == question.source.name
    assert (bundle.window, bundle.baseline) == (window, baseline)
    load(topic, bundle, window, baseline)


def test_captured_drops_are_the_drops(tmp_path: Path) -> None:
    question = ask(source="sample", baseline="")
    window, baseline = question.window, question.baseline
    target = tmp_path / "bundle"
    capture(question.source, window, baseline, topics=[], match="", directory=target)
    there, here = (drops.load(s, window, baseline) for s in (question.source, Bundle(target)))
    assert here.counts.equals(there.counts)


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
