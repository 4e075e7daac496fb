"""Answers the tools' questions: the source is fixed when it starts, the rest is asked each time.

All that a caller gives is checked by the code that checks the command line. Nothing is written.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import BundleError, ParameterError
from cilium_analysis.mcp import results
from cilium_analysis.mcp.results import Span, text, texts
from cilium_analysis.source import Said, followed, iso, window_as_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from cilium_analysis.findings import Findings
    from cilium_analysis.incident import Incident
    from cilium_analysis.question import Question

#: Samples that one query of a caller may bring, and the series and points that are listed of it.
MOST_SAMPLES, MOST_SERIES, MOST_POINTS = 2_000_000, 50, 200
#: Characters of an argument: a query of a few pages is a mistake.
_LONGEST = 8_000


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What the command line says, and no caller can change.

    Parameters
    ----------
    source, match, timezone, kubernetes, kubeconfig, cilium_namespace
        As for `cilium_analysis.question.ask`.
    timeout, deadline
        Of each query, and of each call, such as ``5m``.
    """

    source: str
    match: str = ""
    timezone: str = "UTC"
    kubernetes: str = ""
    kubeconfig: str = ""
    cilium_namespace: str = "kube-system"
    timeout: str = "2m"
    deadline: str = "5m"


@dataclass(frozen=True)
class When:
    """When a caller looks, and at what part; as for `cilium_analysis.question.ask`."""

    start: str = ""
    end: str = ""
    step: str = ""
    baseline: str = ""
    match: str = ""
    workloads: str = ""
    around: str = ""
    alert: str = ""


def ask(fixed: Fixed, when: When) -> Question:
    """Make the question of a caller about the source of the command line.

    Raises
    ------
    UsageError
        If anything that the caller gave is not valid.
    """
    from cilium_analysis.question import ask as asked

    given = {name: value for name, value in vars(when).items() if value}
    for name, value in given.items():
        if len(value) > _LONGEST:
            raise ParameterError(f"{name} is too long: use at most {_LONGEST:,} characters")
    given["match"] = ",".join(filter(None, (fixed.match, when.match)))
    return asked(**{"baseline": ""} | vars(fixed) | given)


@contextmanager
def _asked(fixed: Fixed, when: When) -> Iterator[tuple[Question, Said]]:
    """Give the question, and what its source says meanwhile; its connections end then."""
    with followed() as said:
        question = ask(fixed, when)
        try:
            yield question, said
        finally:
            getattr(question.source, "close", bool)()


def _about(question: Question, said: Said) -> dict[str, Any]:
    """Give the fields of `About`."""
    window, baseline = question.window, question.baseline
    return {
        "source": text(question.source.name),
        "recorded": bool(getattr(question.source, "recorded", ())),
        "window": Span(**window_as_json(window)),
        "baseline": Span(**window_as_json(baseline)),
        "match": text(question.match),
        "workloads": text(question.workloads),
        "located": text(question.located),
        "queries": len(said.records),
        "samples": sum(record.samples for record in said.records),
        "warnings": texts(said.warnings),
    }


def _loaded(question: Question, names: Sequence[str]) -> dict[str, Any]:
    """Load topics as a recording for a report asks: what is not there is asked once."""
    from cilium_analysis.source import at_once
    from cilium_analysis.together import together
    from cilium_analysis.topics import TOPICS

    source, window, baseline = question.answers, question.window, question.baseline

    def load(name: str) -> Any:
        try:
            return TOPICS[name].load(source, window, baseline, match=question.match)
        except BundleError as problem:  # recorded for other topics
            return problem

    return dict(together(names, load, number=at_once(source)))


def _sparing(question: Question) -> Question:
    from cilium_analysis.absence import Sparing

    window, baseline = question.window, question.baseline
    return replace(
        question, source=Sparing(question.source, window, baseline, match=question.match)
    )


def _incident(question: Question) -> Incident:
    from cilium_analysis import incident
    from cilium_analysis.topics import TOPICS

    objects, sparing = question.cluster, _sparing(question)
    loaded = _loaded(sparing, list(TOPICS))
    return incident.load(
        sparing.answers,
        question.window,
        question.baseline,
        match=question.match,
        objects=objects,
        loaded={n: data for n, data in loaded.items() if not isinstance(data, BundleError)},
    )


