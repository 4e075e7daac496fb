"""What the tools give back: typed, bounded, and texts of the cluster without control characters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cilium_analysis.texts import bare, clipped, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Characters of one text; findings, pieces of evidence of one, and other rows of one result.
LONGEST, MOST_FINDINGS, MOST_EVIDENCE, MOST_ROWS = 2_000, 50, 20, 100


def text(value: object) -> str:
    """Give a text of the cluster as one line of a bounded length, without users of addresses."""
    return clipped(line(bare(str(value))), LONGEST)


def texts(values: Iterable[object]) -> list[str]:
    """Give the first of some texts, each as `text` does."""
    return [text(value) for value, _ in zip(values, range(MOST_ROWS), strict=False)]


def number(value: float | None) -> float | None:
    """Give a number; None where it is unknown."""
    return None if value is None or not math.isfinite(value) else float(value)


class Result(BaseModel):
    """What all results are: they take no field that is not theirs."""

    model_config = ConfigDict(extra="forbid")


class Span(Result):
    """A range of time, in UTC."""

    start: str
    end: str
    step_seconds: float


class About(Result):
    """What was asked where and when, what it cost, and what the server said beside it."""

    source: Annotated[str, Field(description="where the numbers come from")]
    recorded: Annotated[bool, Field(description="whether it is a recording, which is not live")]
    window: Span
    baseline: Annotated[Span | None, Field(description="what the window is compared with")]
    match: Annotated[str, Field(description="label matchers that narrow every query")] = ""
    workloads: Annotated[str, Field(description="what Hubble's metrics are narrowed to")] = ""
    located: Annotated[str, Field(description="how the window was found, if it was")] = ""
    queries: Annotated[int, Field(description="answers that the result rests on")]
    samples: int
    warnings: Annotated[list[str], Field(description="what the server said beside its answers")]


class UnknownTopic(Result):
    """A question that cannot be answered, which is neither good nor bad."""

    topic: str
    reasons: list[str]


class Found(Result):
    """A finding, as findings.json has it."""

    id: Annotated[str, Field(description="stable across re-runs")]
    kind: str
    severity: str
    title: str
    start: str
    end: str
    labels: dict[str, str]
    value: float | None
    baseline_value: float | None
    unit: str
    total: float | None
    share: Annotated[float | None, Field(description="part of the whole, 0 to 1")]
    trust: Annotated[str, Field(description="good or doubtful")]
    trust_reasons: list[str]
    query: Annotated[str, Field(description="PromQL that shows it")]
    next_step: str
    topic: str
    begun_before: bool | None
    ongoing: bool | None
    known_until: str | None


class Story(Found):
    """A finding with its rank, and the findings of the same event that support it."""

    rank: int
    evidence: list[Found]
    evidence_left_out: int = 0


class Findings(About):
    """What was found, the most worth acting on first."""

    verdict: Annotated[str, Field(description="critical, warning, info, nothing unusual, unknown")]
    account: Annotated[list[str], Field(description="what happened, as sentences for people")]
    answer: Annotated[str, Field(description="to a question about two workloads")] = ""
    findings: list[Story]
    left_out: Annotated[int, Field(description="findings of lower rank that are not listed")] = 0
    unknown: list[UnknownTopic]
    checked: Annotated[list[str], Field(description="topics that were judged without findings")]
    doubts: Annotated[list[str], Field(description="reasons not to trust the numbers fully")]


class Hop(Result):
    """A hop between two workloads."""

    hop: str
    trouble: Annotated[str, Field(description="yes, no or not visible")]
    evidence: str


class Path(Findings):
    """Every hop between two workloads that metrics can see."""

    hops: list[Hop]


class Check(About):
    """Whether the monitoring itself is set up right."""

    sentence: str
    verdict: str
    checks: Annotated[list[dict[str, str]], Field(description="what is exported and what is not")]
    kubernetes: list[dict[str, str]]
    configurations: list[dict[str, str]]
    findings: list[str]
    notes: list[str]


class Metric(Result):
    """A metric that the source has, or that Cilium can export."""

    metric: str
    type: str
    component: str
    labels: list[str]
    help: str
    since: str
    until: str
    there: Annotated[bool, Field(description="whether the source has it")]


class Metrics(Result):
    """Metrics that fit a search, the best first."""

    source: str
    metrics: list[Metric]
    left_out: int


class Series(Result):
    """A series of an answer; figures are over all its samples, points are some of them."""

    labels: dict[str, str]
    samples: int
    minimum: float | None
    mean: float | None
    maximum: float | None
    last: float | None
    points: Annotated[
        list[tuple[str, float | None]],
        Field(description="time in UTC, and value; null where it is infinite"),
    ]


class Table(About):
    """The answer to a PromQL query."""

    query: str
    computed: Annotated[str, Field(description="how a recording computed it; else empty")] = ""
    series: list[Series]
    series_in_all: int
    said: Annotated[str, Field(description="what was left out, in a sentence")]


class Report(Result):
    """A report that was made, and where it is."""

    page: str
    directory: str
    verdict: str
    first: str
    findings: dict[str, int]
    failures: Annotated[dict[str, str], Field(description="notebooks that stopped, and why")]


def finding(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a finding from a row of ``findings.json``, bounded."""
    given = {name: row[name] for name in Found.model_fields if name in row}
    for name, value in given.items():
        if isinstance(value, str):
            given[name] = text(value)
    given["labels"] = {text(name): text(value) for name, value in row["labels"].items()}
    return given | {"trust_reasons": texts(row["trust_reasons"])}


def story(row: Mapping[str, Any]) -> Story:
    """Give a ranked row of ``findings.json`` with its evidence."""
    evidence = row.get("evidence", ())
    return Story(
        **finding(row),
        rank=row["rank"],
        evidence=[Found(**finding(each)) for each in evidence[:MOST_EVIDENCE]],
        evidence_left_out=max(0, len(evidence) - MOST_EVIDENCE),
    )
