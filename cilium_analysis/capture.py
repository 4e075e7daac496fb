"""Capture: record every answer that topics need into a bundle."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from cilium_analysis.absence import Sparing
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.bundle.manifest import MANIFEST
from cilium_analysis.errors import ParameterError, suggest
from cilium_analysis.source import at_once
from cilium_analysis.storage import Address, publication
from cilium_analysis.together import together
from cilium_analysis.topics import INCIDENT, PATH
from cilium_analysis.topics import TOPICS as SINGLE
from cilium_analysis.topics.workloads import Narrowed, Workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cilium_analysis.kube import Cluster
    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: What is recorded and reported, by the names of the notebooks.
TOPICS = (INCIDENT, *SINGLE)
#: What is so only if it is named, too.
KNOWN = (*TOPICS, PATH)
#: What puts the answers of all topics together.
TOGETHER = (INCIDENT, PATH)


def check_topics(topics: Sequence[str]) -> tuple[str, ...]:
    """Give the topics that are meant; none named means all.

    Raises
    ------
    ParameterError
        If there is no such topic.
    """
    for topic in topics:
        if topic not in KNOWN:
            raise ParameterError(f"unknown topic {topic!r}: {suggest(topic, KNOWN)}")
    return tuple(dict.fromkeys(topics)) or TOPICS


def check_workloads(topics: Sequence[str], workloads: str) -> None:
    """Check the text that names workloads; a question about a pair needs two.

    Raises
    ------
    ParameterError
        If they cannot be read, or are no two.
    """
    if PATH in topics:
        Workloads.pair(workloads)
    elif workloads:
        Workloads.parse(workloads)


def choose_topics(topics: Sequence[str], source: Source) -> tuple[str, ...]:
    """Give the topics that are meant; none named means all that a source can answer.

    Raises
    ------
    ParameterError
        If there is no such topic.
    """
    if topics or not isinstance(source, Bundle):
        return check_topics(topics)
    return tuple(topic for topic in TOPICS if topic in source.topics) or TOPICS


def load(topic: str, source: Source, window: Window, baseline: Window, *, match: str = "") -> Any:
    """Fetch what one of `TOPICS` needs, as the function of this name in its package does."""
    if topic in TOGETHER:
        from cilium_analysis import incident  # it imports all topics

        return incident.load(source, window, baseline, match=match)
    return SINGLE[topic].load(source, window, baseline, match=match)


def capture(
    source: Source,
    window: Window,
    baseline: Window,
    *,
    topics: Sequence[str],
    match: str,
    directory: Path | Address,
    cluster: Cluster | None = None,
    recorded: Callable[[str], None] | None = None,
    kept: bool = False,
    workloads: str = "",
    any_workloads: bool = False,
) -> None:
    """Record what the topics need; the directory appears when all of it is there.

    Parameters
    ----------
    source
        What answers.
    window, baseline
        With the same step.
    topics
        Names of `TOPICS`; none means all that the source can answer.
    match
        Label matchers that narrow every query.
    directory
        Of the new bundle, or its address in an object store.
    cluster
        Kubernetes objects to keep beside the answers.
    recorded
        Called with each topic once the directory answers it: then the directory appears with the
        first of them, for who keeps it from others until all is there.
    kept
        As of `cilium_analysis.bundle.Recorder`.
    workloads
        That topics are narrowed to, who may ask more then; answers are recorded whole.
    any_workloads
        Whether to record what questions about some workloads need besides, whichever they are.

    Raises
    ------
    ParameterError
        If a topic is not known or the matchers cannot be read.
    OutputError
        If the directory exists or cannot be written.
    StoreRefused, StoreUnavailable
        If the object store cannot be written to.
    PrometheusError, BundleError
        If the source does not answer; nothing is left behind then.
    """
    chosen = choose_topics(topics, source)
    with (
        publication(directory, last=MANIFEST)
        if isinstance(directory, Address)
        else nullcontext(directory) as local,
        Recorder(
            Sparing(source, window, baseline, match=match),
            local,
            window=window,
            baseline=baseline,
            topics=chosen,
            match=match,
            kept=kept,
        ) as recorder,
    ):
        if cluster is not None:
            recorder.keep_kubernetes(cluster.as_json())
        asking = Narrowed(recorder, Workloads.parse(workloads)) if workloads else recorder
        asked = _asked(asking, window, baseline, names=chosen, match=match)
        try:
            for topic in asked:
                if recorded is not None:
                    recorder.show()
                    recorded(topic)
            if any_workloads and "drop_reasons" in chosen:
                record_for_any_workloads(recorder, window, baseline, match=match)
        except KeyboardInterrupt:
            getattr(source, "let_go", bool)()  # of threads that still wait for their answers
            raise


def record_for_any_workloads(
    source: Source, window: Window, baseline: Window, *, match: str = ""
) -> None:
    """Ask what questions about some workloads need besides, whichever these are.

    Parameters
    ----------
    source
        That records.
    window, baseline, match
        As for `capture`.
    """
    some = Narrowed(source, Workloads.parse("any"))
    SINGLE["drop_reasons"].record(some, window, baseline, match=match)


def _asked(
    source: Source,
    window: Window,
    baseline: Window,
    *,
    names: Sequence[str],
    match: str,
) -> Iterator[str]:
    """Ask what each topic needs, several topics at a time; give each when its answers are there."""

    def ask(name: str) -> Any:
        return SINGLE[name].record(source, window, baseline, match=match)

    loaded: dict[str, Any] = {}
    single = [name for name in names if name not in TOGETHER]
    for name, data in together(single, ask, number=at_once(source)):
        loaded[name] = data
        yield name
    if both := [name for name in TOGETHER if name in names]:
        from cilium_analysis import incident

        # It asks what all topics ask; a second time would only cost time.
        incident.load(source, window, baseline, match=match, loaded=loaded)
        yield from both