def _document(
    question: Question,
    found: Sequence[Findings],
    *,
    stories: bool,
    topics: Sequence[str],
    named: Sequence[str],
) -> tuple[Findings, dict[str, Any], str]:
    """Put findings together as a report does; with the document of findings.json and a verdict."""
    from cilium_analysis.findings import Findings as Merged
    from cilium_analysis.findings import merge
    from cilium_analysis.report.verdict import verdict

    empty = Merged(question.source.name, question.window, question.baseline)
    merged = merge(empty, found, stories=found[:1] if stories else ())
    document = merged.as_json()
    return merged, document, verdict(document, topics=topics, asked=named)


def _findings(
    question: Question,
    said: Said,
    found: Sequence[Findings],
    *,
    topics: Sequence[str],
    notes: Sequence[str],
    named: Sequence[str] = (),
    stories: bool = False,
) -> dict[str, Any]:
    """Give the fields of `results.Findings`; the caller has named some of the topics, or none."""
    from cilium_analysis import accounts
    from cilium_analysis.texts import without_unknown

    merged, document, word = _document(question, found, stories=stories, topics=topics, named=named)
    rows, unknown = document["findings"], document["unknown"]
    return _about(question, said) | {
        "verdict": word,
        "account": texts(accounts.account(merged, question.window.timezone)),
        "answer": text(merged.answer),
        "findings": [results.story(row) for row in rows[: results.MOST_FINDINGS]],
        "left_out": max(0, len(rows) - results.MOST_FINDINGS),
        "unknown": [
            results.UnknownTopic(topic=row["topic"], reasons=texts(row["reasons"]))
            for row in unknown
        ],
        "checked": list(merged.checked),
        "doubts": texts(without_unknown(notes, unknown)),
    }


def incident(fixed: Fixed, when: When) -> results.Findings:
    """Say what happened, as stories."""
    from cilium_analysis import incident as stories
    from cilium_analysis.topics import INCIDENT

    with _asked(fixed, when) as (question, said):
        data = _incident(question)
        found = stories.findings(data)
        return results.Findings(
            **_findings(
                question,
                said,
                [found],
                topics=(INCIDENT,),
                notes=stories.notes(data),
                stories=True,
            )
        )


def path(fixed: Fixed, when: When) -> results.Path:
    """Say of each hop between two workloads whether there was trouble."""
    from cilium_analysis import incident as stories
    from cilium_analysis.capture import check_workloads
    from cilium_analysis.topics import PATH

    check_workloads((PATH,), when.workloads)
    with _asked(fixed, when) as (question, said):
        data = _incident(question)
        hops = stories.hops(data)
        found = replace(stories.with_answer(data, stories.findings(data), hops), topic=PATH)
        fields = _findings(
            question, said, [found], topics=(PATH,), notes=stories.notes(data), stories=True
        )
        return results.Path(**fields, hops=[results.Hop(**row) for row in _rows(hops)])


def findings(fixed: Fixed, when: When, topics: Sequence[str]) -> results.Findings:
    """Give the findings of single topics, all of them if none is named."""
    from cilium_analysis.capture import TOGETHER, choose_topics
    from cilium_analysis.topics import TOPICS

    for name in topics:
        if name in TOGETHER:
            raise ParameterError(f"{name} has a tool of its own: leave it out here")
    with _asked(fixed, when) as (question, said):
        named = choose_topics(topics, question.source)
        names = [name for name in named if name not in TOGETHER]
        loaded = _loaded(_sparing(question), names)
        for problem in loaded.values():
            if isinstance(problem, BundleError):
                raise problem
        if "setup_check" in loaded:
            loaded["setup_check"] = loaded["setup_check"].with_cluster(question.cluster)
        ordered = {name: loaded[name] for name in names}
        found = [replace(TOPICS[n].findings(data), topic=n) for n, data in ordered.items()]
        notes = [note for n, data in ordered.items() for note in TOPICS[n].notes(data)]
        return results.Findings(
            **_findings(question, said, found, topics=names, notes=notes, named=topics)
        )


def check(fixed: Fixed, when: When) -> results.Check:
    """Say what is exported and scraped, as the command ``check`` does."""
    from cilium_analysis.absence import setup_of, without_metrics
    from cilium_analysis.topics import setup

    with _asked(fixed, when) as (question, said):
        cluster = question.cluster
        data = setup_of(question).with_cluster(cluster)
        return results.Check(
            **_about(question, said),
            sentence=text(without_metrics(question, data) or setup.sentence(data)),
            verdict=text(setup.judge(data)),
            checks=_rows(setup.checks(data)),
            kubernetes=_rows(setup.kubernetes(data)),
            configurations=_rows(setup.configurations(data)),
            findings=texts(each.title for each in setup.findings(data)),
            notes=texts(setup.notes(data)),
        )


def metrics(fixed: Fixed, about: str, *, absent: bool, most: int) -> results.Metrics:
    """Find metrics by name or meaning."""
    with _asked(fixed, When()) as (question, _):
        source: Any = question.source
        table: pd.DataFrame = source.metrics(about)
    chosen = table if absent else table[table["there"]]
    rows = [
        results.Metric(
            **{name: text(row[name]) for name in ("metric", "type", "component", "help")},
            labels=[part.strip() for part in text(row["labels"]).split(",") if part.strip()],
            since=text(row["since"]),
            until=text(row["until"]),
            there=bool(row["there"]),
        )
        for row in chosen.head(most).to_dict("records")
    ]
    return results.Metrics(
        source=text(source.name), metrics=rows, left_out=max(0, len(chosen) - len(rows))
    )


def promql(
    fixed: Fixed, when: When, query: str, *, most_series: int, most_points: int
) -> results.Table:
    """Evaluate a range query; list the largest series, and some of their points."""
    from cilium_analysis.frames import NOTE
    from cilium_analysis.texts import visible

    if not query.strip() or len(query) > _LONGEST:
        raise ParameterError(f"a query has 1 to {_LONGEST:,} characters")
    with _asked(fixed, when) as (question, _):
        source = question.source
        if hasattr(source, "max_samples"):
            source.max_samples = MOST_SAMPLES
        with followed() as said:
            frame = source.range(query, question.window)
        order = frame.max().fillna(float("-inf")).to_numpy().argsort(kind="stable")[::-1]
        names = [str(name) for name in frame.columns.names]
        listed = [
            _series(dict(zip(names, frame.columns[n], strict=True)), frame.iloc[:, n], most_points)
            for n in order[:most_series]
        ]
        return results.Table(
            **_about(question, said) | {"baseline": None},
            query=visible(query),
            computed=text(frame.attrs.get(NOTE, "")),
            series=listed,
            series_in_all=frame.shape[1],
            said=_left_out(frame, listed),
        )


def _series(labels: Mapping[str, str], column: pd.Series[float], most: int) -> results.Series:
    there = column.dropna()
    each = max(1, -(-len(there) // most))
    # Counted from the end, so that the newest sample is one of them.
    points = there.iloc[::-1].iloc[::each].iloc[::-1]
    return results.Series(
        labels={text(name): text(value) for name, value in labels.items() if value},
        samples=len(there),
        minimum=results.number(there.min()),
        mean=results.number(there.mean()),
        maximum=results.number(there.max()),
        last=results.number(there.iloc[-1]) if len(there) else None,
        points=[
            (iso(moment), results.number(value))
            for moment, value in zip(list(points.index), points, strict=True)
        ],
    )


def _left_out(frame: pd.DataFrame, listed: Sequence[results.Series]) -> str:
    """Say which series and points are not listed."""
    if not frame.shape[1]:
        return "The answer has no series: that is not 0, nothing of the query is there."
    said = []
    if len(listed) < frame.shape[1]:
        said.append(f"{len(listed)} of {frame.shape[1]} series, those of the highest maximum.")
    fewer = [one for one in listed if len(one.points) < one.samples]
    if fewer:
        said.append(
            "Points are every n-th sample, up to the newest; a short burst may lie between two,"
            " which minimum, mean and maximum count."
        )
    return " ".join(said) or "Nothing was left out."


def _rows(table: pd.DataFrame) -> list[dict[str, str]]:
    head = table.head(results.MOST_ROWS)
    return [
        {str(name).replace(" ", "_"): text(value) for name, value in row.items()}
        for row in head.to_dict("records")
    ]
